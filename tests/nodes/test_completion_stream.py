"""Events of a chat completions stream → pieces and an end, and a conversation → messages."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.messages import ResponseRequest, Usage
from trio_bridge.nodes.answering import Text, ToolDelta, ToolDone
from trio_bridge.nodes.completion_stream import ANSWER_MAX, CompletionStream
from trio_bridge.nodes.prompts import NO_OUTPUT, chat_messages, chat_request


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


def test_an_id_that_will_not_do_is_replaced():
    """One that is too long for the protocol, and one that an earlier call has."""
    earlier = {"type": "function_call", "call_id": "call_0", "name": "f", "arguments": "{}"}
    _, given = stream(
        call("f", "{}", 0, "chatcmpl-tool-" + "0" * 32),
        call("g", "{}", 1, "call_0"),
        call("h", "{}", 2, "call_1"),
        delta("tool_calls"),
        request=ResponseRequest((earlier,)),
    )
    ids = [piece.call_id for piece in given if isinstance(piece, ToolDone)]
    assert ids[2] == "call_1"
    assert len({"call_0", *ids}) == 4
    assert all(len(call_id) <= 32 for call_id in ids)


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


def called(name):
    return {"type": "function_call", "call_id": name, "name": name, "arguments": "{}"}


def output(name):
    return {"type": "function_call_output", "call_id": name, "output": name.upper()}


def shape(*items):
    """Who says what, briefly: `ab` for an assistant that calls a and b, `A` for a's output."""
    said = []
    for message in chat_messages(ResponseRequest(items)):
        calls = "".join(call["id"] for call in message.get("tool_calls", ()))
        said.append((message.get("content") or "") + calls)
    return said


ASKED = item("user", {"type": "input_text", "text": "?"})
TOLD = item("assistant", {"type": "output_text", "text": "!"})


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        # Calls made at once stay together, in whatever order their outputs come.
        ([ASKED, called("a"), called("b"), output("b"), output("a")], ["?", "ab", "A", "B"]),
        ([ASKED, called("a"), called("b"), output("b"), TOLD], ["?", "ab", *"(B", "!"]),
        ([ASKED, output("a"), called("a"), TOLD], ["?", "a", "A", "!"]),
        # Calls made one because of the other do not.
        ([ASKED, called("a"), output("a"), called("b"), output("b")], ["?", *"aAbB"]),
        # What was said before the calls belongs to them.
        ([ASKED, TOLD, called("a"), called("b"), output("b")], ["?", "!ab", *"(B"]),
        # Somebody spoke while the tool was at work.
        ([called("a"), ASKED, TOLD, output("a")], [*"aA", "?", "!"]),
        ([called("a"), TOLD, ASKED, TOLD, TOLD, output("lost")], [*"a(", *"!?!!"]),
        # A call that was broken off was never made.
        ([called("a") | {"status": "incomplete"}, ASKED, called("b")], ["?", *"b("]),
    ],
)
def test_calls_and_outputs_in_any_order(items, messages):
    """Every call stands with its output behind it, as servers demand."""
    said = [text if text != NO_OUTPUT else "(" for text in shape(*items)]
    assert said == messages


@given(st.permutations([ASKED, TOLD, *map(called, "abc"), *map(output, "abc")]))
def test_whatever_the_order_servers_can_read_it(items):
    """Each call once, its output right behind it, and nothing said is lost."""
    messages = chat_messages(ResponseRequest(tuple(items)))
    waiting: list[str] = []
    outputs: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert waiting.pop(0) == message["tool_call_id"]
            outputs.append(message["content"])
        else:
            assert waiting == []
            waiting = [call["id"] for call in message.get("tool_calls", ())]
    assert waiting == []
    assert sorted(outputs) == ["A", "B", "C"]
    texts = [message["content"] for message in messages if message["role"] != "tool"]
    assert sorted(text for text in texts if text) == ["!", "?"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "mcp", "server_label": "x"}, "auto"),
    ],
)
def test_tool_choices(choice, sent):
    """Tools that are no functions are not offered, so none can be insisted on."""
    request = ResponseRequest(
        (), tools=({"type": "function", "name": "f"},), tool_choice=choice
    )
    assert chat_request(request, "m")["tool_choice"] == sent


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
        reasoning={"effort": "low"},
        metadata={"topic": "demo"},
    )
    body = chat_request(request, "m")
    del tool["type"]
    assert body["tools"] == [{"type": "function", "function": tool}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert (body["max_tokens"], body["temperature"]) == (5, 0.5)
    assert body["parallel_tool_calls"] is False
    assert body["reasoning_effort"] == "low"
    assert "metadata" not in body
