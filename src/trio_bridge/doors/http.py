"""The plain pages: how the server is, and where to go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import Factory, frozen

from trio_bridge.doors import realtime
from trio_bridge.doors.exchange import (
    SOFTWARE,
    HttpRequest,
    HttpResponse,
    error_response,
    json_response,
)


@frozen
class Status:
    """How the server is, for `GET /health`.

    `details` is merged into the answer as it stands (the runtime, each dataflow, …).
    """

    healthy: bool
    active_sessions: int
    uptime: float
    """Seconds since the server began to listen."""
    details: Mapping[str, Any] = Factory(dict)


def answer(request: HttpRequest, status: Status) -> HttpResponse:
    """The plain pages: `/health` and `/`; 404 for everything that is not here."""
    page = _PAGES.get(request.path)
    if page is None:
        if realtime.serves(request.path):
            return error_response(
                426,
                f"{request.path} is a WebSocket: connect to it with a Realtime client.",
                code="upgrade_required",
                headers=(("upgrade", "websocket"),),
            )
        return error_response(404, f"There is nothing at {request.path}.", code="not_found")
    if request.method not in ("GET", "HEAD"):
        return error_response(
            405,
            f"{request.path} takes GET and HEAD, not {request.method}.",
            code="method_not_allowed",
            headers=(("allow", "GET, HEAD"),),
        )
    return page(status)


def _health(status: Status) -> HttpResponse:
    return json_response(
        {
            "status": "healthy" if status.healthy else "degraded",
            "activeSessions": status.active_sessions,
            "uptime": round(status.uptime, 3),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **status.details,
        }
    )


def _root(status: Status) -> HttpResponse:
    del status
    text = f"{SOFTWARE}: point an OpenAI Realtime client at {realtime.PATHS[0]}\n"
    return HttpResponse(body=text.encode(), content_type="text/plain; charset=utf-8")


_PAGES = {"/health": _health, "/": _root}
