"""Scripted sessions as data: what the client sends, what the backend does, what must come.

A script is written in the GA dialect. `Name`s stand for ids that are not known when it is
written: the first event that holds one gives it its value, and from then on it has that value,
in what comes and in what is sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import attrs
from attrs import field, frozen

from trio_bridge.audio.encodings import Encoding
from trio_bridge.messages import BackendEvent, Command
from trio_bridge.realtime.config import Kind
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.wire import Dialect


class Name(str):
    """An id that the server gives."""

    __slots__ = ()


@frozen
class Like:
    """Text that contains a regular expression."""

    expression: str


@frozen
class Anything:
    """Whatever is not null."""


ANYTHING = Anything()


@frozen
class Says:
    """The client sends an event, or a frame that is none."""

    event: Json | str | bytes


@frozen
class Appends:
    """The client sends audio: silence, as the backend tells what was said in it."""

    ms: int
    encoding: Encoding = "pcm"


@frozen
class Reports:
    """The backend reports events, without a pause between."""

    events: tuple[BackendEvent, ...]


@frozen
class Waits:
    """Nobody does anything for so many seconds."""

    seconds: float


@frozen
class Gets:
    """What has come since the last look: these events in this order, and nothing else.

    A delta stands for any number of the same kind in a row.
    """

    patterns: tuple[Json, ...]


@frozen
class Asked:
    """What the backend was asked since the last look, audio and credit aside."""

    commands: tuple[type[Command], ...]


@frozen
class Closes:
    """The server closes the connection."""

    code: int
    reason: str


@frozen
class Becomes:
    """From here on the session speaks another dialect."""

    dialect: Dialect


Step: TypeAlias = Says | Appends | Reports | Waits | Gets | Asked | Closes | Becomes


@frozen
class Script:
    """A session.

    Attributes:
        title: What happens, in a few words.
        steps: What happens, step by step.
        kind: What the session is for.
        strict: Unknown fields are errors.
        dialects: Who can say this at all.
    """

    title: str
    steps: Sequence[Step]
    kind: Kind = "realtime"
    strict: bool = False
    dialects: tuple[Dialect, ...] = ("ga", "beta")


def says(event_type: str, **fields: Any) -> Says:
    """The client sends an event."""
    return Says({"type": event_type, **fields})


def reports(*events: BackendEvent) -> Reports:
    """The backend reports."""
    return Reports(events)


def event(event_type: str, **fields: Any) -> Json:
    """An event with at least these fields."""
    return {"type": event_type, **fields}


def gets(*patterns: Json | str) -> Gets:
    """These events have come; one of which only the type matters may be given by that."""
    return Gets(tuple(each if isinstance(each, dict) else event(each) for each in patterns))


def asked(*commands: type[Command]) -> Asked:
    """The backend was asked."""
    return Asked(commands)


# --- names ---------------------------------------------------------------------------------


@attrs.define
class Names:
    """What the names of a script stand for."""

    known: dict[str, Any] = field(factory=dict)

    def said(self, value: Any) -> Any:
        """A value with the names in it replaced by what they stand for."""
        if isinstance(value, Name):
            return self.known[value]
        if isinstance(value, dict):
            return {key: self.said(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.said(each) for each in value)
        return value

    def reported(self, backend_event: BackendEvent) -> BackendEvent:
        """A backend's event with the names in it replaced by what they stand for."""
        changes = {
            each.name: self.said(getattr(backend_event, each.name))
            for each in attrs.fields(type(backend_event))
            if isinstance(getattr(backend_event, each.name), Name)
        }
        return attrs.evolve(backend_event, **changes)

    def match(self, pattern: Any, value: Any, path: str = "") -> None:
        """See that a value is what the pattern says; learn the names in it."""
        match pattern:
            case Name():
                known = self.known.setdefault(pattern, value)
                assert value == known, f"{path}: {value!r} is not {pattern} ({known!r})"
            case Like(expression):
                assert re.search(expression, value), f"{path}: {value!r} is not {pattern}"
            case Anything():
                assert value is not None, f"{path} is null"
            case dict():
                assert isinstance(value, dict), f"{path}: {value!r} is no object"
                for key, each in pattern.items():
                    assert key in value, f"{path}.{key} is missing in {value}"
                    self.match(each, value[key], f"{path}.{key}")
            case list():
                assert isinstance(value, list), f"{path}: {value!r} is no array"
                assert len(value) == len(pattern), f"{path}: {value!r} is not {pattern!r}"
                for index, each in enumerate(pattern):
                    self.match(each, value[index], f"{path}[{index}]")
            case _:
                assert value == pattern, f"{path}: {value!r} is not {pattern!r}"


def without_repeats(came: Sequence[Json]) -> list[Json]:
    """Events, of deltas of a kind in a row the first."""
    kept: list[Json] = []
    for each in came:
        repeated = (
            kept
            and each["type"].endswith(".delta")
            and all(each.get(key) == kept[-1].get(key) for key in ("type", "item_id"))
        )
        if not repeated:
            kept.append(each)
    return kept
