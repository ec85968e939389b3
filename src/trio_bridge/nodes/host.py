"""What every shipped node stands on: a Trio program with an inbox of rows and ports to send on.

    async def main() -> None:
        async with open_node("asr") as io:
            state = load()                     # heavy imports and models: after attaching
            io.sessions = lambda: len(state)
            async for batch in io:
                for row in batch.rows:
                    io.send("transcript", Transcript(...))

The host does by itself what the contract asks of a node: it attaches at once, says twice a
second that its loop is alive, acknowledges what came from the bridge, passes pings on, and ends
the iteration when the dataflow stops.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from attrs import define, field
from dora import Node

from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS, Ack, port_of
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.node_events import Batch, Notice, Ping, Stopped
from trio_bridge.dora.outbox import Outbox
from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.parent_death import die_with_parent
from trio_bridge.nodes.gently import gently

__all__ = ["NodeIO", "die_with_parent", "open_node"]

HEARTBEAT = 0.5
"""Seconds between heartbeats. They come from a Trio task, so that a node whose main loop is
blocked falls silent."""

DAEMON_VARIABLE = "_TRIO_BRIDGE_DAEMON"
"""Names the daemon's process to a node that was forked, whose parent is another."""

ACK_MESSAGES = 25
"""Unacknowledged messages after which a node acknowledges."""

ACK_SECONDS = 0.25
"""The longest a message stays unacknowledged in a node that keeps up."""

TOKENS_KEPT = 64
"""Ping tokens remembered, so that a ping is passed on once though it comes in on two ports.
The bridge has one or two pings under way at a time."""


@define
class _Input:
    """What came from the bridge on one input."""

    expected: int = -1
    lost: int = 0
    unacknowledged: int = 0

    def count(self, number: int) -> None:
        # The first number is taken as it is: what was sent before Dora had connected the two
        # is no loss.
        if self.expected >= 0:
            self.lost += max(0, number - self.expected)
        self.expected = number + 1
        self.unacknowledged += 1


