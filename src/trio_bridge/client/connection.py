"""One connection to a Realtime server: events as JSON objects, both ways."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

import orjson
import trio
from attrs import define
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from trio_bridge.errors import BridgeError

MAX_MESSAGE = 16 * 1024 * 1024
"""Characters in one message from a server. Retrieved items hold whole turns of audio."""

CONNECT_TIMEOUT = 10.0
SEND_TIMEOUT = 10.0
GOODBYE_TIMEOUT = 2.0

MESSAGE_QUEUE = 16
"""Events read ahead of whoever handles them."""

_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class ClientError(BridgeError):
    """The server cannot be reached, or has gone."""


@define(eq=False)
class RealtimeConnection:
    """An open connection; see `connect`. One task sends, one receives."""

    _ws: WebSocketConnection

    async def send(self, event_type: str, **fields: Any) -> None:
        """Send a client event.

        Raises:
            ClientError: The server has gone, or does not read.
        """
        try:
            with trio.fail_after(SEND_TIMEOUT):
                await self._ws.send_message(
                    orjson.dumps({"type": event_type, **fields}).decode()
                )
        except trio.TooSlowError as exc:
            raise ClientError("the server does not read what it is sent") from exc
        except ConnectionClosed as exc:
            raise _closed(exc) from exc

    async def receive(self) -> dict[str, Any]:
        """The next server event.

        Raises:
            ClientError: The server has gone, or does not speak the protocol.
        """
        try:
            message = await self._ws.get_message()
        except ConnectionClosed as exc:
            raise _closed(exc) from exc
        try:
            event = orjson.loads(message)
        except orjson.JSONDecodeError as exc:
            raise ClientError(f"the server sent something that is not JSON: {exc}") from exc
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise ClientError("the server sent something that is not an event")
        return event


@asynccontextmanager
async def connect(
    url: str, *, ca: Path | None = None
) -> AsyncGenerator[RealtimeConnection, None]:
    """Connect to a Realtime server; leaving the context says goodbye.

    Args:
        url: `ws://` or `wss://`, such as `ws://127.0.0.1:8080/v1/realtime?model=any`.
        ca: A PEM file with certificates to trust under `wss://`. Default: those that this
            machine trusts.

    Raises:
        ClientError: Nothing answers there, or not in this protocol, or `ca` cannot be used.
            What leaves the context after it was entered stands in an exception group, as from
            any nursery.
    """
    parts = _parse(url)
    stream = await _open_stream(url, parts, ca)
    # Not the library's `open_websocket`: it leaves the socket open when the server closes or
    # refuses, and waits for ever for an answer that is not HTTP.
    try:
        async with trio.open_nursery() as nursery:
            ws: WebSocketConnection | ClientError
            ws = await nursery.start(_run_library, stream, url, parts)
            if not isinstance(ws, ClientError):
                try:
                    yield RealtimeConnection(ws)
                finally:
                    with trio.move_on_after(GOODBYE_TIMEOUT, shield=True):
                        await ws.aclose(1000, "")
                nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if isinstance(ws, ClientError):
        raise ws


async def _run_library(
    stream: _Stream,
    url: str,
    parts: SplitResult,
    *,
    task_status: trio.TaskStatus[WebSocketConnection | ClientError],
) -> None:
    connected = False
    refusal: ClientError | None = None
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(CONNECT_TIMEOUT):
                ws = await wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc.rpartition("@")[2],
                    (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
                    subprotocols=["realtime"],
                    message_queue_size=MESSAGE_QUEUE,
                    max_message_size=MAX_MESSAGE,
                    receive_buffer_size=None,
                )
            connected = True
            task_status.started(ws)
    except* ConnectionRejected as group:
        refusal = ClientError(f"{url} refused the connection: {_refusal(group)}")
    except* trio.TooSlowError:
        refusal = ClientError(f"{url} does not answer as a WebSocket server")
    except* ConnectionClosed:
        # It broke while the library wrote: its request, or later the answer to a ping. In
        # that case whoever sends or receives learns of it.
        refusal = ClientError(f"{url} hung up")
    if refusal is not None and not connected:
        task_status.started(refusal)


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ClientError(
            f"{url!r} is no WebSocket address, such as ws://127.0.0.1:8080/v1/realtime"
        )
    return parts


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as exc:
        why = "not a certificate in PEM" if isinstance(exc, ssl.SSLError) else _reason(exc)
        raise ClientError(f"cannot use {ca}: {why}") from exc


async def _open_stream(url: str, parts: SplitResult, ca: Path | None) -> _Stream:
    host = parts.hostname or ""
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            if parts.scheme == "ws":
                return await trio.open_tcp_stream(host, parts.port or 80)
            secure = await trio.open_ssl_over_tcp_stream(
                host, parts.port or 443, https_compatible=True, ssl_context=_trust(ca)
            )
            try:
                await secure.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(secure)
                raise
            return secure
    except (OSError, trio.TooSlowError, trio.BrokenResourceError) as exc:
        raise ClientError(f"cannot connect to {url}: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, trio.TooSlowError):
        return f"no answer for {CONNECT_TIMEOUT:g} s"
    inner = exc
    while isinstance(inner.__cause__, OSError | BaseExceptionGroup):
        inner = inner.__cause__
        while isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, ssl.SSLError):
        return f"it does not speak TLS ({inner.reason})"
    if isinstance(inner, OSError) and inner.errno and inner.errno > 0:
        # Trio puts the address in front, which the user knows, and has "[Errno 111]" in it.
        return os.strerror(inner.errno).lower()
    return str(inner) or type(inner).__name__


def _refusal(group: BaseExceptionGroup[ConnectionRejected]) -> str:
    rejected: BaseException = group
    while isinstance(rejected, BaseExceptionGroup):
        rejected = rejected.exceptions[0]
    if not isinstance(rejected, ConnectionRejected):
        return str(rejected)
    try:
        message = orjson.loads(rejected.body or b"")["error"]["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {rejected.status_code}"
    return f"{message} (HTTP {rejected.status_code})"


def _closed(exc: ConnectionClosed) -> ClientError:
    reason = exc.reason
    if reason is None:
        return ClientError("the connection was lost")
    words = f": {reason.reason}" if reason.reason else ""
    return ClientError(f"the server closed the connection ({reason.code}){words}")
