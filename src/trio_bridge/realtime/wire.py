"""JSON text ↔ events, in the GA dialect.

What comes in is checked strictly: nothing is coerced, and whatever a client may send either
becomes an event or a `ProtocolError` that says why not. What an event holds as JSON (`session`,
`item`, `response`) is checked further by those who understand it. Fields that the protocol
does not know are ignored.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson
from cattrs import ClassValidationError, Converter

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import (
    CLIENT_TAGS,
    SERVER_TAGS,
    ClientEvent,
    ConversationItemTruncate,
    Error,
    Json,
    ResponseOutputAudioDelta,
    ServerEvent,
)
from trio_bridge.realtime.problems import ProtocolError

EVENT_ID_LENGTH: Final = 512
"""Characters a client's `event_id` may have, by the protocol."""

NESTING_LIMIT: Final = 128
"""Levels of objects and arrays a frame may have. What a client sends comes back to it inside
other objects, and orjson, which reads 1024 levels, writes only 254."""

STRUCTURE_LIMIT: Final = 100_000
"""Opening brackets and commas a frame may have, those in its strings included. Reading costs
up to 1 us for each, during which nobody else is served: without a limit one frame of 20 MiB
could stop all sessions for seconds. A conversation of book length stays far below."""


def load(frame: str | bytes) -> ClientEvent:
    """The event that a client's frame holds.

    Args:
        frame: A whole message: text, or bytes where the client sent a binary one.

    Raises:
        ProtocolError: It holds none. `client_event_id` is set where the frame had a usable
            `event_id`. No other exception is raised, whatever the frame.
    """
    if not isinstance(frame, str):
        raise problems.binary_frame()
    data = _parse(frame)
    try:
        return _structure(data)
    except ProtocolError as problem:
        problem.client_event_id = _usable_event_id(data)
        raise


def dump(event: ServerEvent) -> bytes:
    """An event as the text of one frame, in UTF-8: `type` first, then `event_id`, then its
    fields.

    Raises:
        TypeError: The event has no form on the wire (`ResponseOutputAudioSamples`, which the
            sender turns into a delta), or holds something that JSON cannot say.
    """
    if isinstance(event, Error):
        body = _error_body(event)
    else:
        plan = _DUMP_PLANS.get(type(event))
        if plan is None:
            raise TypeError(f"{type(event).__name__} has no form on the wire")
        tag, names = plan
        body = {"type": tag}
        for name in names:
            body[name] = getattr(event, name)
        if isinstance(event, ResponseOutputAudioDelta):
            body["delta"] = binascii.b2a_base64(event.delta, newline=False).decode()
    return orjson.dumps(body)


# --- in ------------------------------------------------------------------------------------


def _parse(frame: str) -> Json:
    brackets = frame.count("{") + frame.count("[")
    if brackets + frame.count(",") > STRUCTURE_LIMIT:
        raise problems.too_complex(STRUCTURE_LIMIT)
    try:
        data = orjson.loads(frame)
    except orjson.JSONDecodeError as exc:
        raise problems.invalid_json() from exc
    if not isinstance(data, dict):
        raise problems.not_an_object(data)
    # A frame of few brackets cannot be deep: that spares an append the walk.
    if brackets > NESTING_LIMIT and _too_deep(data):
        raise problems.invalid_json()
    return data


def _too_deep(data: Json) -> bool:
    level: list[Any] = [data]
    for _ in range(NESTING_LIMIT):
        level = [
            value
            for container in level
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, dict | list)
        ]
        if not level:
            return False
    return True


def _structure(data: Json) -> ClientEvent:
    tag = data.get("type")
    if tag is None:
        raise problems.missing_type()
    if not isinstance(tag, str):
        raise problems.wrong_type("type", "a string", tag)
    if tag not in CLIENT_TAGS:
        raise problems.unknown_type(tag, tuple(CLIENT_TAGS))
    event_class = CLIENT_TAGS[tag]
    try:
        event: ClientEvent = _LOAD_HOOKS[tag](data, event_class)
    except ClassValidationError as group:
        raise _first_problem(group) from group
    if event.event_id is not None and len(event.event_id) > EVENT_ID_LENGTH:
        raise problems.string_too_long("event_id", EVENT_ID_LENGTH, len(event.event_id))
    if isinstance(event, ConversationItemTruncate):
        for name in ("content_index", "audio_end_ms"):
            if getattr(event, name) < 0:
                raise problems.number_too_small(name, 0, getattr(event, name))
    return event


def _usable_event_id(data: Json) -> str | None:
    event_id = data.get("event_id")
    if isinstance(event_id, str) and len(event_id) <= EVENT_ID_LENGTH:
        return event_id
    return None


class _WrongType(Exception):
    """A value is not of the JSON type that its field wants; the field is known further up."""

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


def _first_problem(group: ClassValidationError) -> ProtocolError:
    failures, _ = group.group_exceptions()
    failure, note = failures[0]
    if isinstance(failure, ProtocolError):
        return failure
    if isinstance(failure, _WrongType):
        return problems.wrong_type(note.name, failure.expected, failure.value)
    return problems.missing_field(note.name)


def _strict(json_type: type, expected: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        # Not isinstance: True is an int to Python, and not to JSON.
        if type(value) is not json_type:
            raise _WrongType(expected, value)
        return value

    return hook


def _audio_from_base64(value: Any, _: Any) -> bytes:
    if not isinstance(value, str):
        raise _WrongType("a string", value)
    size = len(value) // 4 * 3 - value[-2:].count("=")
    if size > problems.MAX_APPEND_BYTES:
        raise problems.append_too_large(size)
    try:
        audio = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as exc:
        raise problems.bad_base64() from exc
    # binascii lets surplus padding pass; the length tells.
    if len(audio) != size:
        raise problems.bad_base64()
    return audio


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _strict(str, "a string"))
    converter.register_structure_hook(int, _strict(int, "an integer"))
    converter.register_structure_hook(bytes, _audio_from_base64)
    json_hook = _strict(dict, "an object")
    converter.register_structure_hook_func(lambda wanted: wanted == Json, json_hook)
    return converter


_CONVERTER = _make_converter()
_LOAD_HOOKS = {tag: _CONVERTER.get_structure_hook(each) for tag, each in CLIENT_TAGS.items()}


# --- out -----------------------------------------------------------------------------------


def _field_names(event_class: type) -> tuple[str, ...]:
    return tuple(each.name for each in attrs.fields(event_class))


_DUMP_PLANS: dict[type, tuple[str, tuple[str, ...]]] = {
    each: (tag, _field_names(each)) for tag, each in SERVER_TAGS.items()
}


def _error_body(event: Error) -> Json:
    return {
        "type": "error",
        "event_id": event.event_id,
        "error": {
            "type": event.kind,
            "code": event.code,
            "message": event.message,
            "param": event.param,
            "event_id": event.client_event_id,
        },
    }
