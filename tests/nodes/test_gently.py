"""Work at a low priority, in a real thread."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from trio_bridge.nodes.gently import NICE, gently, import_gently
from trio_bridge.nodes.worker_process import worker_command


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
    node = (sys.executable, "-m", "trio_bridge.nodes.responder")
    for command, loaded in ((node, True), (worker_command("no-such-engine"), False)):
        environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        imported = {line.split()[-1] for line in done.stderr.splitlines() if line.split()}
        assert b"trio_bridge.nodes" in imported
        assert (b"pyarrow.lib" in imported) == loaded
