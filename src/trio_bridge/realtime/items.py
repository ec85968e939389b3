"""Conversation items as clients create them: checked, and brought into one shape.

An item is kept as the GA JSON object that it is on the wire, without `id` and `object`.
"""

from __future__ import annotations

from typing import Any

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import (
    Fields,
    a_name,
    a_string,
    an_array_of,
    an_object,
    one_of,
)

ID_LIMIT = 32
"""Characters of an item's or a call's id."""

ITEM_TYPES = ("message", "function_call", "function_call_output")

CONTENT_TYPES = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}

_OTHER_NAMES = {
    "user": {"text": "input_text", "audio": "input_audio"},
    "system": {"text": "input_text"},
    "assistant": {"text": "output_text", "audio": "output_audio", "input_text": "output_text"},
}
"""What clients of other dialects call the same content."""


def an_id(value: Any, path: str) -> str:
    """A client's own id for something: not empty, not too long."""
    name = a_name(value, path)
    if len(name) > ID_LIMIT:
        raise problems.string_too_long(path, ID_LIMIT, len(name))
    return name


def read_item_id(item: Json, path: str = "item") -> str | None:
    """The id that the client chose for an item, if it did.

    Raises:
        ProtocolError: It cannot be an id.
    """
    return Fields(item, path).get("id", an_id, absent=None, null=None)


def read_item(item: Json, *, new_call_id: str, path: str = "item") -> Json:
    """A client's item in the shape in which a conversation keeps it.

    Speech of the user is taken by its transcript alone: `input_audio` content that comes with
    sound and without a transcript is refused rather than passed over unheard.

    Args:
        item: The item as the client sent it.
        new_call_id: The `call_id` of a function call that has none.
        path: Where the item stands in the client's event.

    Raises:
        ProtocolError: The item is of no known shape.
    """
    fields = Fields(item, path)
    kind = fields.require("type", one_of(*ITEM_TYPES))
    if kind == "message":
        return _message(fields)
    if kind == "function_call":
        return {
            "type": kind,
            "status": "completed",
            "name": fields.require("name", a_name),
            "call_id": fields.get("call_id", an_id, absent=new_call_id, null=new_call_id),
            "arguments": fields.require("arguments", a_string),
        }
    return {
        "type": kind,
        "status": "completed",
        "call_id": fields.require("call_id", a_name),
        "output": fields.require("output", a_string),
    }


def _message(fields: Fields) -> Json:
    role = fields.require("role", one_of(*CONTENT_TYPES))

    def content(value: Any, path: str) -> Json:
        return _content(role, Fields(an_object(value, path), path))

    return {
        "type": "message",
        "status": "completed",
        "role": role,
        "content": list(fields.require("content", an_array_of(content))),
    }


def _content(role: str, fields: Fields) -> Json:
    known = CONTENT_TYPES[role]
    kind = fields.require("type", one_of(*known, *_OTHER_NAMES[role]))
    kind = _OTHER_NAMES[role].get(kind, kind)
    if kind in ("input_text", "output_text"):
        return {"type": kind, "text": fields.require("text", a_string)}
    if kind == "input_image":
        detail = fields.get("detail", one_of("auto", "low", "high"), absent="auto", null="auto")
        image_url = fields.require("image_url", a_name)
        return {"type": kind, "image_url": image_url, "detail": detail}
    transcript = fields.get("transcript", a_string, absent=None, null=None)
    if kind == "input_audio" and transcript is None and fields.data.get("audio"):
        raise problems.unsupported_value(
            fields.path_of("audio"),
            "input_audio",
            "An item's audio is not transcribed: append it to the input audio buffer, or give "
            "its transcript.",
        )
    if kind == "output_audio":
        return {"type": kind, "transcript": transcript or ""}
    return {"type": kind, "transcript": transcript}
