"""Work at a low priority, in a real thread."""

from __future__ import annotations

import ast
import ctypes
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import trio_bridge
from trio_bridge import nodes
from trio_bridge.nodes.gently import NICE, TURN, gently, import_gently
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


def turn() -> int:
    """Nanoseconds of a turn of this thread, as the kernel has it; 0 before Linux 6.12."""
    buffer = ctypes.create_string_buffer(48)
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    assert ctypes.CDLL(None).syscall(number, 0, buffer, 48, 0) == 0
    return int(struct.unpack("=IIQiIQQQ", buffer.raw)[5])


def test_work_has_long_turns_where_the_kernel_has_them() -> None:
    release = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
    before = turn()
    assert gently(turn) == (TURN if release >= (6, 12) else before)
    assert turn() == before


def imports(module: str) -> set[str]:
    """What a module imports at its top; nothing is known of other people's."""
    if not module.startswith("trio_bridge."):
        return set()
    path = Path(trio_bridge.__file__).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tops = ast.parse(path.read_text()).body
    named = {name.name for top in tops if isinstance(top, ast.Import) for name in top.names}
    return named | {str(top.module) for top in tops if isinstance(top, ast.ImportFrom)}


@pytest.mark.parametrize("node", nodes.OWN)
def test_all_that_a_node_imports_is_imported_gently(node: str) -> None:
    """What is named for it brings the rest with it."""
    new = {*nodes.ALL, *nodes.OWN[node]}
    brought = set[str]()
    while new:
        brought |= new
        new = set().union(*map(imports, new)) - brought
    missing = imports(f"trio_bridge.nodes.{node}") - brought
    # Of the standard library, what is that small comes with the rest or does not matter.
    assert {m for m in missing if m.partition(".")[0] not in sys.stdlib_module_names} == set()


def test_what_goes_wrong_is_raised() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        import_gently(["math", "no_such_module"])


def test_a_node_begins_with_it_and_its_workers_do_not() -> None:
    """The bulk is there before a line of the node itself has run."""
    node = (sys.executable, "-m", "trio_bridge.nodes.echo")
    for command, loaded in ((node, True), (worker_command("no-such-engine"), False)):
        environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        imported = {line.split()[-1] for line in done.stderr.splitlines() if line.split()}
        assert b"trio_bridge.nodes" in imported
        assert (b"pyarrow.lib" in imported) == loaded
        # The first milliseconds of a process have the normal priority.
        order = [line.split()[-1] for line in done.stderr.splitlines() if line.split()]
        assert order.index(b"trio_bridge.nodes.gently") < order.index(b"typing")
