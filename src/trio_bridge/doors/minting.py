"""The requests of back ends for ephemeral keys: what they say, and how they are answered."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from trio_bridge.doors.exchange import HttpRequest, HttpResponse, error_response, json_response
from trio_bridge.doors.keys import KEY_LENGTH, Grant, Keys, KeyTooLong
from trio_bridge.doors.realtime import model_name
from trio_bridge.realtime import beta, problems, wire
from trio_bridge.realtime.config import Kind, SessionConfig, initial
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import Fields, an_integer, an_object, one_of
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.problems import ProtocolError

SECONDS = (10, 7200)
"""How long a key may be good for, by the API."""

GA_SECONDS = 600
"""How long one of `/v1/realtime/client_secrets` is good for, unless asked otherwise."""

BETA_SECONDS = 60
"""The same for `/v1/realtime/sessions` and `/v1/realtime/transcription_sessions`."""


@frozen
class Mint:
    """Makes ephemeral keys on request.

    Args:
        keys: Signs them.
        clock: Gives the Unix time in seconds.
        strict: Fields that the API does not know are errors.
    """

    _keys: Keys
    _clock: Callable[[], int]
    _strict: bool = False

    def client_secret(self, request: HttpRequest) -> HttpResponse:
        """`POST /v1/realtime/client_secrets`: a key for sessions in the GA dialect."""
        return _answer(request, self._client_secret)

    def session(self, request: HttpRequest) -> HttpResponse:
        """`POST /v1/realtime/sessions`: a key for sessions in the beta dialect."""
        return _answer(request, lambda body: self._beta_session(body, "realtime"), _flat_path)

    def transcription_session(self, request: HttpRequest) -> HttpResponse:
        """`POST /v1/realtime/transcription_sessions`: the same, to transcribe only."""
        return _answer(
            request, lambda body: self._beta_session(body, "transcription"), _flat_path
        )

    def _client_secret(self, body: Json) -> Json:
        unknown = sorted(body.keys() - {"session", "expires_after"})
        if self._strict and unknown:
            raise problems.unknown_parameter(unknown[0])
        asked = an_object(body.get("session") or {}, "session")
        session = {"type": "realtime", **asked}
        config = initial().updated(session, strict=self._strict)
        seconds = _seconds(body, "expires_after", GA_SECONDS)
        grant = Grant(self._clock() + seconds, "ga", config.type, session)
        return {
            "value": self._keys.make(grant),
            "expires_at": grant.expires_at,
            "session": _shown(config, grant),
        }

    def _beta_session(self, body: Json, kind: Kind) -> Json:
        secret = an_object(body.pop("client_secret", None) or {}, "client_secret")
        seconds = _seconds(secret, "client_secret.expires_after", BETA_SECONDS)
        session = beta.to_ga_session(body, kind)
        config = initial(kind).updated(session, strict=self._strict)
        grant = Grant(self._clock() + seconds, "beta", kind, session)
        key = {"value": self._keys.make(grant), "expires_at": grant.expires_at}
        return {**beta.from_ga_session(_shown(config, grant)), "client_secret": key}


def _answer(
    request: HttpRequest,
    make: Callable[[Json], Json],
    path_of: Callable[[str], str] = lambda path: path,
) -> HttpResponse:
    """Answer with what `make` makes of the body; `path_of` says where the client put what a
    problem names by its path in a GA event."""
    try:
        # No body at all is a wish for nothing in particular.
        body = wire.parse(request.body.decode()) if request.body else {}
        return json_response(make(body))
    except UnicodeDecodeError:
        problem = problems.invalid_json()
    except ProtocolError as exc:
        problem = exc
    except KeyTooLong as exc:
        return error_response(
            400,
            f"The key for this session would have {exc.length} characters; a header has room "
            f"for {KEY_LENGTH}. Make the key for a smaller session (instructions and tools are "
            "what takes the room), and send the rest in a session.update once connected.",
            code="session_too_large",
            param="session",
        )
    param, message = problem.param, problem.message
    if param is not None:
        message = message.replace(f"'{param}'", f"'{path_of(param)}'")
        param = path_of(param)
    return error_response(400, message, code=problem.code, param=param)


def _flat_path(path: str) -> str:
    return beta.from_ga_path(path).removeprefix("session.")


def _seconds(body: Json, path: str, default: int) -> int:
    after = Fields(an_object(body.get("expires_after") or {}, path), path)
    after.get_or("anchor", one_of("created_at"), None)
    return after.get_or("seconds", an_integer(*SECONDS), default)


def _shown(config: SessionConfig, grant: Grant) -> Json:
    return config.to_json(
        session_id=Ids().session(),
        model=model_name(grant.session.get("model")),
        expires_at=grant.expires_at,
    )
