"""Several tasks have something to write while the socket takes nothing."""

from __future__ import annotations

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked
from websockets.protocol import State
from websockets.server import ServerProtocol

from trio_bridge.doors.bytestream import ByteStream
from trio_bridge.doors.websocket import Timing, WebSocketTransport
from trio_bridge.errors import TransportClosed

PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\x00"
CLOSE, CLOSED = b"\x88\x82\0\0\0\0\x03\xe8", b"\x88\x02\x03\xe8"
HELLO = b"\x81\x05hello"
EOF = b"the end"


@define(eq=False)
class Full(ByteStream):
    """Takes nothing until there is room."""

    arrives: list[bytes]
    room: trio.Event = field(factory=trio.Event)
    written: list[bytes] = field(factory=list)

    async def read(self, limit: int = 65536) -> bytes:
        if not self.arrives:
            await trio.sleep_forever()
        return self.arrives.pop(0)

    def write_now(self, data: bytes) -> int:
        if not self.room.is_set():
            return 0
        if EOF in self.written:
            raise trio.BrokenResourceError
        self.written.append(data)
        return len(data)

    async def _send_all(self, data: bytes | memoryview) -> None:
        await self.room.wait()
        self.written.append(bytes(data))

    async def send_eof(self) -> None:
        self.written.append(EOF)

    async def abort(self) -> None:
        raise NotImplementedError


def transport_over(stream: Full) -> WebSocketTransport:
    return WebSocketTransport(ServerProtocol(state=State.OPEN), stream, Timing())


async def test_a_message_waits_for_a_pong_that_is_being_written(
    autojump_clock: MockClock,
) -> None:
    """The connection is not torn for that; both leave, whole."""
    stream = Full([PING])
    transport = transport_over(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.receive)
        await wait_all_tasks_blocked()
        assert not transport.send_now(b"hello")
        nursery.start_soon(transport.drain)
        await wait_all_tasks_blocked()
        stream.room.set()
        await wait_all_tasks_blocked()
        assert b"".join(stream.written) == PONG + HELLO
        nursery.cancel_scope.cancel()


async def test_the_answer_to_a_close_is_said_before_the_end(autojump_clock: MockClock) -> None:
    """Also where the close comes while a message waits for room."""
    stream = Full([CLOSE])
    transport = transport_over(stream)
    assert not transport.send_now(b"hello")

    async def receive() -> None:
        with pytest.raises(TransportClosed):
            await transport.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.drain)
        await wait_all_tasks_blocked()
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        stream.room.set()
    assert b"".join(stream.written) == HELLO + CLOSED + EOF


async def test_a_write_that_was_cancelled_tears_the_connection(
    autojump_clock: MockClock,
) -> None:
    """Half a frame may have left: nothing can follow it."""
    transport = transport_over(Full([]))
    assert not transport.send_now(b"hello")
    with trio.move_on_after(1):
        await transport.drain()
    with pytest.raises(TransportClosed):
        transport.send_now(b"again")
