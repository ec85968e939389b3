"""The front door: one port, on which a connection is told apart as HTTP or WebSocket.

The request's head is read here, under a deadline and a bound, before anything else of the
server hears of the connection.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Protocol

import h11
import structlog
import trio
from attrs import Factory, define, field, frozen

from trio_bridge.doors.bytestream import ByteStream, PlainBytes, linger, secured
from trio_bridge.doors.exchange import (
    SOFTWARE,
    BadRequest,
    HttpRequest,
    HttpResponse,
    error_response,
    refusal,
    split_target,
)
from trio_bridge.doors.handshake import check_handshake, wants_websocket
from trio_bridge.doors.websocket import Timing, WebSocketTransport, serve_websocket
from trio_bridge.transport import Transport

log = structlog.get_logger(__name__)

READ_BYTES = 4096
"""Bytes read at once. h11 looks at a head's size between reads, so this is also how far a head
may overshoot its bound."""


@frozen
class Limits:
    """What one connection may ask of the door. Times in seconds, sizes in bytes."""

    request_timeout: float = 10.0
    """For a request to arrive whole, and for the next one to begin on a kept connection."""
    response_timeout: float = 10.0
    """For the client to take its response."""
    linger_timeout: float = 2.0
    """For the client to hang up after the last response."""
    head_bytes: int = 16 * 1024
    """Request line and headers. A browser's cookies and tokens fit in."""
    body_bytes: int = 64 * 1024
    """A session's configuration as JSON, with room for tools and instructions."""
    websocket: Timing = Factory(Timing)


class App(Protocol):
    """What stands behind the door."""

    async def http(self, request: HttpRequest) -> HttpResponse:
        """Answer a plain HTTP request."""

    @property
    def starting(self) -> bool:
        """Whether WebSockets should wait, since it cannot serve them yet."""

    async def wait_started(self, request: HttpRequest) -> None:
        """Wait until it has started, for as long as this request may be kept waiting."""

    def admit(self, request: HttpRequest) -> HttpResponse | None:
        """Decide on a WebSocket before the upgrade: None lets it in, a response refuses it."""

    async def websocket(self, request: HttpRequest, transport: Transport) -> None:
        """Serve a WebSocket; the connection is closed when this returns."""


