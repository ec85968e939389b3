"""What a session has to say to its client, in order.

What a step says is sent in that step, as long as the socket takes it. A task of its own sends
what has to wait: on a busy loop, to be woken means to wait for all others first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from attrs import define, field

from trio_bridge.closing import CLIENT_TOO_SLOW, Ending
from trio_bridge.errors import TransportClosed, TransportStuck
from trio_bridge.headroom import Headroom
from trio_bridge.mooring import Line, Mooring
from trio_bridge.outgoing import Outgoing
from trio_bridge.realtime.step import NOTHING, Step

WAITING = 512
"""Steps that may wait for the task. Reader and pump pause at half of it, so the other half is
room for the steps that were already under way."""

PAUSE = WAITING // 2

MESSAGES_IN_A_ROW = 32
"""Messages sent without letting others run: about a millisecond of work."""


@define(eq=False)
class Speaking:
    """See the module.

    Args:
        mooring: Where the transport is.
        attached: Waits for one.
        outgoing: Makes messages of steps.
        end: Ends the session.
    """

    _mooring: Mooring
    _attached: Callable[[], Awaitable[Line]]
    _outgoing: Outgoing
    _end: Callable[[Ending], None]
    _queue: Headroom[Step | Ending] = field(init=False)
    _queued: trio.MemoryReceiveChannel[Step | Ending] = field(init=False)
    _said: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _idle: Line | None = field(default=None, init=False)
    """The transport over which everything has been said: the task waits for more."""
    _begun: Line | None = field(default=None, init=False)
    """The transport over which part of the next message has left."""

    def __attrs_post_init__(self) -> None:
        queue, self._queued = trio.open_memory_channel[Step | Ending](WAITING)
        self._queue = Headroom(queue, PAUSE)

    @property
    def has_room(self) -> bool:
        """Whether the result of another step can be said or queued."""
        return self._queue.left

    async def room(self) -> None:
        """Wait until the task has caught up so far that there is room."""
        while not self._queue.left:
            await self._said.park()

    def begin(self) -> None:
        """What is said first is said at once, too: nothing has to wait before the task runs."""
        self._idle = self._mooring.line

    def say(self, what: Step | Ending) -> None:
        """Say what a step says, or how the session ends; never waits.

        Raises:
            trio.WouldBlock: There is no room.
            trio.ClosedResourceError: `close` was called.
        """
        line, self._idle = self._idle, None
        # A transport that was taken away is still the task's until it runs.
        if line is not None and line is self._mooring.line:
            self._outgoing.put(what)
            if self._say_now(line):
                self._idle = line
                return
            what = NOTHING  # It wakes the task, which goes on with what is left.
        self._queue.send_nowait(what)

    def _say_now(self, line: Line) -> bool:
        """Send what there is to say; whether that was all."""
        try:
            for _ in range(MESSAGES_IN_A_ROW):
                message = self._outgoing.next()
                if message is None:
                    return True
                if isinstance(message, Ending):
                    return False
                if not line.transport.send_now(message):
                    self._begun = line
                    return False
                self._outgoing.sent()
        except TransportClosed:
            self._mooring.drop(line)
        return False

    async def run(self) -> None:
        """Send what has to wait, over one transport after the other, until the session ends."""
        while True:
            line = await self._attached()
            with trio.CancelScope() as line.sending:
                try:
                    self._end(await self._say_all(line))
                    return
                except TransportStuck:
                    self._end(CLIENT_TOO_SLOW)
                    return
                except TransportClosed:
                    self._mooring.drop(line)

    async def _say_all(self, line: Line) -> Ending:
        """Send what there is to say until the session ends, and tell how."""
        in_a_row = 0
        while True:
            if self._begun is line:
                await line.transport.drain()
                self._begun = None
                self._outgoing.sent()
            message = self._outgoing.next()
            if isinstance(message, Ending):
                return message
            if message is not None:
                if not line.transport.send_now(message):
                    self._begun = line
                    continue
                self._outgoing.sent()
                in_a_row += 1
                if in_a_row < MESSAGES_IN_A_ROW:
                    continue
                await trio.lowlevel.checkpoint()
            else:
                self._outgoing.put(await self._more(line))
            in_a_row = 0

    async def _more(self, line: Line) -> Step | Ending:
        if self._said:
            self._said.unpark_all()
        # Only who really waits is idle: `receive` lets others run also where there is more.
        with suppress(trio.WouldBlock):
            return self._queued.receive_nowait()
        self._idle = line
        try:
            return await self._queued.receive()
        finally:
            self._idle = None

    def close(self) -> None:
        """Nothing is said any more."""
        self._queue.close()
        self._queued.close()
