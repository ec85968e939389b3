"""The streaming client against a real HTTP server on loopback."""

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import h11
import orjson
import pytest
import trio

from trio_bridge.messages import ResponseRequest, Usage
from trio_bridge.nodes.answering import Text, ToolDelta, ToolDone
from trio_bridge.nodes.completions import Patience, endpoint, open_completions

pytestmark = pytest.mark.e2e

KEY = "sk-very-secret"
REQUEST = ResponseRequest(
    ({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},)
)


class ConnectionGone(Exception):
    """Ends a connection without a word."""


class Server:
    """Answers each request from a script: `(status, body)`, or an async function that sends
    what it likes."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []
        self.connections = 0
        self.gone = trio.Event()
        self.url = ""

    async def serve(self, stream):
        connection = h11.Connection(h11.SERVER)

        async def send(event):
            await stream.send_all(connection.send(event))

        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return
            if event is h11.NEED_DATA:
                data = await stream.receive_some()
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.requests.append((head, orjson.loads(body) if body else None))
                reply = self.replies.pop(0)
                if callable(reply):
                    await reply(self, stream, send)
                else:
                    await respond(send, *reply)
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
            else:
                return


async def respond(send, status, body, kind=b"application/json"):
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    await send(
        h11.Response(
            status_code=status,
            headers=[(b"content-type", kind), (b"content-length", b"%d" % len(body))],
        )
    )
    await send(h11.Data(data=body))
    await send(h11.EndOfMessage())


async def start_events(send):
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send(
        h11.Response(status_code=200, headers=[*headers, (b"transfer-encoding", b"chunked")])
    )


def sse(*chunks):
    lines = [chunk if isinstance(chunk, bytes) else orjson.dumps(chunk) for chunk in chunks]
    return b"".join(b": alive\r\n\r\ndata: " + line + b"\r\n\r\n" for line in lines)


def delta(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def events(*chunks, cut=None):
    """A stream in pieces of `cut` bytes."""

    async def reply(server, stream, send):
        await start_events(send)
        data = sse(*chunks)
        for start in range(0, len(data), cut or len(data)):
            await send(h11.Data(data=data[start : start + (cut or len(data))]))
        await send(h11.EndOfMessage())

    return reply


def hang(*chunks):
    """Some events, then nothing until the client goes."""

    async def reply(server, stream, send):
        await start_events(send)
        if chunks:
            await send(h11.Data(data=sse(*chunks)))
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()
        server.gone.set()
        raise ConnectionGone

    return reply


@asynccontextmanager
async def serving(*replies):
    server = Server(*replies)

    async def handler(stream):
        server.connections += 1
        with suppress(trio.BrokenResourceError, ConnectionGone):
            await server.serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}/v1"
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def talking_to(*replies, path="", model="m"):
    async with (
        serving(*replies) as server,
        open_completions(server.url + path, model=model) as completions,
    ):
        yield server, completions


async def ask(server, request=REQUEST, *, model="m", patience=None):
    given: list[Any] = []
    async with open_completions(
        server.url, key=KEY, model=model, patience=patience
    ) as completions:
        finish = await completions.answer(request, given.append)
    return finish, given


FINE = (
    delta(content="Hällo"),
    delta(content=" there"),
    delta("stop"),
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
    b"[DONE]",
)


@pytest.mark.parametrize("cut", [None, 1, 7])
async def test_streams_an_answer_cut_anywhere(cut):
    """Even in the middle of a character; key, model and messages arrive."""
    async with serving(events(*FINE, cut=cut)) as server:
        finish, given = await ask(server)
    assert given == [Text("Hällo"), Text(" there")]
    assert (finish.status, finish.usage) == ("completed", Usage(7, 2))
    head, body = server.requests[0]
    assert head.target == b"/v1/chat/completions"
    assert dict(head.headers)[b"authorization"] == f"Bearer {KEY}".encode()
    assert (body["model"], body["messages"][0]["content"]) == ("m", "Hi")


async def test_connections_are_kept():
    """A second answer goes over the first one's connection."""
    async with talking_to(events(*FINE), events(*FINE)) as (server, completions):
        for _ in range(2):
            assert (await completions.answer(REQUEST, lambda _: None)).status == "completed"
    assert (len(server.requests), server.connections) == (2, 1)


