"""The beta dialect: its objects and events, mapped from and to those of GA.

Pure functions from JSON to JSON. What the beta dialect puts elsewhere is put where GA has it,
and back; whatever else is there goes on as it is, so a value that is wrong is refused by those
who know what is right, and `from_ga_path` says where the client had put it. Objects in the
shape of GA pass as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

from attrs import frozen

from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import one_of

Path: TypeAlias = tuple[str, ...]

DEFAULT_TEMPERATURE: Final = 0.8
"""What a session or a response shows where none was set. GA has no temperature."""

_FORMATS: Final[dict[str, Json]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES: Final = {value["type"]: name for name, value in _FORMATS.items()}
_a_format_name = one_of(*_FORMATS)


def _to_ga_format(value: Any, path: str) -> Any:
    # Checked here: GA has no word for a format that does not exist.
    return dict(_FORMATS[_a_format_name(value, path)])


def _to_ga_modalities(value: Any, _: str) -> Any:
    if isinstance(value, list) and "audio" in value:
        # What is spoken has a transcript: GA does not count that as a modality of its own.
        return [each for each in value if each != "text"]
    return value


def _without_nulls(value: Json) -> Json:
    # This dialect has no `idle_timeout_ms`: it is shown only to those who set it all the same.
    return {name: each for name, each in value.items() if each is not None}


def _as_it_is(value: Any, _: str) -> Any:
    return value


@frozen
class _Field:
    """Where GA has a field, and how its value is said there and here. Null is null in both."""

    place: Path
    to_ga: Callable[[Any, str], Any] = _as_it_is
    from_ga: Callable[[Any], Any] = lambda value: value


def _format_at(*place: str) -> _Field:
    return _Field(place, _to_ga_format, lambda value: _FORMAT_NAMES[value["type"]])


_MODALITIES: Final = _Field(
    ("output_modalities",),
    _to_ga_modalities,
    lambda value: ["audio", "text"] if "audio" in value else value,
)
_TOKEN_LIMIT: Final = _Field(("max_output_tokens",))

_SPEAKING: Final[dict[str, _Field]] = {
    "modalities": _MODALITIES,
    "voice": _Field(("audio", "output", "voice")),
    "output_audio_format": _format_at("audio", "output", "format"),
}
_SESSION: Final[dict[str, _Field]] = {
    **_SPEAKING,
    "speed": _Field(("audio", "output", "speed")),
    "input_audio_format": _format_at("audio", "input", "format"),
    "input_audio_transcription": _Field(("audio", "input", "transcription")),
    "input_audio_noise_reduction": _Field(("audio", "input", "noise_reduction")),
    "turn_detection": _Field(("audio", "input", "turn_detection"), from_ga=_without_nulls),
    "max_response_output_tokens": _TOKEN_LIMIT,
}
_RESPONSE_REQUEST: Final[dict[str, _Field]] = {
    **_SPEAKING,
    "max_response_output_tokens": _TOKEN_LIMIT,
}

_SESSION_SAME: Final = (
    "id",
    "object",
    "model",
    "expires_at",
    "instructions",
    "tools",
    "tool_choice",
    "tracing",
)
_RESPONSE_SAME: Final = (
    "object",
    "id",
    "status",
    "status_details",
    "conversation_id",
    "max_output_tokens",
    "metadata",
)
"""Fields of the same name and meaning. What else GA has, the beta dialect does not show."""

FLAT: Final = frozenset({*_SESSION, "temperature"})
"""The fields of a session that tell the beta dialect from GA."""


# --- from the client -----------------------------------------------------------------------


def is_flat(session: Json) -> bool:
    """Whether the `session` of an update can only be meant in the beta dialect."""
    return "type" not in session and "audio" not in session and not FLAT.isdisjoint(session)


def to_ga_event(event: Json) -> Json:
    """A client's event. What its objects hold is checked no further than it must be.

    Raises:
        ProtocolError: As `to_ga_session`.
    """
    match event["type"]:
        case "session.update":
            return _with(event, "session", to_ga_session)
        case "transcription_session.update":
            renamed = {**event, "type": "session.update"}
            return _with(renamed, "session", lambda flat: to_ga_session(flat, "transcription"))
        case "response.create":
            return _with(event, "response", to_ga_response)
    return event


def to_ga_session(flat: Json, kind: Literal["realtime", "transcription"] = "realtime") -> Json:
    """A session as a client sets it, whole or in part.

    Args:
        flat: The session, flat.
        kind: Its `type`, which only GA says.

    Raises:
        ProtocolError: An audio format is unknown; `param` is its path here.
    """
    # A key for browsers is made on request over HTTP, never within a session.
    asked = {name: value for name, value in flat.items() if name != "client_secret"}
    return {"type": kind, **_nested(asked, _SESSION, "session")}


def to_ga_response(flat: Json) -> Json:
    """The `response` of a client's `response.create`.

    Raises:
        ProtocolError: As `to_ga_session`.
    """
    return _nested(flat, _RESPONSE_REQUEST, "response")


def _nested(flat: Json, fields: Mapping[str, _Field], path: str) -> Json:
    ga = {name: value for name, value in flat.items() if name not in fields}
    for name, field in fields.items():
        if name in flat:
            value = flat[name]
            _put(
                ga,
                field.place,
                None if value is None else field.to_ga(value, f"{path}.{name}"),
            )
    return ga


def _put(ga: Json, place: Path, value: Any) -> None:
    for key in place[:-1]:
        inner = ga.get(key)
        # A copy: what is there already may be the client's own.
        ga[key] = dict(inner) if isinstance(inner, dict) else {}
        ga = ga[key]
    ga[place[-1]] = value


# --- to the client -------------------------------------------------------------------------

_SERVER_NAMES: Final[dict[str, str | None]] = {
    "conversation.item.added": "conversation.item.created",
    "conversation.item.done": None,
    "input_audio_buffer.timeout_triggered": None,
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
"""Events that have another name here, or none. All others have the same."""

_CONTENT_TYPES: Final = {"output_text": "text", "output_audio": "audio"}


def from_ga_event(event: Json) -> Json | None:
    """A server event as GA has it on the wire; None where this dialect says nothing."""
    tag: str = event["type"]
    name = _SERVER_NAMES.get(tag, tag)
    if name is None:
        return None
    said = {**event, "type": name}
    for key, convert in _OBJECTS.items():
        if key in said:
            said[key] = convert(said[key])
    if tag == "session.updated" and event["session"].get("type") == "transcription":
        said["type"] = "transcription_session.updated"
    elif tag == "response.function_call_arguments.done":
        del said["name"]
    elif tag == "error":
        said["error"] = _from_ga_error(event["error"])
    return said


def from_ga_session(session: Json) -> Json:
    """A session as it is shown, everything in effect."""
    flat = _same(session, _SESSION_SAME) | _flattened(session, _SESSION)
    if session.get("include") is not None:
        flat["include"] = session["include"]
    if session.get("type") == "transcription":
        if flat.get("input_audio_noise_reduction") is None:
            flat.pop("input_audio_noise_reduction", None)
        return flat
    return flat | {"temperature": session.get("temperature", DEFAULT_TEMPERATURE)}


def from_ga_response(response: Json) -> Json:
    """A response object."""
    flat = _same(response, _RESPONSE_SAME) | _flattened(response, _SPEAKING)
    flat["output"] = [from_ga_item(item) for item in response.get("output", ())]
    flat["temperature"] = response.get("temperature", DEFAULT_TEMPERATURE)
    flat["usage"] = _from_ga_usage(response.get("usage"))
    return flat


def from_ga_item(item: Json) -> Json:
    """A conversation item."""
    if "content" not in item:
        return item
    content = [
        {**part, "type": _CONTENT_TYPES.get(part["type"], part["type"])}
        for part in item["content"]
    ]
    return {**item, "content": content}


def from_ga_path(path: str) -> str:
    """Where a client of this dialect had put what GA has at `path`.

    What is said in one word here has no path within.
    """
    for ga, (flat, whole) in _PATHS.items():
        rest = path.removeprefix(ga)
        if rest != path and rest[:1] in ("", ".", "["):
            return flat if whole else flat + rest
    return path


_OBJECTS: Final[dict[str, Callable[[Json], Json]]] = {
    "session": from_ga_session,
    "response": from_ga_response,
    "item": from_ga_item,
}

_PATHS: Final = {
    ".".join((top, *field.place)): (f"{top}.{name}", field.to_ga is _to_ga_format)
    for top, fields in (("session", _SESSION), ("response", _RESPONSE_REQUEST))
    for name, field in fields.items()
}


def _same(ga: Json, names: tuple[str, ...]) -> Json:
    return {name: ga[name] for name in names if name in ga}


def _flattened(ga: Json, fields: Mapping[str, _Field]) -> Json:
    flat: Json = {}
    for name, field in fields.items():
        holder = ga
        for key in field.place[:-1]:
            holder = holder.get(key, {})
        if field.place[-1] in holder:
            value = holder[field.place[-1]]
            flat[name] = None if value is None else field.from_ga(value)
    return flat


def _from_ga_usage(usage: Json | None) -> Json | None:
    if usage is None:
        return None
    heard = _same(
        usage["input_token_details"], ("text_tokens", "audio_tokens", "cached_tokens")
    )
    return {**usage, "input_token_details": heard}


def _from_ga_error(error: Json) -> Json:
    param = error["param"]
    if param is None:
        return error
    flat = from_ga_path(param)
    message = error["message"].replace(f"'{param}'", f"'{flat}'")
    return {**error, "param": flat, "message": message}


def _with(event: Json, name: str, convert: Callable[[Json], Json]) -> Json:
    value = event.get(name)
    # Anything else than an object is refused when the event is read.
    return {**event, name: convert(value)} if isinstance(value, dict) else event
