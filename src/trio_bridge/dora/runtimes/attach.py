"""Joining a dataflow that has just been started, without standing still for its nodes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, cast

import trio

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.runtimes.ground import Daemon
from trio_bridge.dora.runtimes.lifetime import GENTLY
from trio_bridge.errors import DataflowError
from trio_bridge.nodes.probe import ATTACHED, NODE_VARIABLE, PORT_VARIABLE

if TYPE_CHECKING:
    from dora import Node

_PROBE = "from trio_bridge.nodes.probe import main; main()"
POOL_VARIABLE = "DORA_NODE_SHM_POOL_SIZE"
_PROBE_POOL = "65536"
"""Bytes of shared memory that the probe gets. It sends nothing, and the usual 8 MB, which Zenoh
locks into memory, take 6 ms of work."""

_UNKNOWN = b"no node with ID"

OTHERS_FIRST = 0.15
"""Seconds from the moment in which all other nodes have attached. They begin to work in that
moment, all at once, and beside them our attaching, for which the interpreter stands still, took
half as long again."""

Outcome = Literal["attached", "ended", "unknown"]
"""What came of waiting for the other nodes of a dataflow."""

_attaching = trio.Lock()
"""One at a time: Dora reads what it needs from the environment of the process."""


def without_backtraces() -> None:
    """Keep Dora from looking up backtraces. To be called before the first `Node()`."""
    # Rust looks at it once, at its first error, so that it has to stay. Dora words its errors
    # with a backtrace if the user's environment asks for one; where a node of a dataflow that
    # has ended is dropped, finding the names took 30 ms with the interpreter lock in hand.
    os.environ.setdefault("RUST_LIB_BACKTRACE", "0")


async def join(daemon: Daemon, bridge_id: str, probe_id: str) -> DoraNode | None:
    """Attach to a dynamic node as soon as all other nodes of its dataflow have attached; see
    `Ground.join`.

    Raises:
        DataflowError: Dora refuses.
    """
    outcome = await wait_attached(daemon, probe_id)
    return await attach(daemon, bridge_id) if outcome == "attached" else None


async def wait_attached(daemon: Daemon, probe_id: str) -> Outcome:
    """Wait until all other nodes of a dataflow have attached.

    `Node()` holds the interpreter lock until then, which would freeze the bridge for as long
    as a node loads its model, and for ever if it never attaches. So a process of its own waits
    first, attached to a dynamic node that exists for nothing else.

    Returns:
        `ended` if a node did that instead, `unknown` if the daemon has no such dataflow: it was
        never its own, or has ended.
    """
    where = {NODE_VARIABLE: probe_id, PORT_VARIABLE: str(daemon.daemon_port)}
    # With `-m` it would begin as a node does, with imports that it does not need.
    command = daemon.forked("probe") or (sys.executable, "-c", _PROBE)
    done = await trio.run_process(
        [*GENTLY, *command],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**daemon.environment, POOL_VARIABLE: _PROBE_POOL, **where},
    )
    if ATTACHED in done.stdout:
        return "attached"
    return "unknown" if _UNKNOWN in done.stderr else "ended"


async def attach(daemon: Daemon, node_id: str) -> DoraNode:
    """Attach to a dynamic node. The interpreter stands still for some 15 ms, and for 0.5 s the
    first time in a process: Dora lets go of the interpreter nowhere in it. It waits there for
    its nodes' answers (asked for every 5 ms, looked at every 2 ms), and locks 8 MB of shared
    memory, 6 ms of work. From the second time on Dora 1.1 warns, on the standard error, that
    its tracing is set up already: it has no switch for that.

    Raises:
        DataflowError: Dora refuses, or a node has ended meanwhile.
    """
    # Not imported at the top: those who only read descriptors need no Dora.
    from dora import Node

    await trio.sleep(OTHERS_FIRST)
    async with _attaching:
        try:
            return await trio.to_thread.run_sync(_attach, Node, daemon, node_id)
        except RuntimeError as exc:
            raise refused(exc) from exc


def refused(exc: RuntimeError) -> DataflowError:
    """What Dora says when it lets nobody join, without its source locations."""
    words = " ".join(str(exc).partition("\n\nLocation")[0].split())
    return DataflowError(f"the bridge cannot join the dataflow: {words}")


def _attach(node: type[Node], daemon: Daemon, node_id: str) -> DoraNode:
    without_backtraces()
    names = daemon.attach_environment
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        # Its stub leaves `Optional` out.
        return cast("DoraNode", node(node_id, daemon_port=daemon.daemon_port))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