async def serve_connection(
    stream: trio.SocketStream,
    app: App,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve one accepted connection until it ends, and close it.

    With `tls` it must begin with a TLS handshake.

    Nothing that a client does, and no failure in `app`, escapes from here; only cancellation
    does, and it closes the socket at once.
    """
    limits = limits or Limits()
    try:
        try:
            # Before anything is read: afterwards the client may have gone, and its address
            # with it.
            host, port, *_ = stream.socket.getpeername()
        except OSError:
            return
        bytes_: ByteStream = PlainBytes(stream)
        if tls is not None:
            with trio.fail_after(limits.request_timeout):
                bytes_ = await secured(stream, tls)
        door = _Connection(bytes_, app, limits, (host, port))
        await door.serve()
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as exc:
        log.debug("connection lost", cause=repr(exc))
    except Exception:
        log.exception("connection failed")
    finally:
        await trio.aclose_forcefully(stream)


@define(eq=False)
class _Connection:
    stream: ByteStream
    app: App
    limits: Limits
    peer: tuple[str, int]
    _h11: h11.Connection = field(init=False)
    _method: str = field(default="", init=False)
    _received: bool = field(default=False, init=False)
    """Whether anything of the current request has arrived."""

    def __attrs_post_init__(self) -> None:
        bound = max(self.limits.head_bytes - READ_BYTES, READ_BYTES)
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=bound)

    async def serve(self) -> None:
        while True:
            try:
                request = await self._read_request()
                if request is None:
                    return
                if wants_websocket(request):
                    check_handshake(request)
                    if self.app.starting and not await self._wait_for_app(request):
                        return
                    # No turn of the loop between this and the upgrade: what is decided here
                    # depends on who else has been let in.
                    response = self.app.admit(request)
                    if response is None:
                        await self._upgrade(request)
                        return
                else:
                    response = await self._ask_app(request)
            except BadRequest as problem:
                request, response = None, refusal(problem)
            await self._respond(request, response)
            if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
                break
            self._h11.start_next_cycle()
            self._received = bool(self._h11.trailing_data[0])
        with trio.move_on_after(self.limits.linger_timeout):
            await linger(self.stream)

    async def _read_request(self) -> HttpRequest | None:
        """The next request, whole, or None when the client is done.

        Raises:
            BadRequest: It cannot be served.
        """
        with trio.move_on_after(self.limits.request_timeout):
            try:
                return await self._read_head_and_body()
            except h11.RemoteProtocolError as exc:
                if exc.error_status_hint == 431:
                    limit = self.limits.head_bytes
                    raise BadRequest(
                        431, f"The request's head exceeds {limit} bytes.", code="head_too_large"
                    ) from exc
                raise BadRequest(
                    exc.error_status_hint, f"This is not HTTP: {exc}.", code="bad_request"
                ) from exc
        # A browser opens connections in advance and may never use them: no reproach for those.
        if not self._received:
            return None
        waited = self.limits.request_timeout
        raise BadRequest(
            408, f"The request was not complete after {waited:g} s.", code="request_timeout"
        )

    async def _read_head_and_body(self) -> HttpRequest | None:
        self._method = ""
        head = await self._next_event()
        if isinstance(head, h11.ConnectionClosed):
            return None
        if not isinstance(head, h11.Request):
            raise BadRequest(400, "A request was expected.", code="bad_request")
        self._method = head.method.decode("ascii")
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > self.limits.body_bytes:
                limit = self.limits.body_bytes
                raise BadRequest(
                    413, f"The request's body exceeds {limit} bytes.", code="body_too_large"
                )
        headers: dict[str, list[str]] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
        path, query = split_target(head.target.decode("ascii"))
        return HttpRequest(
            method=self._method,
            path=path,
            query=query,
            headers=headers,
            body=bytes(body),
            peer=self.peer,
        )

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Event) or event is h11.PAUSED:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self.stream.read(READ_BYTES)
            self._received = self._received or bool(data)
            self._h11.receive_data(data)

    async def _wait_for_app(self, request: HttpRequest) -> bool:
        """Let the app start; returns whether the client is still there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_ahead, nursery.cancel_scope)
            await self.app.wait_started(request)
            nursery.cancel_scope.cancel()
        _, gone = self._h11.trailing_data
        return not gone

    async def _read_ahead(self, waiting: trio.CancelScope) -> None:
        """Take what the client sends while it waits: its end, as a rule, or a little. More
        stays with TCP, and then its end is not seen."""
        taken = 0
        while taken < READ_BYTES:
            try:
                data = await self.stream.read(READ_BYTES)
            except trio.BrokenResourceError:
                data = b""
            self._h11.receive_data(data)
            if not data:
                waiting.cancel()
                return
            taken += len(data)

    async def _ask_app(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self.app.http(request)
        except Exception:
            log.exception("request failed", method=request.method, path=request.path)
            return error_response(
                500, "The server failed to answer this request.", code="internal_error"
            )

    async def _respond(self, request: HttpRequest | None, response: HttpResponse) -> None:
        headers = [
            ("server", SOFTWARE),
            ("date", format_datetime(datetime.now(UTC), usegmt=True)),
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            *response.headers,
        ]
        if request is None:
            # What follows on the connection cannot be made out any more.
            headers.append(("connection", "close"))
        await self._send(
            h11.Response(
                status_code=response.status,
                headers=headers,
                reason=HTTPStatus(response.status).phrase.encode(),
            ),
            *([] if self._method == "HEAD" else [h11.Data(data=response.body)]),
            h11.EndOfMessage(),
        )

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join(self._h11.send(event) or b"" for event in events)
        with trio.fail_after(self.limits.response_timeout):
            await self.stream.write(data)

    async def _upgrade(self, request: HttpRequest) -> None:
        async def handler(transport: WebSocketTransport) -> None:
            try:
                await self.app.websocket(request, transport)
            except Exception:
                log.exception("websocket failed", path=request.path)
                await transport.close(1011, "internal error")

        read_ahead, _ = self._h11.trailing_data
        await serve_websocket(self.stream, request, read_ahead, self.limits.websocket, handler)
