"""Shared memory that Dora's nodes leave behind (Linux).

Dora's transport, Zenoh, keeps segments as `/dev/shm/NUMBER.zenoh`, and whoever uses one holds a
shared lock on it. The last to let go removes it; that fails where a process is killed, and
where two let go at the same moment, each seeing the other's lock. Zenoh also removes what
nobody holds, when a process first uses shared memory and when it ends in good order; a bridge
that runs for months would wait long for that, at 8 MB a node.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import stat
from contextlib import suppress
from pathlib import Path

import trio

LET_GO = 0.05
"""Seconds after which this process has let go of a node's segments; 15 ms are usual."""

LET_GO_TIMEOUT = 0.3
"""Seconds that are waited for it to let go of all of them. One for the whole process, made when
it first sends what is long, it keeps until its end."""

_LOOK_INTERVAL = 0.005
_SEGMENT = re.compile(r"\d+\.zenoh")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the kernel's name for it


def remove_unheld_segments(directory: Path = SHARED_MEMORY) -> None:
    """Remove the segments that no process holds, by Zenoh's own rule: whoever gets the
    exclusive lock is alone with it. Its makers live with that too, and take another number when
    one is snatched between its making and its locking."""
    for path in directory.glob("*.zenoh"):
        if _SEGMENT.fullmatch(path.name):
            # Another's, gone already, or (`BlockingIOError`) held.
            with suppress(OSError):
                _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    # All users may write there: what only bears such a name must neither hold us up, as a pipe
    # does that nobody writes to, nor lead elsewhere.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The name may have become another's before it was locked.
            if os.path.samestat(found, path.lstat()):
                path.unlink()
    finally:
        os.close(file)


async def remove_left_segments(directory: Path = SHARED_MEMORY) -> None:
    """Remove what the nodes of a dataflow that has ended leave: what they held at once, and a
    moment later what our own node held with them."""
    remove_unheld_segments(directory)
    await trio.sleep(LET_GO)
    remove_unheld_segments(directory)


async def leave_none(directory: Path = SHARED_MEMORY) -> None:
    """Remove what is left when a runtime has ended.

    A thread of Dora's lets go of our own node's segments a moment after the node has gone; a
    process that ends in that moment leaves them behind.
    """
    with trio.move_on_after(LET_GO_TIMEOUT):  # Another runtime in this process has its own.
        while mapped_segments():  # noqa: ASYNC110  it gives no sign
            await trio.sleep(_LOOK_INTERVAL)
    remove_unheld_segments(directory)
    atexit.unregister(remove_own_segments)
    atexit.register(remove_own_segments)


def remove_own_segments() -> None:
    """Remove the segments that this process alone holds, at its very end: Zenoh does not."""
    for name in os.listdir("/proc/self/fd"):
        # Closed meanwhile, gone already, or (`BlockingIOError`) held by others too.
        with suppress(OSError):
            path = Path(os.readlink(f"/proc/self/fd/{name}"))
            if path.parent == SHARED_MEMORY and _SEGMENT.fullmatch(path.name):
                # Zenoh's own lock, which was shared.
                fcntl.flock(int(name), fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def mapped_segments(pid: int | str = "self") -> set[str]:
    """The names of the segments that a process uses.

    Raises:
        OSError: There is no such process, or it is not ours to look at.
    """
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = (line.rpartition(" ")[2] for line in lines)
    return {Path(path).name for path in paths if path.endswith(".zenoh")}
