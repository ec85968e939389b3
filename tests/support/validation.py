"""Every server event, held against the types of the `openai` package: nothing is coerced,
nothing required may be missing, and nothing may be there that neither the types nor the live
service know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

from openai.types import realtime as ga
from openai.types.beta import realtime as beta
from pydantic import BaseModel, TypeAdapter

from trio_bridge.realtime.wire import Dialect

_SHOWN: Final = {"session.id", "session.object", "session.expires_at"}
"""The package types what a client may ask for in a session, not what it is shown."""

_LIVE: Final[dict[Dialect, set[str]]] = {
    "ga": _SHOWN,
    "beta": _SHOWN
    | {
        # A client may set these, by the same package's word.
        "session.include",
        "session.turn_detection.eagerness",
        "session.turn_detection.idle_timeout_ms",
    },
}
"""Fields that the live service shows and the package does not know, by their path."""


def _members(union: Any) -> dict[str, TypeAdapter[Any]]:
    members: dict[str, TypeAdapter[Any]] = {}
    for member in get_args(get_args(union)[0]):
        for tag in get_args(member.model_fields["type"].annotation):
            members[tag] = TypeAdapter(member)
    return members


_EVENTS: Final[dict[Dialect, dict[str, TypeAdapter[Any]]]] = {
    "ga": _members(ga.RealtimeServerEvent),
    "beta": _members(beta.RealtimeServerEvent),
}


def validate(event: dict[str, Any], dialect: Dialect = "ga") -> BaseModel:
    """The event as its own type; raises when it does not fit."""
    adapter = _EVENTS[dialect].get(event["type"])
    assert adapter is not None, f"{event['type']} is no event of the {dialect} dialect"
    if dialect == "beta" and "session" in event:
        event = {**event, "session": _as_packaged(event["type"], event["session"])}
    model: BaseModel = adapter.validate_python(event, strict=True)
    unknown = set(_unknown_fields(model)) - _LIVE[dialect]
    assert not unknown, f"{event['type']} has unknown fields: {sorted(unknown)}"
    return model


def _as_packaged(event_type: str, session: dict[str, Any]) -> dict[str, Any]:
    """A beta session without what the package is known to have wrong."""
    packaged = dict(session)
    # Models are echoed by the name that was asked for; the package knows those of its day.
    if isinstance(session.get("model"), str):
        packaged["model"] = "gpt-4o-realtime-preview"
    transcription = session.get("input_audio_transcription")
    if transcription is not None and isinstance(transcription["model"], str):
        packaged["input_audio_transcription"] = {**transcription, "model": "whisper-1"}
    if isinstance(session.get("tool_choice"), dict):
        # Its description says that a function may be named, its type that it may not.
        assert session["tool_choice"].keys() == {"type", "name"}
        packaged["tool_choice"] = session["tool_choice"]["name"]
    if event_type == "transcription_session.updated":
        # One type for this and for the answer to a request for a key; only that has a key.
        packaged["client_secret"] = {"value": "", "expires_at": 0}
    return packaged


def _unknown_fields(value: Any, path: str = "") -> Iterator[str]:
    """Paths of what a model holds beside its own fields."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}{name}"
        for name in type(value).model_fields:
            yield from _unknown_fields(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for each in value:
            yield from _unknown_fields(each, path)
