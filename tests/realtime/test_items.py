"""Items as clients make them."""

from __future__ import annotations

from typing import Any

import pytest

from trio_bridge.realtime.items import ID_LIMIT, MCP_TYPES, read_item, read_item_id
from trio_bridge.realtime.problems import ProtocolError


def message(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content)}


GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        message("user", {"type": "input_audio", "transcript": "hi", "audio": "AAAA"}),
        message("user", {"type": "input_audio", "transcript": "hi"}),
    ),
    (
        message("user", {"type": "input_audio"}),
        message("user", {"type": "input_audio", "transcript": None}),
    ),
    (
        message("user", {"type": "input_image", "image_url": "data:,"}),
        message("user", {"type": "input_image", "image_url": "data:,", "detail": "auto"}),
    ),
    (
        message("system", {"type": "text", "text": "be kind"}),
        message("system", {"type": "input_text", "text": "be kind"}),
    ),
    (
        message("assistant", {"type": "text", "text": "a"}, {"type": "audio"}),
        message(
            "assistant",
            {"type": "output_text", "text": "a"},
            {"type": "output_audio", "transcript": ""},
        ),
    ),
    (message("user"), message("user")),
    (
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_new"},
    ),
    (
        {"type": "function_call_output", "call_id": "c", "output": "", "future": 1},
        {"type": "function_call_output", "call_id": "c", "output": ""},
    ),
]


@pytest.mark.parametrize(("given", "kept"), GOOD)
def test_a_good_item_is_kept_in_one_shape(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """Other dialects' names are translated, what is unknown is left out."""
    item = read_item(given, new_call_id="call_new")
    assert item.body == {**kept, "status": "completed"}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing_required_parameter", "item.type"),
    ({"type": "song"}, "invalid_value", "item.type"),
    (
        message("user", {"type": "input_audio", "audio": "?", "transcript": "hi"}),
        "invalid_value",
        "item.content[0].audio",
    ),
    ({"type": "message"}, "missing_required_parameter", "item.role"),
    (message("nurse"), "invalid_value", "item.role"),
    ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
    (
        message("user", {"type": "input_text"}),
        "missing_required_parameter",
        "item.content[0].text",
    ),
    (message("system", {"type": "input_audio"}), "invalid_value", "item.content[0].type"),
    ({"type": "message", "role": "user", "content": [1]}, "invalid_type", "item.content[0]"),
    ({"type": "function_call", "arguments": "{}"}, "missing_required_parameter", "item.name"),
    (
        {"type": "function_call_output", "output": ""},
        "missing_required_parameter",
        "item.call_id",
    ),
    (
        {"type": "function_call_output", "call_id": "c", "output": 1},
        "invalid_type",
        "item.output",
    ),
]


@pytest.mark.parametrize(("given", "code", "param"), BAD)
def test_a_bad_item_is_refused_by_its_path(
    given: dict[str, Any], code: str, param: str
) -> None:
    """The error names the field by its path."""
    with pytest.raises(ProtocolError) as caught:
        read_item(given, new_call_id="call_new")
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize("item_id", ["", "x" * (ID_LIMIT + 1), 5])
def test_an_impossible_id_is_refused(item_id: Any) -> None:
    """Empty, too long, not a string."""
    with pytest.raises(ProtocolError):
        read_item_id({"id": item_id})
    assert read_item_id({"id": None}) is read_item_id({}) is None
    assert read_item_id({"id": "x" * ID_LIMIT}) == "x" * ID_LIMIT


def test_the_audio_of_an_item_comes_beside_it() -> None:
    """Of each content that has any; the body is the same without."""
    item = read_item(
        message(
            "assistant",
            {"type": "output_text", "text": "a"},
            {"type": "output_audio", "transcript": "b", "audio": "AAEC"},
        ),
        new_call_id="c",
    )
    assert item.audio == {1: b"\0\1\2"}
    assert item.unheard == []
    assert item.body["content"][1] == {"type": "output_audio", "transcript": "b"}


@pytest.mark.parametrize("kind", MCP_TYPES)
def test_items_about_mcp_servers_are_taken_as_they_come(kind: str) -> None:
    """This server calls none, and a client that replays a history must not fail for it."""
    given = {"type": kind, "id": "i", "server_label": "x", "tools": []}
    item = read_item(given, new_call_id="c")
    assert item.body == {"type": kind, "server_label": "x", "tools": []}


def test_sound_without_words_is_yet_to_be_heard() -> None:
    """Of the user's alone: what the assistant said is known by its text."""
    sound = {"type": "input_audio", "audio": "AAEC"}
    given = message("user", {"type": "input_audio"}, sound, {**sound, "transcript": "b"})
    assert read_item(given, new_call_id="c").unheard == [1]
    given = message("assistant", {"type": "output_audio", "audio": "AAEC"})
    assert read_item(given, new_call_id="c").unheard == []
