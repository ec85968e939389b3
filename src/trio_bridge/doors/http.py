"""What there is besides WebSockets: pages, and the API's plain endpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from attrs import Factory, field, frozen

from trio_bridge.doors import realtime
from trio_bridge.doors.exchange import (
    SOFTWARE,
    HttpRequest,
    HttpResponse,
    error_response,
    json_response,
)
from trio_bridge.doors.minting import Mint
from trio_bridge.errors import BackendUnavailable


@frozen
class Status:
    """How the server is, for `GET /health` and `GET /ready`.

    `details` is merged into the answer about health as it stands (the runtime, each dataflow,
    …).
    """

    state: Literal["starting", "healthy", "degraded"]
    not_ready: BackendUnavailable | None
    """Why no new session should be sent here, if that is so."""
    active_sessions: int
    uptime: float
    """Seconds since the server began to listen."""
    details: Mapping[str, Any] = Factory(dict)


Endpoint: TypeAlias = tuple[str, Callable[[], HttpResponse]]
"""A method, and what answers it."""


@frozen
class Site:
    """Answers plain HTTP requests.

    Args:
        status: How the server is now.
        mint: Makes ephemeral keys.
        models: The names and patterns of models that `GET /v1/models` lists.
    """

    _status: Callable[[], Status]
    _mint: Mint
    _models: Sequence[str] = (realtime.DEFAULT_MODEL,)
    _created: int = field(factory=lambda: int(time.time()), init=False)

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request, whatever it asks for."""
        path = request.path.rstrip("/") or "/"
        endpoint = self._endpoint(path, request)
        if endpoint is None:
            return _nothing_here(path)
        method, page = endpoint
        methods = ("GET", "HEAD") if method == "GET" else (method,)
        if request.method not in methods:
            return error_response(
                405,
                f"{path} takes {' and '.join(methods)}, not {request.method}.",
                code="method_not_allowed",
                headers=(("allow", ", ".join(methods)),),
            )
        return page()

    def _endpoint(self, path: str, request: HttpRequest) -> Endpoint | None:
        match path.removeprefix("/openai").split("/")[1:]:
            case [""]:
                return "GET", _root
            case ["health"]:
                return "GET", lambda: _health(self._status())
            case ["ready"]:
                return "GET", lambda: _ready(self._status())
            case ["v1", "models"]:
                return "GET", self._list_models
            case ["v1", "models", *name]:
                return "GET", lambda: self._model("/".join(name))
            case ["v1", "realtime", "client_secrets"]:
                return "POST", lambda: self._mint.client_secret(request)
            case ["v1", "realtime", "sessions"]:
                return "POST", lambda: self._mint.session(request)
            case ["v1", "realtime", "transcription_sessions"]:
                return "POST", lambda: self._mint.transcription_session(request)
        return None

    def _list_models(self) -> HttpResponse:
        listed = [self._shown(name) for name in self._models]
        return json_response({"object": "list", "data": listed})

    def _model(self, name: str) -> HttpResponse:
        if name in self._models:
            return json_response(self._shown(name))
        return error_response(
            404, f"The model '{name}' is not listed.", code="model_not_found", param="model"
        )

    def _shown(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": SOFTWARE}


def _nothing_here(path: str) -> HttpResponse:
    if realtime.serves(path):
        return error_response(
            426,
            f"{path} is a WebSocket: connect to it with a Realtime client.",
            code="upgrade_required",
            headers=(("upgrade", "websocket"),),
        )
    match path.removeprefix("/openai").split("/")[1:]:
        case ["v1", "realtime", "calls", *_]:
            what = "Calls (WebRTC and SIP) are"
        case ["v1", "realtime", "translations", *_]:
            what = "Translation sessions are"
        case _:
            return error_response(404, f"There is nothing at {path}.", code="not_found")
    return error_response(
        501,
        f"{what} not served here: connect to {realtime.PATHS[0]} with a WebSocket.",
        code="not_implemented",
    )


def _health(status: Status) -> HttpResponse:
    return json_response(
        {
            "status": status.state,
            "activeSessions": status.active_sessions,
            "uptime": round(status.uptime, 3),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **status.details,
        }
    )


def _ready(status: Status) -> HttpResponse:
    if status.not_ready is None:
        return json_response({"ready": True})
    return json_response(
        {"ready": False, "reason": str(status.not_ready)},
        status=503,
        headers=(retry_after(status.not_ready),),
    )


def retry_after(unavailable: BackendUnavailable) -> tuple[str, str]:
    """The header that says when it is worth trying again."""
    return "retry-after", str(max(math.ceil(unavailable.retry_after), 1))


def _root() -> HttpResponse:
    text = f"{SOFTWARE}: point an OpenAI Realtime client at {realtime.PATHS[0]}\n"
    return HttpResponse(body=text.encode(), content_type="text/plain; charset=utf-8")
