"""What a backend reports to one session, in order.

A session that waits for the next event takes it in the step that has it: to be woken would mean
to wait for all others first. What comes while it does something else waits.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from attrs import define, field

from trio_bridge.messages import BackendEvent

Take = Callable[[BackendEvent], bool]
"""Takes an event at once, or tells that it cannot. It does not raise, for it runs in a task of
whoever reports."""


@define(eq=False)
class Reports:
    """See the module. One task receives.

    Args:
        limit: Events that may wait.
    """

    _limit: int
    waiting: int = field(default=0, init=False)
    """Events that wait, and those of whoever waits for room."""
    _take: Take | None = field(default=None, init=False)
    """How whoever waits for the next event takes it."""
    _taking: bool = field(default=False, init=False)
    _send: trio.MemorySendChannel[BackendEvent] = field(init=False)
    _receive: trio.MemoryReceiveChannel[BackendEvent] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[BackendEvent](self._limit)

    # --- the backend's end ------------------------------------------------------------------

    def report(self, event: BackendEvent) -> None:
        """Report an event; never waits.

        Raises:
            trio.WouldBlock: Too many wait.
            trio.BrokenResourceError: The session has closed its end.
            trio.ClosedResourceError: `end` was called.
        """
        if not self._taken(event):
            self._send.send_nowait(event)
            self.waiting += 1

    async def report_in_time(self, event: BackendEvent) -> None:
        """Report an event; waits for room.

        Raises:
            trio.BrokenResourceError: The session has closed its end.
            trio.ClosedResourceError: `end` was called.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._taken(event):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self.waiting += 1
        try:
            await self._send.send(event)
        except BaseException:
            self.waiting -= 1
            raise

    def end(self) -> None:
        """Nothing more is reported."""
        self._take = None
        self._send.close()

    def _taken(self, event: BackendEvent) -> bool:
        # Nothing overtakes what is on its way, nor what an event itself brings about.
        if self._take is None or self.waiting or self._taking:
            return False
        self._taking = True
        try:
            return self._take(event)
        finally:
            self._taking = False

    # --- the session's end ------------------------------------------------------------------

    async def receive(self, take: Take | None = None) -> BackendEvent:
        """The next event that nobody takes; waits for it.

        Args:
            take: Takes events in the step that has them, meanwhile.

        Raises:
            trio.EndOfChannel: There are no more.
            trio.ClosedResourceError: `close` was called.
        """
        self._take = take
        try:
            event = await self._receive.receive()
        finally:
            self._take = None
        self.waiting -= 1
        return event

    def receive_nowait(self) -> BackendEvent:
        """The next event.

        Raises:
            trio.WouldBlock: There is none yet.
            trio.EndOfChannel, trio.ClosedResourceError: As `receive`.
        """
        event = self._receive.receive_nowait()
        self.waiting -= 1
        return event

    def close(self) -> None:
        """Receive nothing more."""
        self._take = None
        self._receive.close()

    def __aiter__(self) -> Reports:
        return self

    async def __anext__(self) -> BackendEvent:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
