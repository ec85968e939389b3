"""A WebSocket as a `Transport`. Everything that is known of trio-websocket is known here.

The library is used for its framing only. Three things around it are ours:

- It sees a request head made by us from the few headers that were checked, so that nothing a
  client writes is parsed twice, and a head it would refuse (and then wait for ever) never
  reaches it.
- It runs in a task of its own, so that whatever it raises ends this connection and not its
  neighbours.
- The socket is closed by us: the library would close it too early for a peer at fault to
  learn what it did, or not at all.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio
from attrs import define, field, frozen
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from trio_bridge.closing import REASON_BYTES
from trio_bridge.doors import realtime
from trio_bridge.doors.exchange import BadRequest, HttpRequest
from trio_bridge.errors import TransportClosed

log = structlog.get_logger(__name__)

MAX_MESSAGE = 21 * 1024 * 1024
"""Characters of text, or bytes, in one message. An audio append may hold 15 MiB, which is
20 MiB in base64; the rest is for the JSON around it."""

MESSAGE_QUEUE = 1
"""Messages read ahead of the session. Each may be `MAX_MESSAGE` long, so one is enough: the
session takes them as they come, and behind it TCP holds the client back."""

RESPONSE_HEAD_TIME = 10.0
"""Seconds in which the answer to the upgrade must have left."""

_GONE = (
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    LocalProtocolError,
    RemoteProtocolError,
    OSError,
)
"""What the library raises when there is no connection any more: its own exception; the
stream's; wsproto's, when a frame is sent in a state that allows none (a ping that arrives
after our close frame has the library answer it all the same)."""


_FAULTS = (1002, 1007, 1009)
"""Close codes for faults of the peer that the library finds. It stops there, with no close
frame (1002, 1007) or without waiting for the peer's (1009). The socket must not be closed on
unread bytes then: that resets the connection, and the peer would never see why."""

CLOSE_FRAME = 0x88
"""First byte of a close frame: the only fragment, opcode 8 (RFC 6455, 5.2)."""


@frozen
class Timing:
    """How long a peer may keep a WebSocket waiting, in seconds."""

    ping_interval: float = 20.0
    pong_timeout: float = 20.0
    send_timeout: float = 10.0
    close_timeout: float = 2.0
    """For the close handshake and for the peer to read what was said before it."""


def wants_websocket(request: HttpRequest) -> bool:
    """Whether the request asks to become a WebSocket."""
    return "websocket" in (token.lower() for token in request.tokens("upgrade"))


def check_handshake(request: HttpRequest) -> None:
    """Hold an upgrade request against RFC 6455, section 4.2.1.

    Raises:
        BadRequest: It is not a handshake that can be accepted; says why.
    """
    if request.method != "GET":
        raise BadRequest(
            405,
            f"A WebSocket is opened with GET, not {request.method}.",
            code="method_not_allowed",
            headers=(("allow", "GET"),),
        )
    if "upgrade" not in (token.lower() for token in request.tokens("connection")):
        raise BadRequest(
            400, "The header 'Connection: Upgrade' is missing.", code="invalid_handshake"
        )
    if request.header("sec-websocket-version") != "13":
        raise BadRequest(
            426,
            "Only version 13 of the WebSocket protocol is spoken here.",
            code="invalid_handshake",
            headers=(("upgrade", "websocket"), ("sec-websocket-version", "13")),
        )
    try:
        key = base64.b64decode(request.header("sec-websocket-key") or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise BadRequest(
            400,
            "The header 'Sec-WebSocket-Key' must hold 16 bytes in base64.",
            code="invalid_handshake",
        )


def _head_for_library(request: HttpRequest) -> bytes:
    lines = [
        "GET / HTTP/1.1",
        "Host: trio-bridge",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {request.header('sec-websocket-key')}",
    ]
    # Only this one is ever handed on: a client may offer its API key as a subprotocol, and a
    # key must not come back in an answer.
    if _subprotocol(request) is not None:
        lines.append(f"Sec-WebSocket-Protocol: {realtime.SUBPROTOCOL}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _subprotocol(request: HttpRequest) -> str | None:
    offered = request.tokens("sec-websocket-protocol")
    return realtime.SUBPROTOCOL if realtime.SUBPROTOCOL in offered else None


@define(eq=False)
class LibraryStream(trio.abc.Stream):
    """The connection as the library sees it: `head`, then what was read ahead, then the rest.

    Closing it leaves the socket open: see `WebSocketTransport.close`.

    Attributes:
        opened: To be set when the upgrade has been answered. wsproto forgets whatever it is
            given between the head and its answer.
        torn: Part of a `send_all` may have left and the rest not: no frame can follow.
        said_goodbye: A close frame has left.
    """

    _socket: trio.SocketStream
    _head: bytes
    _read_ahead: bytes
    opened: trio.Event = field(factory=trio.Event, init=False)
    torn: bool = field(default=False, init=False)
    said_goodbye: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._closed:
            raise trio.ClosedResourceError("the library has closed its stream")
        if self._head:
            await trio.lowlevel.checkpoint()
            data, self._head = self._head, b""
            return data
        await self.opened.wait()
        if self._read_ahead:
            data, self._read_ahead = self._read_ahead, b""
            return data
        return bytes(await self._socket.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        # A cancellation that is already due strikes here, before anything is torn. From here
        # on the first write is tried at once, so one that strikes later found the socket full.
        await trio.lowlevel.checkpoint_if_cancelled()
        # Not marked while a write is under way: another task may want to send meanwhile (a
        # pong, our own ping), and only has to wait its turn at the library's lock.
        whole = False
        try:
            await self._socket.send_all(data)
            whole = True
        finally:
            self.torn = self.torn or not whole
        self.said_goodbye = self.said_goodbye or data[0] == CLOSE_FRAME

    async def wait_send_all_might_not_block(self) -> None:
        await self._socket.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()


@define(eq=False)
class WebSocketTransport:
    """See `transport.Transport`. Made by `serve_websocket`."""

    _connection: WebSocketConnection
    _stream: LibraryStream
    _socket: trio.SocketStream
    _timing: Timing
    _lost: TransportClosed | None = field(default=None, init=False)
    _closing: bool = field(default=False, init=False)

    async def receive(self) -> str | bytes:
        """See `Transport.receive`."""
        try:
            message: str | bytes = await self._connection.get_message()
        except _GONE as exc:
            raise self._gone() from exc
        return message

    async def send(self, message: str) -> None:
        """See `Transport.send`. A peer that takes longer than `Timing.send_timeout` to make
        room for the message is dropped."""
        if self._lost is not None or self._stream.torn:
            raise self._gone()
        try:
            with trio.move_on_after(self._timing.send_timeout):
                await self._connection.send_message(message)
                return
        except _GONE as exc:
            raise self._gone() from exc
        waited = self._timing.send_timeout
        await self._drop(f"the client did not read for {waited:g} s")
        raise self._gone()

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
                # After half a frame a close frame would be read as the frame's other half.
                if not self._stream.torn:
                    await self._say_goodbye(code, reason)
        finally:
            await trio.aclose_forcefully(self._socket)

    async def keep_alive(self) -> None:
        """Ping the peer from time to time, and close when it does not answer. Runs until it is
        cancelled or the connection is gone."""
        while True:
            await trio.sleep(self._timing.ping_interval)
            try:
                with trio.fail_after(self._timing.pong_timeout):
                    await self._connection.ping()
            except trio.TooSlowError:
                waited = self._timing.pong_timeout
                reason = f"no answer to a ping for {waited:g} s"
                self._lost = TransportClosed(reason, code=1011, reason=reason)
                await self.close(1011, reason)
                return
            except _GONE:
                return

    async def _say_goodbye(self, code: int, reason: str) -> None:
        try:
            await self._connection.aclose(code, _short(reason))
            closed = self._connection.closed
            if closed is None or closed.code not in _FAULTS:
                return
            if not self._stream.said_goodbye:
                payload = closed.code.to_bytes(2) + _short(closed.reason or "").encode()
                await self._stream.send_all(bytes([CLOSE_FRAME, len(payload)]) + payload)
        except _GONE as exc:
            log.debug("close handshake cut short", cause=repr(exc))
        else:
            await linger(self._socket)

    async def _drop(self, reason: str) -> None:
        self._lost = TransportClosed(reason, code=1006, reason=reason)
        await trio.aclose_forcefully(self._socket)

    def _gone(self) -> TransportClosed:
        if self._lost is not None:
            return TransportClosed(
                str(self._lost), code=self._lost.code, reason=self._lost.reason
            )
        closed = self._connection.closed
        code = closed.code if closed is not None else None
        reason = (closed.reason or "") if closed is not None else ""
        return TransportClosed("the client has gone", code=code, reason=reason)


async def serve_websocket(
    stream: trio.SocketStream,
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
    async with trio.open_nursery() as nursery:
        run = partial(_run_library, stream, request, read_ahead, timing)
        transport: WebSocketTransport | None = await nursery.start(run)
        if transport is not None:
            await handler(transport)
            await transport.close(1000, "")
        nursery.cancel_scope.cancel()


async def _run_library(
    stream: trio.SocketStream,
    request: HttpRequest,
    read_ahead: bytes,
    timing: Timing,
    *,
    task_status: trio.TaskStatus[WebSocketTransport | None],
) -> None:
    started = False
    try:
        async with trio.open_nursery() as nursery:
            library_stream = LibraryStream(stream, _head_for_library(request), read_ahead)
            with trio.fail_after(RESPONSE_HEAD_TIME):
                proposal = await wrap_server_stream(
                    nursery,
                    library_stream,
                    message_queue_size=MESSAGE_QUEUE,
                    max_message_size=MAX_MESSAGE,
                    receive_buffer_size=None,
                )
                connection = await proposal.accept(subprotocol=_subprotocol(request))
            transport = WebSocketTransport(connection, library_stream, stream, timing)
            library_stream.opened.set()
            task_status.started(transport)
            started = True
            nursery.start_soon(transport.keep_alive)
    except* (*_GONE, trio.TooSlowError, UnicodeError) as gone:
        log.debug("websocket ended", cause=repr(gone.exceptions))
    if not started:
        task_status.started(None)


async def linger(stream: trio.SocketStream) -> None:
    """Say that nothing more comes, and read what the peer still sends until it hangs up.

    A socket closed with unread bytes resets the connection, and the reset may overtake what
    was written last. The caller sets the deadline.
    """
    try:
        await stream.send_eof()
        while await stream.receive_some():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
    except trio.BusyResourceError:
        # The library is in the middle of its own goodbye on this socket.
        return


def _short(reason: str) -> str:
    return reason.encode()[:REASON_BYTES].decode(errors="ignore")