async def test_tools_come_through():
    """A call in parts is whole in the end."""
    first = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ":1}"}}
    chunks = (delta(tool_calls=[first]), delta(tool_calls=[rest]), delta("tool_calls"))
    async with serving(events(*chunks, b"[DONE]")) as server:
        _, given = await ask(server)
    assert given[-1] == ToolDone("c", "f", '{"a":1}')


async def test_without_a_model_the_servers_first_is_taken():
    """Asked for once; the model that a client names is never passed on."""
    models = {"data": [{"id": "llama"}, {"id": "other"}]}
    replies = [(200, models), events(*FINE), events(*FINE)]
    request = ResponseRequest(REQUEST.items, model="gpt-realtime")
    async with talking_to(*replies, path="/chat/completions", model=None) as (server, asked):
        for _ in range(2):
            await asked.answer(request, lambda _: None)
    assert [head.target for head, _ in server.requests] == [
        b"/v1/models",
        b"/v1/chat/completions",
        b"/v1/chat/completions",
    ]
    assert [body["model"] for _, body in server.requests[1:]] == ["llama", "llama"]


@pytest.mark.parametrize("reply", [(200, {"data": []}), (404, b"no"), (200, b"<html>")])
async def test_a_server_without_models_is_told_how_to_go_on(reply):
    """The message names the setting."""
    async with serving(reply) as server:
        finish, _ = await ask(server, model=None)
    assert finish.failure.code == "llm_no_model"
    assert "TRIO_BRIDGE_LLM_MODEL" in finish.failure.message


async def test_asks_again_in_an_older_or_newer_way():
    """What a server refuses is remembered for the next request."""
    old = {"error": {"message": "unknown field stream_options"}}
    new = {"error": {"message": "use max_completion_tokens instead"}}
    replies = [(400, old), (400, new), events(*FINE), events(*FINE)]
    request = ResponseRequest(REQUEST.items, max_output_tokens=9)
    async with talking_to(*replies) as (server, completions):
        for _ in range(2):
            assert (await completions.answer(request, lambda _: None)).status == "completed"
    for _, body in server.requests[2:]:
        assert "stream_options" not in body
        assert "max_tokens" not in body
        assert body["max_completion_tokens"] == 9


async def test_what_a_server_does_not_take_is_done_without():
    """One thing at a time, until it answers; then all of that is known at once."""
    tools = tuple({"type": "function", "name": name} for name in "fg")
    request = ResponseRequest(
        REQUEST.items,
        tools=tools,
        tool_choice={"type": "function", "name": "g"},
        parallel_tool_calls=False,
        temperature=0.8,
        reasoning={"effort": "high"},
    )
    replies = [
        (400, {"error": {"message": "Unsupported value: 'temperature'"}}),
        (422, {"detail": [{"loc": ["body", "reasoning_effort"], "msg": "extra inputs"}]}),
        (400, {"error": "Invalid tool_choice type: 'object'"}),
        (400, {"error": "parallel_tool_calls is not supported"}),
        events(*FINE),
        events(*FINE),
    ]
    async with talking_to(*replies) as (server, completions):
        for _ in range(2):
            assert (await completions.answer(request, lambda _: None)).status == "completed"
    assert len(server.requests) == 6
    for _, body in server.requests[4:]:
        assert {"temperature", "reasoning_effort", "parallel_tool_calls"}.isdisjoint(body)
        assert body["tool_choice"] == "required"
        assert body["tools"] == [{"type": "function", "function": {"name": "g"}}]
        assert "stream_options" in body


