"""How any node hears, on Trio: one thread that reads, and one task that receives."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio
from attrs import define, field

from trio_bridge.dora.dora_node import DoraNode, Raw
from trio_bridge.dora.node_events import (
    Batch,
    NodeEvent,
    Notice,
    Stopped,
    read_event,
    weight_of,
)

EVENTS_WAITING = 256
"""Messages the reading thread may be ahead of the Trio loop. Beyond it the thread waits, and
Dora's own queue (10,000, backpressure) holds the rest: 256 is 5 s of 20 ms messages. Large
messages count as several, so that this many hold 64 MB."""

EVENTS_IN_A_ROW = 8
"""Messages that a node receives without letting its other tasks run: a few milliseconds of
work."""


@define(eq=False)
class Inbox:
    """Events of a node for one Trio task, in order.

    Everything up to and including the `Stopped` event is delivered; after it nothing comes.
    Small messages are decoded by the task that receives them: a thread that takes turns at the
    interpreter with a busy loop makes both wait, longer than the work takes. A large one is
    decoded by the thread, so that the loop goes on meanwhile.

    Args:
        node: The node to read.
        decode: Tells what an event means, in the contract that the node speaks.
        limit: Events that the thread may be ahead, by their weight.
        in_a_row: Events that are received without letting other tasks run.
    """

    _node: DoraNode | None
    _decode: Callable[[Raw | None], NodeEvent] = read_event
    _limit: int = EVENTS_WAITING
    _most_in_a_row: int = field(default=EVENTS_IN_A_ROW, alias="in_a_row")
    _events: deque[NodeEvent | Raw] = field(factory=deque, init=False)
    _room: threading.Condition = field(factory=threading.Condition, init=False)
    _arrived: trio.Event = field(factory=trio.Event, init=False)
    _closed: bool = field(default=False, init=False)
    _in_a_row: int = field(default=0, init=False)
    _held_up: bool = field(default=False, init=False)
    """Whether the thread waits for room, or is about to."""
    # Each is written by one thread alone.
    _weight_in: int = field(default=0, init=False)
    _weight_out: int = field(default=0, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    """Set when the thread has ended and let go of the node."""

    async def run(self) -> None:
        """Read until the node stops. Cancelling leaves the thread to end by itself: it is
        blocked in `next()` and cannot be woken, but comes back when the dataflow stops."""
        token = trio.lowlevel.current_trio_token()
        # A limiter of its own: a thread that may live for days must not occupy a place among
        # the default limiter's forty.
        limiter = trio.CapacityLimiter(1)
        try:
            await trio.to_thread.run_sync(
                self._read, token, limiter=limiter, abandon_on_cancel=True
            )
        finally:
            self.close()

    def close(self) -> None:
        """Let the thread go: what it still reads is thrown away. Idempotent."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def forget(self) -> None:
        """Let go of the node, closed or not, and of its messages, which are memory of its."""
        self.close()
        self._events.clear()
        self._node = None

    def stop(self) -> None:
        """Deliver `Stopped` after what has already been read. Call it on the Trio thread."""
        self._weight_out -= _weight(Stopped())
        self._events.append(Stopped())
        self._arrived.set()

    async def receive(self) -> NodeEvent:
        """The next event; waits for it."""
        # A flood must not keep other tasks from running.
        self._in_a_row += 1
        if self._in_a_row >= self._most_in_a_row:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        while not self._events:
            self._in_a_row = 0
            self._arrived = trio.Event()
            # No event is missed between the look and the wait: the thread wakes us through
            # the Trio loop, which cannot run before we wait.
            await self._arrived.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> NodeEvent:
        """The next event.

        Raises:
            trio.WouldBlock: There is none yet.
        """
        try:
            event = self._events.popleft()
        except IndexError:
            raise trio.WouldBlock from None
        self._weight_out += _weight(event)
        # The thread says that it waits before it looks for room; we make room before we look
        # whether it waits. So one of us sees the other, wherever the interpreter switches.
        if self._held_up and not self._full:
            with self._room:
                self._room.notify_all()
        return self._decode(event) if isinstance(event, dict) else event

    def _read(self, token: trio.lowlevel.TrioToken) -> None:
        # Trio may have finished while the thread was in `next()`; then nobody waits for it.
        with suppress(trio.RunFinishedError):
            try:
                while self._node is not None and not self._closed:
                    raw = self._node.next()
                    event = raw if raw is not None and _is_small(raw) else self._decode(raw)
                    self._append(event)
                    token.run_sync_soon(self._wake, idempotent=True)
                    if isinstance(event, Stopped):
                        return
            finally:
                token.run_sync_soon(self.ended.set)

    def _append(self, event: NodeEvent | Raw) -> None:
        with self._room:
            self._held_up = self._full
            while self._full and not self._closed:
                self._room.wait()
            self._held_up = False
            self._weight_in += _weight(event)
            self._events.append(event)

    @property
    def _full(self) -> bool:
        return self._weight_in - self._weight_out >= self._limit

    def _wake(self) -> None:
        self._arrived.set()


def _weight(event: NodeEvent | Raw) -> int:
    return event.weight if isinstance(event, Batch | Notice) else 1


def _is_small(event: Raw) -> bool:
    return event["type"] == "INPUT" and weight_of(event["value"]) == 1
