"""Work at a low priority, in a real thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from trio_bridge.nodes.gently import NICE, gently, import_gently


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_work_has_a_low_priority_and_what_follows_does_not() -> None:
    """Of threads and of processes that start afterwards, too."""
    before = nice()
    assert gently(nice) == max(before, NICE)
    assert nice() == before
    command = [sys.executable, "-c", "import os; print(os.nice(0))"]
    assert int(subprocess.check_output(command)) == before


def test_what_goes_wrong_is_raised() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_gently(["math", "no_such_module"])


def test_a_node_begins_with_it_and_its_workers_do_not() -> None:
    """The bulk is there before a line of the node itself has run."""
    for program, loaded in (("responder", True), ("asr_worker", False)):
        command = f"""
import runpy, sys
sys.argv[:] = ["-m"]
sys.orig_argv[:] = ["python", "-m", "trio_bridge.nodes.{program}"]
import trio_bridge.nodes
print("pyarrow" in sys.modules)
"""
        out = subprocess.check_output([sys.executable, "-c", command], text=True)
        assert out.strip() == str(loaded)
