"""JSON text ↔ events, in either dialect.

What comes in is checked strictly: nothing is coerced, and whatever a client may send either
becomes an event or a `ProtocolError` that says why not. What an event holds as JSON (`session`,
`item`, `response`) is checked further by those who understand it. Events are those of GA; what
the beta dialect says otherwise, `beta.py` knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs
import orjson
import pybase64
from attrs import define, field, frozen
from cattrs import ClassValidationError, Converter

from trio_bridge.realtime import beta, problems
from trio_bridge.realtime.events import (
    CLIENT_TAGS,
    SERVER_TAGS,
    ClientEvent,
    ConversationItemTruncate,
    Error,
    Json,
    ResponseOutputAudioDelta,
    ServerEvent,
    SessionUpdate,
)
from trio_bridge.realtime.problems import ProtocolError

Dialect: TypeAlias = Literal["ga", "beta"]

EVENT_ID_LENGTH: Final = 512
"""Characters a client's `event_id` may have, by the protocol."""

NESTING_LIMIT: Final = 128
"""Levels of objects and arrays a frame may have. What a client sends comes back to it inside
other objects, and orjson, which reads 1024 levels, writes only 254."""

STRUCTURE_LIMIT: Final = 100_000
"""Opening brackets and commas a frame may have, those in its strings included. Reading costs
up to 1 us for each, during which nobody else is served: without a limit one frame of 20 MiB
could stop all sessions for seconds. A conversation of book length stays far below."""


@define(eq=False)
class Codec:
    """One session's dialect.

    Args:
        dialect: What is spoken. It changes once, from GA to beta, where the first update of a
            lenient session is flat: there are beta clients that do not say what they speak.
        strict: An event's field that the dialect does not know is an error, and so is a flat
            session in GA.
    """

    dialect: Dialect = "ga"
    strict: bool = field(default=False, kw_only=True)
    _settled: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._settled = self.strict or self.dialect == "beta"

    def load(self, frame: str | bytes) -> ClientEvent:
        """The event that a client's frame holds.

        Args:
            frame: A whole message: text, or bytes where the client sent a binary one.

        Raises:
            ProtocolError: It holds none. `client_event_id` is set where the frame had a usable
                `event_id`. No other exception is raised, whatever the frame.
        """
        if not isinstance(frame, str):
            raise problems.binary_frame()
        data = parse(frame)
        try:
            return self._event(data)
        except ProtocolError as problem:
            problem.client_event_id = _usable_event_id(data)
            raise

    def dump(self, event: ServerEvent) -> bytes | None:
        """An event as the text of one frame, in UTF-8: `type` first, then `event_id`, then its
        fields. None: this dialect does not say such an event.

        Raises:
            TypeError: The event has no form on the wire (`ResponseOutputAudioSamples`, which
                the sender turns into a delta), or holds something that JSON cannot say.
        """
        body = _error_body(event) if isinstance(event, Error) else _body(event)
        said = _ga_event(body) if self.dialect == "ga" else beta.from_ga_event(body)
        return None if said is None else orjson.dumps(said)

    def _event(self, data: Json) -> ClientEvent:
        tag = data.get("type")
        if tag is None:
            raise problems.missing_type()
        if not isinstance(tag, str):
            raise problems.wrong_type("type", "a string", tag)
        if not self._settled and tag == "session.update":
            self._settle(data.get("session"))
        forms = _FORMS[self.dialect]
        form = forms.get(tag)
        if form is None:
            raise problems.unknown_type(tag, tuple(forms))
        if self.strict:
            self._refuse_unknown(data, form)
        return form.read(_ga_event(data) if self.dialect == "ga" else beta.to_ga_event(data))

    def _settle(self, session: Any) -> None:
        if not isinstance(session, dict):
            return
        if beta.is_flat(session):
            self.dialect = "beta"
            self._settled = True
        elif "type" in session:
            self._settled = True

    def _refuse_unknown(self, data: Json, form: _Form) -> None:
        for name in data:
            if name not in form.names:
                raise problems.unknown_parameter(name)
        if self.dialect == "ga":
            for name in _temperate(data):
                raise problems.unknown_parameter(f"{name}.temperature")


def _ga_event(event: Json) -> Json:
    """An event without what only the engine and the beta dialect know."""
    # Nearly all events have neither, and this look at them costs a quarter of the other.
    if "session" not in event and "response" not in event:
        return event
    for name in _temperate(event):
        told = {key: value for key, value in event[name].items() if key != "temperature"}
        event = {**event, name: told}
    return event


