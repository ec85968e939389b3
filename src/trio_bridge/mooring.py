"""How transports come to a session and go from it: the session is not its socket.

One transport at a time carries it. When that is lost or taken away, another may come within the
resume window, and goes on where the last one stopped.
"""

from __future__ import annotations

from collections import deque

import trio
from attrs import define, field

from trio_bridge.errors import TransportClosed
from trio_bridge.transport import Transport

READ_AHEAD = 1024 * 1024
"""Bytes that a client may send while its session waits for a place of the backend. It is read
for the sake of its hanging up; more stays with TCP, and then the hanging up is seen late."""


@define(eq=False)
class Line:
    """A transport while it is attached. `receiving` and `sending` are the scopes of the tasks
    that use it, cancelled when it goes."""

    transport: Transport
    lost: trio.Event = field(factory=trio.Event)
    receiving: trio.CancelScope | None = None
    sending: trio.CancelScope | None = None


@define(eq=False)
class Mooring:
    """Where a session's transport is attached.

    Args:
        resume_window: Seconds that it may be without one.
    """

    _resume_window: float
    line: Line | None = field(default=None, init=False)
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _lost_at: float = field(factory=trio.current_time, init=False)

    def attach(self, transport: Transport) -> None:
        """Carry the session over `transport` from now on.

        Raises:
            RuntimeError: Another transport is attached.
        """
        if self.line is not None:
            raise RuntimeError("this session has a transport already")
        self.line = Line(transport)
        self._changed.unpark_all()

    async def released(self, transport: Transport) -> None:
        """Wait until the session has let go of `transport`."""
        line = self.line
        if line is not None and line.transport is transport:
            await line.lost.wait()

    def detach(self) -> Transport | None:
        """Take the transport away, without closing it."""
        line = self.line
        if line is None:
            return None
        self.drop(line)
        return line.transport

    def drop(self, line: Line) -> None:
        """A transport has gone; nothing happens if it had gone before."""
        if self.line is not line:
            return
        self.line = None
        self._lost_at = trio.current_time()
        line.lost.set()
        for scope in (line.receiving, line.sending):
            if scope is not None:
                scope.cancel()

    async def attached(self) -> Line | None:
        """The transport in use, or the next one; None when none came in time."""
        while self.line is None:
            with trio.move_on_at(self._lost_at + self._resume_window) as window:
                await self._changed.park()
            if window.cancelled_caught and self.line is None:
                return None
        return self.line


@define(eq=False)
class ReadAhead:
    """Reads the transport while a place of the backend is waited for: so the hanging up of a
    client in line is seen.

    Attributes:
        read: What came, in order.
    """

    _mooring: Mooring
    read: deque[str | bytes] = field(factory=deque, init=False)
    _begun: bool = field(default=False, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _over: trio.Event = field(factory=trio.Event, init=False)

    async def run(self) -> bool:
        """Read until `end`. False: the client has gone, and no other transport came."""
        if self._scope.cancel_called:
            return True
        self._begun = True
        unread = 0
        try:
            with self._scope:
                while unread < READ_AHEAD:
                    line = await self._mooring.attached()
                    if line is None:
                        return False
                    with trio.CancelScope() as line.receiving:
                        try:
                            self.read.append(await line.transport.receive())
                            unread += len(self.read[-1])
                        except TransportClosed:
                            self._mooring.drop(line)
        finally:
            self._over.set()
        return True

    async def end(self) -> None:
        """Stop, and wait until it has: two cannot read one transport."""
        self._scope.cancel()
        # Where there is a place at once, as there is nearly always, nobody has begun: several
        # turns of a busy loop less to wait.
        if self._begun:
            await self._over.wait()
