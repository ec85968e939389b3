"""The OpenAI Realtime door: where it is, and what a client's address and headers say."""

from __future__ import annotations

from attrs import Factory, frozen

from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.keys import Grant, Keys, is_ephemeral
from trio_bridge.errors import KeyRefused
from trio_bridge.realtime.config import Kind, SessionConfig, initial
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import Dialect

PATHS = ("/v1/realtime", "/openai/v1/realtime", "/realtime", "/openai/realtime")
"""The first is the canonical one; the others are what clients of other services append."""

SUBPROTOCOL = "realtime"
"""Browsers and Node refuse a server that does not pick it when they offer it."""

DEFAULT_MODEL = "trio-bridge"

MODEL_LENGTH = 128
"""A model's name is echoed in every session and response object; longer ones are cut."""

_BETA_HEADER = "realtime=v1"
_BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_GA_PREFIX = "/openai/v1/"


@frozen
class Handshake:
    """What a session begins with.

    Attributes:
        model: The model that the client asked for, under the name it used.
        dialect: What is spoken on the wire.
        kind: What the session is for.
        config: What it is set to.
        strict: Fields that the protocol does not know are errors.
        language: The language that the address asks for (`?language=de`); empty: none.
    """

    model: str = DEFAULT_MODEL
    dialect: Dialect = "ga"
    kind: Kind = "realtime"
    config: SessionConfig = Factory(initial)
    strict: bool = False
    language: str = ""

    @property
    def wishes(self) -> dict[str, str]:
        """What the backend may be chosen by, under the names of
        `dora.settings.SESSION_VALUES`."""
        transcription = self.config.transcription or {}
        turns = self.config.turn_detection
        return {
            "language": self.language or str(transcription.get("language") or ""),
            "model": self.model,
            "recognition_model": str(transcription.get("model") or ""),
            "turn_detection": "none" if turns is None else turns.to_json()["type"],
            "voice": self.config.voice,
        }


def serves(path: str) -> bool:
    """Whether this door is at `path` (a trailing slash is forgiven)."""
    return (path.rstrip("/") or "/") in PATHS


def handshake(
    request: HttpRequest, keys: Keys, *, now: float, strict: bool = False
) -> Handshake:
    """Read a request for this door. What is unknown in it is ignored.

    Args:
        request: The request.
        keys: Reads an ephemeral key. Other keys are accepted as they are.
        now: Unix time in seconds.
        strict: Passed on.

    Raises:
        KeyRefused: The client came with an ephemeral key that is forged or has expired.
    """
    key = next(filter(is_ephemeral, _offered_keys(request)), None)
    grant = None if key is None else keys.read(key, now)
    kind: Kind = grant.kind if grant is not None else "realtime"
    if "transcription" in request.query.get("intent", ()):
        kind = "transcription"
    asked = [*request.query.get("model", ()), *request.query.get("deployment", ())]
    granted = grant.session if grant is not None else {}
    return Handshake(
        model=model_name(*asked, granted.get("model")),
        dialect=_dialect(request, grant),
        kind=kind,
        config=_config(kind, granted),
        strict=strict,
        language=next(iter(request.query.get("language", ())), ""),
    )


def model_name(*asked: object) -> str:
    """The first of these that is a name, cut to a sane length; the default if none is."""
    names = (name for name in asked if isinstance(name, str) and name.strip())
    return next(names, DEFAULT_MODEL)[:MODEL_LENGTH]


def _offered_keys(request: HttpRequest) -> list[str]:
    bearers = [
        credentials.strip()
        for value in request.headers.get("authorization", ())
        for scheme, _, credentials in [value.partition(" ")]
        if scheme.lower() == "bearer"
    ]
    # Azure's header; and the way of browsers, whose WebSockets have no headers to set.
    azure = request.headers.get("api-key", [])
    offered = request.tokens("sec-websocket-protocol")
    subprotocols = [
        token.removeprefix(_KEY_SUBPROTOCOL)
        for token in offered
        if token.startswith(_KEY_SUBPROTOCOL)
    ]
    return [*bearers, *azure, *subprotocols]


def _dialect(request: HttpRequest, grant: Grant | None) -> Dialect:
    """The first of these that says anything: the query, what the client declares, its key, and
    the address that it came by."""
    named = request.query.get("dialect", ())
    if "beta" in named:
        return "beta"
    if "ga" in named:
        return "ga"
    if _BETA_HEADER in request.tokens("openai-beta"):
        return "beta"
    if _BETA_SUBPROTOCOL in request.tokens("sec-websocket-protocol"):
        return "beta"
    if grant is not None:
        return grant.dialect
    if request.path.startswith(_GA_PREFIX):
        return "ga"
    return "beta" if "api-version" in request.query else "ga"


def _config(kind: Kind, session: Json) -> SessionConfig:
    config = initial(kind)
    if not session:
        return config
    try:
        return config.updated({**session, "type": kind})
    except ProtocolError as problem:
        # It was checked when the key was made, perhaps by a server that knows other fields.
        raise KeyRefused(f"The key's session cannot be had here: {problem}") from problem