async def test_a_refusal_that_was_misread_is_not_remembered():
    """The request was wrong in another way: the next one is asked in full again."""
    echo = {"error": {"message": "no messages in {'stream_options': ..., 'temperature': 0.8}"}}
    request = ResponseRequest(REQUEST.items, temperature=0.8)
    replies = [(400, echo)] * 3 + [events(*FINE)]
    async with talking_to(*replies) as (server, completions):
        finish = await completions.answer(request, lambda _: None)
        assert finish.failure.code == "llm_failed"
        assert (await completions.answer(request, lambda _: None)).status == "completed"
    body = server.requests[-1][1]
    assert (body["temperature"], "stream_options" in body) == (0.8, True)


async def test_several_calls_stream_at_once():
    """Arguments go out as they come, cut anywhere; each call is whole in the end."""
    parts = [("a", "f", ""), (None, None, '{"x":'), ("b", "g", '{"y":2'), (None, None, "1}")]
    indexes = [0, 0, 1, 0]
    chunks = [
        delta(
            tool_calls=[
                {"index": index, "id": call_id, "function": {"name": name, "arguments": text}}
            ]
        )
        for index, (call_id, name, text) in zip(indexes, parts, strict=True)
    ]
    last = delta(tool_calls=[{"index": 1, "function": {"arguments": "}"}}])
    replies = [events(*chunks, last, delta("tool_calls"), b"[DONE]", cut=5)]
    async with serving(*replies) as server:
        finish, given = await ask(server)
    assert finish.status == "completed"
    assert given == [
        ToolDelta("a", "f", ""),
        ToolDelta("a", "f", '{"x":'),
        ToolDelta("b", "g", '{"y":2'),
        ToolDelta("a", "f", "1}"),
        ToolDelta("b", "g", "}"),
        ToolDone("a", "f", '{"x":1}'),
        ToolDone("b", "g", '{"y":2}'),
    ]


async def test_a_connection_cut_in_mid_call():
    """What was begun stays unfinished: half of the arguments call nothing."""

    async def cut(server, stream, send):
        await start_events(send)
        part = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x'}}
        await send(h11.Data(data=sse(delta(tool_calls=[part]))))
        raise ConnectionGone

    async with serving(cut) as server:
        finish, given = await ask(server)
    assert given == [ToolDelta("a", "f", '{"x')]
    assert (finish.status, finish.failure.code) == ("failed", "llm_failed")


async def test_a_tools_outputs_reach_the_server():
    """Both calls in one message, the outputs behind it, though they came the other way."""
    items = (
        *REQUEST.items,
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "b", "output": "two"},
        {"type": "function_call_output", "call_id": "a", "output": "one"},
    )
    async with serving(events(*FINE)) as server:
        await ask(server, ResponseRequest(items))
    _, assistant, *tools = server.requests[0][1]["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == ["a", "b"]
    assert [(tool["tool_call_id"], tool["content"]) for tool in tools] == [
        ("a", "one"),
        ("b", "two"),
    ]


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        ((401, {"error": {"message": f"bad key {KEY}"}}), "llm_unauthorized", "LLM_KEY"),
        ((403, b"no"), "llm_unauthorized", "permit"),
        (
            (404, {"error": {"message": "model 'm' not found"}}),
            "llm_not_found",
            "'m' not found",
        ),
        ((429, {"error": "slow down"}), "llm_rate_limited", "slow down"),
        ((500, {"error": {"message": f"with {KEY}: boom"}}), "llm_failed", "boom"),
        ((503, b"<html>" + b"x" * 100_000), "llm_failed", "503"),
        ((400, {"error": {"message": "stream_optionz"}}), "llm_failed", "400"),
        ((200, {"choices": []}), "llm_malformed", "stream of events"),
        (events(b"{nonsense"), "llm_malformed", "not JSON"),
        (events(delta(content="half")), "llm_failed", "broke off"),
        (events({"error": {"message": "out of memory"}}), "llm_failed", "out of memory"),
    ],
)
async def test_failures_are_said_in_clear_words(reply, code, words):
    """And never with the key."""
    async with serving(reply) as server:
        finish, _ = await ask(server)
    assert finish.status == "failed"
    assert finish.failure.code == code
    assert words in finish.failure.message
    assert KEY not in finish.failure.message