def _temperate(event: Json) -> list[str]:
    """Where in an event there is a temperature."""
    return [
        name
        for name in ("session", "response")
        if name in event and isinstance(event[name], dict) and "temperature" in event[name]
    ]


# --- in ------------------------------------------------------------------------------------


def parse(frame: str) -> Json:
    """The JSON object that a text holds.

    Raises:
        ProtocolError: It holds none, or more, or one nested deeper, than is sane.
    """
    # A short frame has no need to be counted, which would cost an append more than its parsing.
    if len(frame) > STRUCTURE_LIMIT and sum(map(frame.count, "{[,")) > STRUCTURE_LIMIT:
        raise problems.too_complex(STRUCTURE_LIMIT)
    try:
        data = orjson.loads(frame)
    except orjson.JSONDecodeError as exc:
        raise problems.invalid_json() from exc
    if not isinstance(data, dict):
        raise problems.not_an_object(data)
    if _too_deep(data):
        raise problems.invalid_json()
    return data


def _too_deep(data: Json) -> bool:
    level = [value for value in data.values() if isinstance(value, dict | list)]
    for _ in range(NESTING_LIMIT - 1):
        if not level:
            return False
        level = [
            value
            for container in level
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, dict | list)
        ]
    return bool(level)


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
        return pybase64.b64decode(value, validate=True)
    except ValueError as exc:
        raise problems.bad_base64() from exc


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _strict(str, "a string"))
    converter.register_structure_hook(int, _strict(int, "an integer"))
    converter.register_structure_hook(bytes, _audio_from_base64)
    json_hook = _strict(dict, "an object")
    converter.register_structure_hook_func(lambda wanted: wanted == Json, json_hook)
    return converter


_CONVERTER: Final = _make_converter()


@frozen
class _Form:
    """How one client event is read.

    Attributes:
        names: All fields that it may have.
    """

    names: frozenset[str]
    _event_class: type[ClientEvent]
    _structure: Callable[[Any, Any], ClientEvent]

    @classmethod
    def of(cls, event_class: type[ClientEvent]) -> _Form:
        structure = _CONVERTER.get_structure_hook(event_class)
        return cls(frozenset({"type", *_field_names(event_class)}), event_class, structure)

    def read(self, data: Json) -> ClientEvent:
        """The event.

        Raises:
            ProtocolError: The data is none.
        """
        try:
            event = self._structure(data, self._event_class)
        except ClassValidationError as group:
            raise _first_problem(group) from group
        if event.event_id is not None and len(event.event_id) > EVENT_ID_LENGTH:
            raise problems.string_too_long("event_id", EVENT_ID_LENGTH, len(event.event_id))
        if isinstance(event, ConversationItemTruncate):
            for name in ("content_index", "audio_end_ms"):
                if getattr(event, name) < 0:
                    raise problems.number_too_small(name, 0, getattr(event, name))
        return event


def _field_names(event_class: type) -> tuple[str, ...]:
    return tuple(each.name for each in attrs.fields(event_class))


_GA_FORMS: Final = {tag: _Form.of(each) for tag, each in CLIENT_TAGS.items()}

_FORMS: Final[dict[Dialect, dict[str, _Form]]] = {
    "ga": _GA_FORMS,
    "beta": {**_GA_FORMS, "transcription_session.update": _Form.of(SessionUpdate)},
}


# --- out -----------------------------------------------------------------------------------


@frozen
class _Plan:
    """How one server event is written. A field with a default is left out while it has it."""

    tag: str
    required: tuple[str, ...]
    optional: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, tag: str, event_class: type) -> _Plan:
        fields = attrs.fields(event_class)
        return cls(
            tag,
            tuple(each.name for each in fields if each.default is attrs.NOTHING),
            tuple(
                (each.name, each.default)
                for each in fields
                if each.default is not attrs.NOTHING
            ),
        )


_PLANS: Final = {each: _Plan.of(tag, each) for tag, each in SERVER_TAGS.items()}


def _body(event: ServerEvent) -> Json:
    plan = _PLANS.get(type(event))
    if plan is None:
        raise TypeError(f"{type(event).__name__} has no form on the wire")
    body = {"type": plan.tag}
    for name in plan.required:
        body[name] = getattr(event, name)
    for name, default in plan.optional:
        value = getattr(event, name)
        if value != default:
            body[name] = value
    if isinstance(event, ResponseOutputAudioDelta):
        body["delta"] = pybase64.b64encode_as_string(event.delta)
    return body


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
