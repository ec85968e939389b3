"""Taking the nodes of a broken dataflow away, at little cost to the others (Linux).

Asked to stop, a node spends 70 ms of work on its farewell; killed, it costs the kernel 10 ms.
All nodes at once, even that would hold up the audio of other dataflows: they go one by one.

A killed process leaves its shared memory. Dora's transport, Zenoh, keeps segments as
`/dev/shm/NUMBER.zenoh`, and whoever uses one holds a shared lock on it. The last to let go
removes it. Zenoh also removes what nobody holds, when a process first uses shared memory and
when it ends in good order; a bridge that runs for months would wait long for that, at 8 MB a
node.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import trio

from trio_bridge.dora.lifetime import wait_ended
from trio_bridge.dora.runtime import Runtime

KILL_INTERVAL = 0.04
"""Seconds between the end of one node and the killing of the next."""

KILL_TIMEOUT = 1.0
"""Seconds for all of them; four take 0.2 s. What is left then is stopped by Dora."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  the kernel's name for it


async def kill_one_by_one(runtime: Runtime, pids: Iterable[int]) -> None:
    """Kill nodes, each when the one before has ended and a moment has passed."""
    with trio.move_on_after(KILL_TIMEOUT):
        for pid in pids:
            if runtime.kill(pid):
                await wait_ended(pid)
                await trio.sleep(KILL_INTERVAL)


def remove_unheld_segments(directory: Path = SHARED_MEMORY) -> None:
    """Remove the segments that no process holds, by Zenoh's own rule: whoever gets the
    exclusive lock is alone with it. Its makers live with that too, and take another number when
    one is snatched between its making and its locking."""
    for path in directory.glob("*.zenoh"):
        # Another's, gone already, or (`BlockingIOError`) held.
        with suppress(OSError), path.open("rb") as segment:
            fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
