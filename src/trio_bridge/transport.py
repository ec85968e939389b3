"""How a session's messages travel: the interface, and a transport in memory.

A transport carries whole messages. It is attached to a session and may be taken away again;
the session outlives it (see `session.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import trio
from attrs import define, field

from trio_bridge.errors import TransportClosed, TransportStuck


class Transport(ABC):
    """One peer, message by message. One task receives; one at a time sends."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """The next message: text, or bytes for a binary frame.

        Raises:
            TransportClosed: The peer has gone, or `close` was called.
        """

    @abstractmethod
    def send_now(self, message: bytes) -> bool:
        """Send a text message, as far as that takes no waiting; `message` is its UTF-8.

        Returns:
            Whether all of it has left. If not, `drain` is due before anything else is sent.

        Raises:
            TransportClosed: The peer has gone.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until all that was sent has left. It may do so without a checkpoint.

        Raises:
            TransportClosed: The peer has gone. A wait that was cancelled may also leave the
                transport unusable: half a frame may have left.
            TransportStuck: The peer made no room within the transport's own deadline.
        """

    async def send(self, message: bytes) -> None:
        """Send a message and `drain`."""
        if not self.send_now(message):
            await self.drain()

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Say goodbye and let go. Idempotent, bounded in time, never raises for a peer that
        is already gone."""


MESSAGES_IN_FLIGHT = 32
"""What a memory transport holds each way, so that tests meet backpressure as sockets do."""

SEND_TIMEOUT = 10.0
"""Seconds after which a peer in memory that makes no room counts as not reading."""


@define(eq=False)
class MemoryTransport(Transport):
    """One end of a pair of transports in memory; see `memory_transport_pair`."""

    _send: trio.MemorySendChannel[str | bytes]
    _receive: trio.MemoryReceiveChannel[str | bytes]
    _peer: MemoryTransport | None = None
    _unsent: deque[str] = field(factory=deque, init=False)
    closed: tuple[int, str] | None = field(default=None, init=False)
    """The code and reason this end was closed with, by either side."""

    async def receive(self) -> str | bytes:
        """See `Transport.receive`."""
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as exc:
            raise self._gone() from exc

    def send_now(self, message: bytes) -> bool:
        """See `Transport.send_now`."""
        text = message.decode()
        try:
            if not self._unsent:
                self._send.send_nowait(text)
                return True
        except trio.WouldBlock:
            pass
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._gone() from exc
        self._unsent.append(text)
        return False

    async def drain(self) -> None:
        """See `Transport.drain`."""
        try:
            with trio.fail_after(SEND_TIMEOUT):
                while self._unsent:
                    await self._send.send(self._unsent[0])
                    self._unsent.popleft()
        except trio.TooSlowError as exc:
            raise TransportStuck("the peer does not read") from exc
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._gone() from exc

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See `Transport.close`."""
        if self.closed is None:
            self.closed = (code, reason)
        if self._peer is not None and self._peer.closed is None:
            self._peer.closed = (code, reason)
        self._send.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()

    def _gone(self) -> TransportClosed:
        code, reason = self.closed or (None, "")
        return TransportClosed("the transport is closed", code=code, reason=reason)


def memory_transport_pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Two transports joined to each other: what one sends the other receives."""
    there_send, there_receive = trio.open_memory_channel[str | bytes](MESSAGES_IN_FLIGHT)
    back_send, back_receive = trio.open_memory_channel[str | bytes](MESSAGES_IN_FLIGHT)
    near = MemoryTransport(there_send, back_receive)
    far = MemoryTransport(back_send, there_receive, near)
    near._peer = far  # noqa: SLF001  the two are made for each other
    return near, far
