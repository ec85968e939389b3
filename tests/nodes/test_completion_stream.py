"""Events of a chat completions stream → pieces and an end, and a conversation → messages."""

from typing import Any

import orjson
import pytest

from trio_bridge.messages import ResponseRequest, Usage
from trio_bridge.nodes.answering import Text, ToolDelta, ToolDone
from trio_bridge.nodes.completion_stream import ANSWER_MAX, CompletionStream
from trio_bridge.nodes.prompts import chat_messages, chat_request


def stream(*chunks, request=None):
    given: list[Any] = []
    made = CompletionStream(request or ResponseRequest(()), given.append)
    for chunk in chunks:
        made.feed(chunk if isinstance(chunk, str) else orjson.dumps(chunk).decode())
    return made.finish(), given


def delta(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def call(name=None, arguments=None, index=0, call_id=None):
    part = {"function": {"name": name, "arguments": arguments}}
    part |= {"index": index} if index is not None else {}
    return delta(tool_calls=[part | ({"id": call_id} if call_id else {})])


def test_text_and_usage():
    """Deltas in order; the count comes in a chunk of its own."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    finish, given = stream(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        {"choices": [], "usage": usage},
        "[DONE]",
    )
    assert given == [Text("Hel"), Text("lo")]
    assert (finish.status, finish.usage) == ("completed", Usage(9, 2, 4))


def test_usage_is_estimated_where_it_is_not_told():
    """A server that does not count is no failure."""
    finish, _ = stream(delta("stop", content="x" * 40))
    assert finish.usage.output_tokens == 10


def test_calls_are_merged_by_index():
    """Two calls in turns; each is complete at the end."""
    finish, given = stream(
        call("f", "", 0, "c1"),
        call(None, '{"a"', 0),
        call("g", "{", 1, "c2"),
        call(None, ":1}", 0),
        call(None, "}", 1),
        delta("tool_calls"),
    )
    assert finish.status == "completed"
    assert given == [
        ToolDelta("c1", "f", ""),
        ToolDelta("c1", "f", '{"a"'),
        ToolDelta("c2", "g", "{"),
        ToolDelta("c1", "f", ":1}"),
        ToolDelta("c2", "g", "}"),
        ToolDone("c1", "f", '{"a":1}'),
        ToolDone("c2", "g", "{}"),
    ]


@pytest.mark.parametrize("index", [0, None])
def test_calls_without_an_index_of_their_own_are_told_apart_by_id(index):
    """As some servers send them: whole, all with the same index or none."""
    _, given = stream(
        call("f", '{"a":1}', index, "c1"), call("g", '{"b":2}', index, "c2"), "[DONE]"
    )
    assert [piece for piece in given if isinstance(piece, ToolDone)] == [
        ToolDone("c1", "f", '{"a":1}'),
        ToolDone("c2", "g", '{"b":2}'),
    ]


def test_calls_without_an_id_get_one():
    """And empty arguments are an empty object; arguments before the name are kept."""
    _, given = stream(call(None, '{"x":'), call("f", "1}"), call("g", None, 1), "[DONE]")
    first, second = [piece for piece in given if isinstance(piece, ToolDone)]
    assert (first.name, first.arguments) == ("f", '{"x":1}')
    assert first.call_id.startswith("call_")
    assert (second.name, second.arguments) == ("g", "{}")


@pytest.mark.parametrize(
    ("chunks", "status", "reason", "code"),
    [
        ([delta("length", content="x")], "incomplete", "max_output_tokens", None),
        ([delta("content_filter")], "incomplete", "content_filter", None),
        ([delta(content="x" * (ANSWER_MAX + 1))], "incomplete", "max_output_tokens", None),
        ([delta(content="x")], "failed", None, "llm_failed"),
        ([], "failed", None, "llm_failed"),
        (["{"], "failed", None, "llm_malformed"),
        (["[1]"], "failed", None, "llm_malformed"),
        ([{"error": {"message": "out of memory"}}], "failed", None, "llm_failed"),
        ([{"choices": "x"}, {"choices": [3]}, "[DONE]"], "completed", None, None),
        ([delta(tool_calls="x"), delta(tool_calls=[3]), "[DONE]"], "completed", None, None),
    ],
)
def test_ends(chunks, status, reason, code):
    """Every way a stream can end, by the server's will or not."""
    finish, _ = stream(*chunks)
    assert (finish.status, finish.reason) == (status, reason)
    assert (finish.failure.code if finish.failure else None) == code


def item(role, *content):
    return {"type": "message", "role": role, "content": list(content)}


def test_a_conversation_becomes_messages():
    """Speech by its transcript, calls with their outputs behind them, nothing empty."""
    items = (
        item("user", {"type": "input_audio", "transcript": "Hi."}),
        item("user", {"type": "input_audio", "transcript": None}),
        item("assistant", {"type": "output_audio", "transcript": "Hello."}),
        item("user", {"type": "input_text", "text": "Weather?"}),
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
        item("user", {"type": "input_text", "text": "Well?"}),
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
        {"type": "function_call_output", "call_id": "lost", "output": "x"},
        item("user", {"type": "input_image", "image_url": "data:,"}),
    )
    messages = chat_messages(ResponseRequest(items, "Be kind."))
    assert messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "(no result)"},
        {"role": "user", "content": "Well?"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
    ]


def test_only_what_was_asked_for_is_sent():
    """Limits, temperature and tools appear when they are set, in the server's shapes."""
    assert chat_request(ResponseRequest(()), "m") == {
        "model": "m",
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    tool = {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": {"type": "object"},
    }
    request = ResponseRequest(
        (),
        tools=(tool, {"type": "mcp"}),
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        max_output_tokens=5,
        temperature=0.5,
    )
    body = chat_request(request, "m")
    del tool["type"]
    assert body["tools"] == [{"type": "function", "function": tool}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert (body["max_tokens"], body["temperature"]) == (5, 0.5)
    assert body["parallel_tool_calls"] is False
