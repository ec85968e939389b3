"""Conversation items as clients create them: checked, and brought into one shape.

An item is kept as the GA JSON object that it is on the wire, without `id` and `object`, and
without its audio. Items about MCP servers are taken as they come: this server calls none, but
clients that hand over a history, or answer a request for approval that they have from
elsewhere, must not fail for it. They are kept, shown, and not given to the model.
"""

from __future__ import annotations

from typing import Any

import pybase64
from attrs import frozen

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

MCP_TYPES = ("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response")

ITEM_TYPES = ("message", "function_call", "function_call_output", *MCP_TYPES)

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


@frozen
class GivenItem:
    """An item as a client made it.

    Attributes:
        body: Its GA JSON without `id`, `object` and audio.
        audio: The audio that came with its contents, by their index.
    """

    body: Json
    audio: dict[int, bytes]

    @property
    def unheard(self) -> list[int]:
        """Contents of the user's that have sound and no transcript."""
        if self.body.get("role") != "user":
            return []
        content = self.body["content"]
        return [index for index in self.audio if content[index].get("transcript") is None]


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


def read_item(item: Json, *, new_call_id: str, path: str = "item") -> GivenItem:
    """A client's item in the shape in which a conversation keeps it.

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
    return GivenItem(_other(kind, fields, new_call_id), {})


def _other(kind: str, fields: Fields, new_call_id: str) -> Json:
    if kind in MCP_TYPES:
        return {key: value for key, value in fields.data.items() if key not in ("id", "object")}
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


def _message(fields: Fields) -> GivenItem:
    role = fields.require("role", one_of(*CONTENT_TYPES))

    def content(value: Any, path: str) -> tuple[Json, bytes | None]:
        part = Fields(an_object(value, path), path)
        return _content(role, part), part.get_or("audio", _audio, None)

    parts = fields.require("content", an_array_of(content))
    body = {
        "type": "message",
        "status": "completed",
        "role": role,
        "content": [part for part, _ in parts],
    }
    return GivenItem(body, {index: audio for index, (_, audio) in enumerate(parts) if audio})


def _audio(value: Any, path: str) -> bytes:
    try:
        audio = pybase64.b64decode(a_string(value, path), validate=True)
    except ValueError as exc:
        raise problems.bad_base64(path) from exc
    if len(audio) > problems.MAX_APPEND_BYTES:
        raise problems.append_too_large(len(audio), path)
    return audio


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
    if kind == "output_audio":
        return {"type": kind, "transcript": transcript or ""}
    return {"type": kind, "transcript": transcript}
