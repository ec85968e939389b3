"""A WebSocket as a `Transport`. Everything that is known of `websockets` is known here.

The library is used for its protocol machine, which does no I/O: it frames, checks, answers
pings and keeps the rules of the close handshake. It sees a request made by us from the few
headers that were checked, so that nothing a client writes is parsed twice.

The socket is read only while the session receives: behind it TCP holds the client back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import structlog
import trio
from attrs import define, field, frozen
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from trio_bridge.closing import REASON_BYTES
from trio_bridge.doors.bytestream import ByteStream
from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.handshake import subprotocol_of
from trio_bridge.errors import TransportClosed, TransportStuck
from trio_bridge.transport import Transport

log = structlog.get_logger(__name__)

MAX_MESSAGE = 21 * 1024 * 1024
"""Bytes in one message. An audio append may hold 15 MiB, which is 20 MiB in base64; the rest
is for the JSON around it."""

HANG_UP_PATIENCE = 0.1
"""Seconds that a peer which has answered our close frame has to hang up before we do. Nothing
may follow its answer, so that our end cannot turn into a reset."""

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, InvalidState)
"""What stands for a connection that is no more: the stream's exceptions, and the library's for
a frame that may not be sent any more."""


@frozen
class Timing:
    """How long a peer may keep a WebSocket waiting, in seconds."""

    ping_interval: float = 20.0
    pong_timeout: float = 20.0
    send_timeout: float = 10.0
    close_timeout: float = 2.0
    """For the close handshake and for the peer to read what was said before it."""


@define(eq=False)
class WebSocketTransport(Transport):
    """See `transport.Transport`. Made by `serve_websocket`."""

    _protocol: ServerProtocol
    _bytes: ByteStream
    _timing: Timing
    _messages: deque[str | bytes] = field(factory=deque, init=False)
    _opcode: Opcode = field(default=Opcode.TEXT, init=False)
    _fragments: bytearray = field(factory=bytearray, init=False)
    _lost: TransportClosed | None = field(default=None, init=False)
    _closing: bool = field(default=False, init=False)
    _reading: bool = field(default=False, init=False)
    _heard: trio.Event = field(factory=trio.Event, init=False)
    _over: trio.Event = field(factory=trio.Event, init=False)
    """Set when the peer has hung up or the connection was lost."""
    _answered: trio.Event = field(factory=trio.Event, init=False)
    """Set when the peer has said its close frame, or is over."""
    _unsent: bytes = field(default=b"", init=False)
    """Frames, and parts of one, that the socket has not taken yet."""
    _eof_unsent: bool = field(default=False, init=False)
    _writing: bool = field(default=False, init=False)
    _written: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    # --- the transport ---------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """See `Transport.receive`."""
        while not self._messages:
            if self._protocol.state is not State.OPEN and not self._closing:
                raise self._gone()
            if self._over.is_set():
                raise self._gone()
            try:
                await self._read()
            except _GONE as exc:
                raise self._gone() from exc
        return self._messages.popleft()

    def send_now(self, message: bytes) -> bool:
        """See `Transport.send_now`."""
        try:
            self._check()
            self._protocol.send_text(message)
            return self._write_now()
        except _GONE as exc:
            raise self._gone() from exc

    async def drain(self) -> None:
        """See `Transport.drain`. A peer that takes longer than `Timing.send_timeout` to make
        room for what is under way is dropped."""
        try:
            await self._ready()
            await self._write()
        except _GONE as exc:
            raise self._gone() from exc

    async def close(self, code: int, reason: str) -> None:
        """See `Transport.close`. Takes at most `Timing.close_timeout`; a cancellation closes
        the socket on the spot."""
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        self._lost = self._lost or TransportClosed(
            "the connection was closed", code=code, reason=reason
        )
        try:
            with trio.move_on_after(self._timing.close_timeout):
                await self._shake_hands(code, reason)
        except (*_GONE, TransportClosed) as exc:
            log.debug("close handshake cut short", cause=repr(exc))
        finally:
            await self._bytes.abort()

    async def keep_alive(self) -> None:
        """Ping the peer from time to time, and close when nothing comes from it. Runs until
        it is cancelled or the connection is gone."""
        while True:
            await trio.sleep(self._timing.ping_interval)
            self._heard = trio.Event()
            try:
                await self._ready()
                self._protocol.send_ping(b"")
                await self._write()
            except (*_GONE, TransportClosed):
                return
            with trio.move_on_after(self._timing.pong_timeout) as patience:
                await self._heard.wait()
            # A peer that is not listened to cannot be heard: it is the session that lags.
            if patience.cancelled_caught and self._reading:
                waited = self._timing.pong_timeout
                await self.close(1011, f"no answer to a ping for {waited:g} s")
                return

    # --- in --------------------------------------------------------------------------------

    async def begin(self, read_ahead: bytes) -> None:
        """Write the answer to the upgrade, and take what came with the request.

        Raises:
            TransportClosed: The client has left already.
        """
        try:
            await self._write()
            if read_ahead:
                await self._feed(read_ahead)
        except _GONE as exc:
            raise self._gone() from exc

    async def _read(self) -> None:
        self._reading = True
        try:
            data = await self._bytes.read()
        except _GONE:
            self._end()
            raise
        finally:
            self._reading = False
        await self._feed(data)

    async def _feed(self, data: bytes) -> None:
        self._heard.set()
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
            self._end()
        if self._protocol.close_rcvd is not None:
            self._answered.set()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame):
                self._take(frame)
        # Pongs, the answer to a close frame, or what the library found wrong. They are waited
        # for, so that a peer that only sends cannot pile up answers that it does not read.
        if self._draft():
            await self._turn()
            await self._write()

    def _end(self) -> None:
        self._over.set()
        self._answered.set()

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) or self._closing:
            return
        data = frame.data
        if not frame.fin or frame.opcode is Opcode.CONT:
            # Joined as they come: of empty fragments there may be any number.
            if frame.opcode is not Opcode.CONT:
                self._opcode = frame.opcode
            self._fragments += data
            if not frame.fin:
                return
            data, self._fragments = bytes(self._fragments), bytearray()
            opcode = self._opcode
        else:
            opcode = frame.opcode
        if opcode is Opcode.BINARY:
            self._messages.append(bytes(data))
            return
        try:
            self._messages.append(str(data, "utf-8"))
        except UnicodeDecodeError:
            self._protocol.fail(CloseCode.INVALID_DATA, "a text message that is not UTF-8")

    # --- out -------------------------------------------------------------------------------

    def _check(self) -> None:
        """See that frames may be made. One that was begun is written whole, or the connection
        counts as torn; as it does for as long as somebody writes, who may yet succeed."""
        if self._lost is not None or (self._bytes.torn and not self._writing):
            raise trio.ClosedResourceError

    async def _ready(self) -> None:
        """Wait until nobody writes, and another frame may be made."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._turn()
        self._check()

    async def _turn(self) -> None:
        """Wait until nobody writes."""
        while self._writing:
            await self._written.park()

    def _draft(self) -> bool:
        """Take the frames that the library has made; whether there were any."""
        chunks = self._protocol.data_to_send()
        if not chunks:
            return False
        self._unsent = b"".join((self._unsent, *chunks))
        if chunks[-1] == SEND_EOF:
            self._eof_unsent = True
        return True

    def _write_now(self) -> bool:
        """Write what there is, as far as the socket takes it; whether that was all. Where
        somebody writes already, that one writes this as well."""
        if self._writing:
            return False
        self._draft()
        data = self._unsent
        if data:
            sent = self._bytes.write_now(data)
            self._unsent = data[sent:]
        return not (self._unsent or self._eof_unsent)

    async def _write(self) -> None:
        """Write what there is; nobody else may be writing."""
        # What other tasks have to say meanwhile is written by this one.
        while not self._write_now():
            await self._write_slowly()

    async def _write_slowly(self) -> None:
        self._writing = True
        try:
            # Both at once: what is drafted meanwhile is said before an end that follows it.
            data, self._unsent = self._unsent, b""
            last, self._eof_unsent = self._eof_unsent, False
            if data:
                await self._write_in_time(data)
            if last:
                await self._bytes.send_eof()
        finally:
            self._writing = False
            self._written.unpark_all()

    async def _write_in_time(self, data: bytes) -> None:
        with trio.move_on_after(self._timing.send_timeout):
            await self._bytes.write(data)
            return
        waited = self._timing.send_timeout
        reason = f"the client did not read for {waited:g} s"
        self._lost = TransportStuck(reason, code=1006, reason=reason)
        await self._bytes.abort()
        raise self._lost

    # --- the end ---------------------------------------------------------------------------

    async def _shake_hands(self, code: int, reason: str) -> None:
        await self._turn()
        # After half a frame a close frame would be read as the frame's other half.
        if self._bytes.torn:
            return
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, _short(reason))
        await self._write()
        # A socket closed with unread bytes resets the connection, and the reset may overtake
        # what was written last: so the peer is read until it hangs up.
        await self._read_until(self._answered)
        # Some clients wait for our end to close first, though ours has said that it ends.
        with trio.move_on_after(HANG_UP_PATIENCE):
            await self._read_until(self._over)

    async def _read_until(self, event: trio.Event) -> None:
        while not event.is_set():
            if self._reading:
                await event.wait()
            else:
                await self._read()

    def _gone(self) -> TransportClosed:
        if self._lost is not None:
            lost = self._lost
            return type(lost)(str(lost), code=lost.code, reason=lost.reason)
        close = self._protocol.close_rcvd or self._protocol.close_sent
        if close is None:
            return TransportClosed("the client has gone")
        return TransportClosed("the client has gone", code=close.code, reason=close.reason)