@define(eq=False)
class NodeIO:
    """A node's line to the dataflow: iterate over it for batches, send rows on its outputs.

    Attributes:
        name: What the node calls itself in its acknowledgements.
        ports: What its inputs stand for, as the dataflow connects them.
        sessions: Tells how many sessions the node holds state for; reported to the bridge.
    """

    name: str
    _inbox: Inbox
    _outbox: Outbox
    _outputs: frozenset[str]
    ports: frozenset[str] = frozenset()
    sessions: Callable[[], int] = field(default=lambda: 0)
    _inputs: dict[str, _Input] = field(factory=dict, init=False)
    _tokens: dict[str, None] = field(factory=dict, init=False)
    _overdue: trio.Event = field(factory=trio.Event, init=False)
    _stopped: bool = field(default=False, init=False)

    def send(self, port: str, row: Any) -> None:
        """Send a row on an output; never waits. Rows of one output keep their order.

        An output that the dataflow does not connect takes rows and drops them.
        """
        if port in self._outputs:
            self._outbox.send(port, row)

    def flush(self) -> None:
        """Send at once what still waits for its port's quiet time to end."""
        self._outbox.flush()

    def report(self, words: str) -> None:
        """Tell the bridge's log what has gone wrong, though the node goes on."""
        # The bridge also keeps the node's output, and shows it when something fails.
        print(f"{self.name}: {words}", file=sys.stderr)  # noqa: T201
        self._say("", -1, 0, words)

    async def run(self) -> None:
        """Read, send, and keep the bridge informed, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._inbox.run)
            nursery.start_soon(self._outbox.run)
            nursery.start_soon(self._heartbeat)
            nursery.start_soon(self._acknowledge_in_time)
            nursery.start_soon(self._end_on_sigterm)
            nursery.start_soon(self._end_with_daemon)

    def __aiter__(self) -> NodeIO:
        return self

    async def __anext__(self) -> Batch:
        """The next batch; ends when the dataflow stops."""
        while not self._stopped:
            match await self._inbox.receive():
                case Batch() as batch:
                    if batch.from_bridge:
                        self._count(batch.input_id, batch.number)
                    return batch
                case Ping() as ping:
                    self._forward(ping)
                case Notice("BAD_MESSAGE", subject, detail):
                    self.report(f"{subject}: {detail}")
                case Notice():
                    pass
                case Stopped():
                    self._stopped = True
        raise StopAsyncIteration

    def _count(self, input_id: str, number: int) -> None:
        state = self._inputs.setdefault(input_id, _Input())
        state.count(number)
        if state.unacknowledged >= ACK_MESSAGES:
            self._acknowledge(input_id, state)
        else:
            self._overdue.set()

    def _forward(self, ping: Ping) -> None:
        if ping.from_bridge:
            self._count(ping.input_id, ping.number)
        self._acknowledge(ping.input_id, self._inputs.get(ping.input_id, _Input()))
        if ping.token in self._tokens:
            return
        self._tokens[ping.token] = None
        if len(self._tokens) > TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        for output in self._outputs:
            if port_of(output) != "ack":
                self._outbox.ping(output, ping.token)

    def _acknowledge(self, input_id: str, state: _Input) -> None:
        state.unacknowledged = 0
        self._say(input_id, state.expected - 1 if state.expected >= 0 else -1, state.lost)

    def _say(self, port: str, received: int, lost: int, note: str | None = None) -> None:
        pid = os.getpid()
        self.send("ack", Ack(self.name, port, received, lost, self.sessions(), pid, note))

    async def _heartbeat(self) -> None:
        while True:
            self._say("", -1, 0)
            await trio.sleep(HEARTBEAT)

    async def _acknowledge_in_time(self) -> None:
        while True:
            await self._overdue.wait()
            await trio.sleep(ACK_SECONDS)
            self._overdue = trio.Event()
            for input_id, state in self._inputs.items():
                if state.unacknowledged:
                    self._acknowledge(input_id, state)

    async def _end_on_sigterm(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                self._inbox.stop()

    async def _end_with_daemon(self) -> None:
        # A daemon that is killed shows in `next()` as one error among others, then silence.
        # The kernel's parent-death signal is no help: it is tied to the thread that forked,
        # and the daemon's threads come and go.
        await wait_ended(int(os.environ.get(DAEMON_VARIABLE) or os.getppid()))
        self._inbox.stop()


@asynccontextmanager
async def open_node(
    name: str,
    *,
    outputs: Collection[str] | None = None,
    inputs: Collection[str] | None = None,
    node: DoraNode | None = None,
) -> AsyncGenerator[NodeIO, None]:
    """Attach to the dataflow that started this process.

    Enter it before anything heavy is imported or loaded: the dataflow's other nodes, and the
    bridge, stand still until all have attached.

    Args:
        name: What the node calls itself in its acknowledgements: its id in the dataflow.
        outputs: The outputs there are; read from the dataflow when left out.
        inputs: Likewise.
        node: Something else to attach to, for tests.

    Leaving the context sends what still waits. SIGTERM ends the iteration as a stop does.
    SIGINT is ignored: a terminal sends it to everybody, and it is the server's to say when the
    nodes stop.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if node is None:
        attached = Node()
        config = attached.node_config()
        outputs = config["outputs"] if outputs is None else outputs
        inputs = config["inputs"] if inputs is None else inputs
        node = cast("DoraNode", attached)  # its stub leaves `Optional` out
    gently(lambda: prepare(ROWS.values()))
    ports = frozenset(map(port_of, inputs or ()))
    io = NodeIO(name, Inbox(node), Outbox(node), frozenset(outputs or ROWS), ports)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(io.run)
            yield io
            io.flush()
            nursery.cancel_scope.cancel()
    finally:
        signal.signal(signal.SIGINT, before)
