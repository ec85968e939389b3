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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trio_bridge.dora import reaper
from trio_bridge.dora.lifetime import started_with, wait_ended
from trio_bridge.dora.shared_memory import remove_unheld_segments

OVERLAY = "zenoh.json5"
"""The file of a runtime's directory with the settings of Dora's transport."""

ZENOH_VARIABLE = "DORA_ZENOH_CONFIG_OVERLAY"
"""Names that file in the environment of all that runs on the runtime."""

_DIRECTORY = "trio_bridge-dora-"


@contextmanager
def own_directory() -> Iterator[Path]:
    """A directory, removed at the end. Its lock says that we live.

    The kernel opens the lock when we are killed. A process id would not do: in a container each
    bridge may have the same.
    """
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY)).resolve()
        lock = os.open(directory, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            break
        os.close(lock)  # Another bridge has swept it away before it was locked.
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


@contextmanager
def reaped(directory: Path) -> Iterator[None]:
    """See `reaper.py`."""
    process = subprocess.Popen(  # noqa: S603  # the command is ours
        [
            *(sys.executable, "-I", "-S", reaper.__file__),
            *(str(directory), ZENOH_VARIABLE, str(directory / OVERLAY)),
        ],
        stdin=subprocess.PIPE,
        env={},  # The server's secret is none of its business either.
        start_new_session=True,  # It must survive what kills the bridge and its group.
    )
    try:
        yield
    finally:
        process.communicate()


def _directories() -> list[Path]:
    return list(Path(tempfile.gettempdir()).resolve().glob(f"{_DIRECTORY}*"))


async def sweep() -> None:
    """Remove what bridges that were killed have left: processes that did not go with them,
    directories, shared memory."""
    for directory in _directories():
        # Another user's, gone already, or (`BlockingIOError`) of a bridge that lives.
        with suppress(OSError):
            lock = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                await end_processes(directory / OVERLAY)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)
    remove_unheld_segments()


async def end_processes(overlay: Path) -> None:
    """Kill what still runs of a runtime whose daemon is gone. All of it was given the overlay;
    that the daemon started it cannot be seen any more."""
    for process in started_with(ZENOH_VARIABLE, str(overlay)):
        process.kill()
        await wait_ended(process.pid)
