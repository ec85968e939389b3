"""The request that asks to become a WebSocket (RFC 6455, section 4)."""

from __future__ import annotations

import base64
import binascii

from trio_bridge.doors import realtime
from trio_bridge.doors.exchange import BadRequest, HttpRequest


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


def subprotocol_of(request: HttpRequest) -> str | None:
    """The subprotocol to answer with.

    Only this one is ever named: a client may offer its API key as a subprotocol, and a key
    must not come back in an answer.
    """
    offered = request.tokens("sec-websocket-protocol")
    return realtime.SUBPROTOCOL if realtime.SUBPROTOCOL in offered else None
