"""Taking the nodes of a broken dataflow away, at little cost to the others (Linux).

Asked to stop, a node spends 70 ms of work on its farewell; killed, it costs the kernel 10 ms.
All nodes at once, even that would hold up the audio of other dataflows: they go one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.node_processes import NodeProcesses

KILL_INTERVAL = 0.04
"""Seconds between the end of one node and the killing of the next."""

KILL_TIMEOUT = 1.0
"""Seconds for all of them; four take 0.2 s. What is left then is stopped by Dora."""


async def kill_one_by_one(nodes: NodeProcesses, pids: Iterable[int]) -> None:
    """Kill nodes, each when the one before has ended and a moment has passed."""
    with trio.move_on_after(KILL_TIMEOUT):
        for pid in pids:
            if nodes.kill(pid):
                await wait_ended(pid)
                await trio.sleep(KILL_INTERVAL)