async def test_nobody_listening():
    """A connection that is refused names the address."""
    async with serving() as server:
        pass
    finish, _ = await ask(server)
    assert finish.failure.code == "llm_unreachable"
    assert "127.0.0.1" in finish.failure.message


async def test_a_connection_cut_in_mid_answer():
    """What was said stays said, and the answer fails."""

    async def cut(server, stream, send):
        await start_events(send)
        await send(h11.Data(data=sse(delta(content="Well"))))
        raise ConnectionGone

    async with serving(cut) as server:
        finish, given = await ask(server)
    assert given == [Text("Well")]
    assert finish.failure.code == "llm_failed"


@pytest.mark.parametrize("said", [(), (delta(content="Well"),)])
async def test_a_server_that_hangs(said):
    """Before the first word or after it: given up in time, and hung up on."""
    async with serving(hang(*said)) as server:
        finish, _ = await ask(server, patience=Patience(first=0.2, idle=0.1))
        assert finish.failure.code == "llm_timeout"
        assert "0.1 s" in finish.failure.message if said else "0.2 s" in finish.failure.message
        with trio.fail_after(2):
            await server.gone.wait()


async def test_a_server_that_does_not_even_answer():
    """No status line in time."""

    async def nothing(server, stream, send):
        await stream.receive_some()
        raise ConnectionGone

    async with serving(nothing) as server:
        finish, _ = await ask(server, patience=Patience(first=0.2))
    assert finish.failure.code == "llm_timeout"


async def test_a_server_that_answers_with_headers_alone_has_no_more_time():
    """One deadline for the model's name, the status line and the first word."""

    async def late(server, stream, send):
        await stream.receive_some()
        await trio.sleep(0.4)
        await send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await trio.sleep_forever()

    began = trio.current_time()
    async with serving(late) as server:
        finish, _ = await ask(server, patience=Patience(first=0.5))
        assert 0.5 <= trio.current_time() - began < 0.8
    assert finish.failure.code == "llm_timeout"
    assert "has said nothing for 0.5 s (TRIO_BRIDGE_LLM_TIMEOUT)" in finish.failure.message


async def test_a_stream_left_open_after_its_end():
    """Is not waited for."""
    async with serving(hang(delta("stop", content="Hi"), b"[DONE]")) as server:
        finish, _ = await ask(server, patience=Patience(closing=0.1))
    assert finish.status == "completed"


async def test_cancel_closes_the_connection(nursery):
    """The server sees it at once, and can stop computing."""
    async with talking_to(hang(delta(content="Well"))) as (server, completions):
        said = trio.Event()
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_after, said, scope)
            await completions.answer(REQUEST, lambda _: said.set())
        assert scope.cancelled_caught
        with trio.fail_after(1):
            await server.gone.wait()


async def _cancel_after(event, scope):
    await event.wait()
    scope.cancel()


async def test_an_impossible_url_is_refused_at_once():
    """Before anything is asked of it."""
    for url in ("localhost:11434", "ftp://host/v1", "http://"):
        with pytest.raises(ValueError, match="TRIO_BRIDGE_LLM_URL"):
            async with open_completions(url):
                pass


@pytest.mark.parametrize(
    "url",
    [
        "http://h/v1",
        "http://h/v1/",
        "http://h/v1/chat/completions",
        "http://h/v1/chat/completions/",
    ],
)
def test_both_kinds_of_url_are_understood(url):
    """The base and the full address."""
    assert endpoint(url, "models") == "http://h/v1/models"
