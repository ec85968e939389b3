"""What a bridge that was killed leaves: processes, a directory, shared memory (Linux).

The next bridge removes it, and a small process of its own most of it at once (`reaper.py`).
What is left is told from what lives by a lock on the directory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from trio_bridge.dora.runtimes import reaper
from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.processes import started_with
from trio_bridge.dora.runtimes.shared_memory import remove_unheld_segments

RUNTIME_VARIABLE = "_TRIO_BRIDGE_RUNTIME"
"""Names a runtime's directory in the environment of all that runs on it. It is never in our own
environment: what else this process starts must not be taken for a part of the runtime."""

END_TIMEOUT = 2.0
"""Seconds that are waited for what was killed to end; 10 ms are usual."""

_DIRECTORY = "trio_bridge-dora-"


@contextmanager
def own_directory() -> Iterator[Path]:
    """A directory, removed at the end. Its lock says that we live.

    The kernel opens the lock when we are killed. A process id would not do: in a container each
    bridge may have the same.
    """
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY)).resolve()
        lock = _locked(directory)
        if lock is not None:
            break
        # Another bridge sweeps it away, since it was not locked yet.
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _locked(directory: Path) -> int | None:
    """The lock of a bridge's directory; None if that is gone, not ours, or of one that lives.

    All users may write where it is: what only bears such a name must neither hold us up, as a
    pipe does that nobody writes to, nor lead elsewhere.
    """
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(lock)
        if found.st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(found, directory.lstat()):
                return lock
    except OSError:
        pass
    os.close(lock)
    return None


@asynccontextmanager
async def reaped(directory: Path) -> AsyncGenerator[None, None]:
    """See `reaper.py`."""
    process = _start_reaper(directory)
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101  a pipe was asked for
        process.stdin.close()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(END_TIMEOUT):
                await wait_ended(process.pid)
            process.kill()
            with trio.move_on_after(END_TIMEOUT):
                await wait_ended(process.pid)
        process.poll()


def _start_reaper(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the command is ours
        [
            *(sys.executable, "-I", "-S", reaper.__file__),
            *(str(directory), RUNTIME_VARIABLE),
        ],
        stdin=subprocess.PIPE,
        env={},  # The server's secret is none of its business either.
        start_new_session=True,  # It must survive what kills the bridge and its group.
    )


def _directories() -> list[Path]:
    return list(Path(tempfile.gettempdir()).resolve().glob(f"{_DIRECTORY}*"))


async def sweep() -> None:
    """Remove what bridges that were killed have left: processes that did not go with them,
    directories, shared memory."""
    for directory in _directories():
        lock = _locked(directory)
        if lock is not None:
            try:
                await end_processes(directory)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)
    remove_unheld_segments()


async def end_processes(directory: Path) -> None:
    """Kill what still runs of a runtime whose daemon is gone. All of it was given the name of
    its directory; that the daemon started it cannot be seen any more."""
    with trio.move_on_after(END_TIMEOUT):
        # A process may have started another between the look and its end.
        while processes := started_with(RUNTIME_VARIABLE, str(directory)):
            for process in processes:
                process.kill()
                await wait_ended(process.pid)
