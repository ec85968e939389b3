"""Shared memory that Dora's nodes leave behind (Linux).

Dora's transport, Zenoh, keeps segments as `/dev/shm/NUMBER.zenoh`, and whoever uses one holds a
shared lock on it. The last to let go removes it; that fails where a process is killed, and
where two let go at the same moment, each seeing the other's lock. Zenoh also removes what
nobody holds, when a process first uses shared memory and when it ends in good order; a bridge
that runs for months would wait long for that, at 8 MB a node.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path

import trio

LET_GO_TIMEOUT = 0.3
"""Seconds for this process to let go of its segments; 15 ms are usual."""

_LOOK_INTERVAL = 0.005
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the kernel's name for it


def remove_unheld_segments(directory: Path = SHARED_MEMORY) -> None:
    """Remove the segments that no process holds, by Zenoh's own rule: whoever gets the
    exclusive lock is alone with it. Its makers live with that too, and take another number when
    one is snatched between its making and its locking."""
    for path in directory.glob("*.zenoh"):
        # Another's, gone already, or (`BlockingIOError`) held.
        with suppress(OSError), path.open("rb") as segment:
            fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


async def leave_none(directory: Path = SHARED_MEMORY) -> None:
    """Remove what is left when a runtime has ended.

    A thread of Dora's lets go of our own node's segments a moment after the node has gone; a
    process that ends in that moment leaves them behind.
    """
    with trio.move_on_after(LET_GO_TIMEOUT):  # Another runtime in this process has its own.
        while mapped_segments():  # noqa: ASYNC110  it gives no sign
            await trio.sleep(_LOOK_INTERVAL)
    remove_unheld_segments(directory)


def mapped_segments(pid: int | str = "self") -> set[str]:
    """The names of the segments that a process uses.

    Raises:
        OSError: There is no such process, or it is not ours to look at.
    """
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = (line.rpartition(" ")[2] for line in lines)
    return {Path(path).name for path in paths if path.endswith(".zenoh")}