async def serve_websocket(
    stream: ByteStream,
    request: HttpRequest,
    read_ahead: bytes,
    timing: Timing,
    handler: Callable[[WebSocketTransport], Awaitable[None]],
) -> None:
    """Accept a checked upgrade `request` and run `handler` on the WebSocket. The connection is
    at its end when the handler is; `handler` is not called if the client leaves before.

    Args:
        stream: The connection, read as far as the end of the request's head. The caller
            closes it.
        request: Must have passed `check_handshake`.
        read_ahead: What was read from `stream` beyond the head.
        timing: The peer's deadlines.
        handler: Must not raise.
    """
    transport = WebSocketTransport(_accepted(request), stream, timing)
    try:
        await transport.begin(read_ahead)
    except TransportClosed as exc:
        log.debug("websocket ended in its handshake", cause=repr(exc))
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.keep_alive)
        await handler(transport)
        await transport.close(1000, "")
        nursery.cancel_scope.cancel()


def _accepted(request: HttpRequest) -> ServerProtocol:
    """The protocol machine of a connection, with the answer to the upgrade ready to be sent."""
    chosen = subprotocol_of(request)
    lines = [
        "GET / HTTP/1.1",
        "Host: trio-bridge",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {request.header('sec-websocket-key')}",
    ]
    if chosen is not None:
        lines.append(f"Sec-WebSocket-Protocol: {chosen}")
    protocol = ServerProtocol(
        max_size=MAX_MESSAGE,
        select_subprotocol=lambda *_: None if chosen is None else Subprotocol(chosen),
    )
    protocol.receive_data("\r\n".join([*lines, "", ""]).encode("ascii"))
    for head in protocol.events_received():
        if isinstance(head, Request):
            protocol.send_response(protocol.accept(head))
    return protocol


def _short(reason: str) -> str:
    return reason.encode()[:REASON_BYTES].decode(errors="ignore")
