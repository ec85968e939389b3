"""The OpenAI Realtime door: where it is, and what its address says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from trio_bridge.doors.exchange import HttpRequest

PATHS = ("/v1/realtime", "/openai/v1/realtime", "/realtime")
"""The first is the canonical one; the others are what clients of other services append."""

SUBPROTOCOL = "realtime"
"""Browsers and Node refuse a server that does not pick it when they offer it."""

DEFAULT_MODEL = "trio-bridge"

MODEL_LENGTH = 128
"""A model's name is echoed in every session and response object; longer ones are cut."""


@frozen
class Handshake:
    """What a client said in the address it connected to."""

    model: str = DEFAULT_MODEL


def serves(path: str) -> bool:
    """Whether this door is at `path` (a trailing slash is forgiven)."""
    return (path.rstrip("/") or "/") in PATHS


def handshake(request: HttpRequest) -> Handshake:
    """Read the query of a request for this door. Unknown fields are ignored."""
    model = next((name for name in request.query.get("model", ()) if name.strip()), None)
    return Handshake(model=(model or DEFAULT_MODEL)[:MODEL_LENGTH])
