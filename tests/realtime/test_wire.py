"""Frames in, events out; events in, frames out."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from trio_bridge.realtime import events, problems
from trio_bridge.realtime.config import SessionConfig
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import NESTING_LIMIT, STRUCTURE_LIMIT, dump, load

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def frame(tag: str, **fields: Any) -> str:
    return json.dumps({"type": tag, **fields})


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# --- in ------------------------------------------------------------------------------------

GOOD: list[tuple[str, events.ClientEvent]] = [
    (
        frame("session.update", session={"type": "realtime"}, event_id="e1"),
        events.SessionUpdate({"type": "realtime"}, event_id="e1"),
    ),
    (
        frame("input_audio_buffer.append", audio="AAEC"),
        events.InputAudioBufferAppend(b"\0\1\2"),
    ),
    (frame("input_audio_buffer.append", audio=""), events.InputAudioBufferAppend(b"")),
    (frame("input_audio_buffer.commit"), events.InputAudioBufferCommit()),
    (frame("input_audio_buffer.clear", event_id=None), events.InputAudioBufferClear()),
    (
        frame("conversation.item.create", item={"type": "message"}, previous_item_id="root"),
        events.ConversationItemCreate({"type": "message"}, previous_item_id="root"),
    ),
    (frame("conversation.item.retrieve", item_id="i"), events.ConversationItemRetrieve("i")),
    (frame("conversation.item.delete", item_id="i"), events.ConversationItemDelete("i")),
    (
        frame("conversation.item.truncate", item_id="i", content_index=0, audio_end_ms=12),
        events.ConversationItemTruncate("i", 0, 12),
    ),
    (frame("response.create"), events.ResponseCreate()),
    (frame("response.create", response=None), events.ResponseCreate()),
    (frame("response.create", response={}), events.ResponseCreate({})),
    (frame("response.cancel", response_id="r", future=[1]), events.ResponseCancel("r")),
]


@pytest.mark.parametrize(("text", "event"), GOOD)
def test_a_good_frame_becomes_its_event(text: str, event: events.ClientEvent) -> None:
    """Null optional fields read as absent, unknown fields are ignored."""
    assert load(text) == event


def test_every_client_event_was_tried() -> None:
    """The table above covers the protocol's index."""
    assert {type(event) for _, event in GOOD} == set(events.CLIENT_TAGS.values())


TRUNCATE: dict[str, Any] = {"item_id": "i", "content_index": 0, "audio_end_ms": 5}
BAD_AUDIO = ["A", "AA", "AAA", "AB=", "AAAA=", "AAAA====", "====", "AB==AAAA", "-_-_", "AA A"]
BAD_AUDIO += ["AAA=\n", "AAAé", "\u2028", "data:audio/pcm;base64,AAAA"]

BAD: list[tuple[str | bytes, str | None, str | None]] = [
    ("", "invalid_json", None),
    ("hello", "invalid_json", None),
    ('{"type": "response.create"', "invalid_json", None),
    ('{"type": "response.create"} {}', "invalid_json", None),
    ('{"type": "response.create", "response": {"x": NaN}}', "invalid_json", None),
    ('{"type": "response.create", "response": {"x": -Infinity}}', "invalid_json", None),
    ('{"type": "response.create", "response": {"x": 1e999}}', "invalid_json", None),
    ('{"type": "response.create", "response": {"x": ' + "9" * 400 + "}}", "invalid_json", None),
    ('{"type": "response.create", "response": {"x": "\\ud800"}}', "invalid_json", None),
    ('{"type": "\ud800"}', "invalid_json", None),
    (nested(10_000), "invalid_json", None),
    ('{"a":' * 10_000, "invalid_json", None),
    ("[" + "[]," * STRUCTURE_LIMIT + "[]]", "invalid_event", None),
    (nested(STRUCTURE_LIMIT + 1), "invalid_event", None),
    ("\ufeff{}", "invalid_json", None),
    ("null", "invalid_event", None),
    ("[]", "invalid_event", None),
    ('"response.create"', "invalid_event", None),
    (b'{"type": "response.create"}', "invalid_event", None),
    (b"\xff\x00", "invalid_event", None),
    ("{}", "invalid_event", None),
    ('{"type": null}', "invalid_event", None),
    ('{"type": 5}', "invalid_type", "type"),
    ('{"type": ["response.create"]}', "invalid_type", "type"),
    (frame("nope"), "invalid_value", "type"),
    (frame("session.created"), "invalid_value", "type"),
    (frame("output_audio_buffer.clear"), "invalid_value", "type"),
    (frame("session.update"), "missing_required_parameter", "session"),
    (frame("session.update", session=None), "invalid_type", "session"),
    (frame("session.update", session="x"), "invalid_type", "session"),
    (frame("input_audio_buffer.append"), "missing_required_parameter", "audio"),
    (frame("input_audio_buffer.append", audio=[0, 1]), "invalid_type", "audio"),
    *(
        (frame("input_audio_buffer.append", audio=a), "invalid_value", "audio")
        for a in BAD_AUDIO
    ),
    (frame("conversation.item.create"), "missing_required_parameter", "item"),
    (
        frame("conversation.item.create", item={}, previous_item_id=1),
        "invalid_type",
        "previous_item_id",
    ),
    (frame("conversation.item.retrieve"), "missing_required_parameter", "item_id"),
    (frame("conversation.item.delete", item_id=5), "invalid_type", "item_id"),
    (
        frame("conversation.item.truncate", item_id="i", content_index=0),
        "missing_required_parameter",
        "audio_end_ms",
    ),
    (
        frame("conversation.item.truncate", **{**TRUNCATE, "audio_end_ms": 5.0}),
        "invalid_type",
        "audio_end_ms",
    ),
    (
        frame("conversation.item.truncate", **{**TRUNCATE, "audio_end_ms": "5"}),
        "invalid_type",
        "audio_end_ms",
    ),
    (
        frame("conversation.item.truncate", **{**TRUNCATE, "audio_end_ms": 2**70}),
        "invalid_type",
        "audio_end_ms",
    ),
    (
        frame("conversation.item.truncate", **{**TRUNCATE, "audio_end_ms": -1}),
        "integer_below_min_value",
        "audio_end_ms",
    ),
    (
        frame("conversation.item.truncate", **{**TRUNCATE, "content_index": False}),
        "invalid_type",
        "content_index",
    ),
    (frame("response.create", response="now"), "invalid_type", "response"),
    (frame("response.cancel", response_id={}), "invalid_type", "response_id"),
    (frame("response.cancel", event_id=7), "invalid_type", "event_id"),
    (frame("response.cancel", event_id="e" * 513), "string_above_max_length", "event_id"),
]


@pytest.mark.parametrize(("text", "code", "param"), BAD)
def test_a_bad_frame_is_answered(
    text: str | bytes, code: str | None, param: str | None
) -> None:
    """Each way to be wrong has its code and names its field."""
    with pytest.raises(ProtocolError) as caught:
        load(text)
    problem = caught.value
    assert (problem.code, problem.param, problem.kind) == (code, param, "invalid_request_error")
    reported = json.loads(dump(problem.to_event("event_1")))
    SERVER_EVENT.validate_python(reported, strict=True)


def test_an_error_tells_the_clients_own_event_id() -> None:
    """It is there for every problem past the parsing; an over-long one is not repeated."""
    for text, wanted in (
        (frame("nope", event_id="e1"), "e1"),
        (frame("input_audio_buffer.append", audio="?", event_id="e2"), "e2"),
        ('{"event_id": "e3"}', "e3"),
        (frame("nope", event_id="e" * 513), None),
        (frame("nope", event_id=4), None),
        ("[]", None),
    ):
        with pytest.raises(ProtocolError) as caught:
            load(text)
        assert caught.value.client_event_id == wanted


def test_an_unknown_type_is_answered_with_those_that_exist() -> None:
    """A client's developer reads what they may send, and megabytes do not come back."""
    with pytest.raises(
        ProtocolError, match=r"'nope'\. Supported values are: 'session.update', "
    ):
        load(frame("nope"))
    with pytest.raises(ProtocolError) as caught:
        load(frame("x" * 1_000_000))
    assert len(caught.value.message) < 1000


def test_an_append_is_bounded() -> None:
    """15 MiB decoded pass, one byte more does not."""
    limit = problems.MAX_APPEND_BYTES
    most = base64.b64encode(bytes(limit)).decode()
    event = load(frame("input_audio_buffer.append", audio=most))
    assert isinstance(event, events.InputAudioBufferAppend)
    assert len(event.audio) == limit
    too_much = base64.b64encode(bytes(limit + 1)).decode()
    with pytest.raises(ProtocolError) as caught:
        load(frame("input_audio_buffer.append", audio=too_much, event_id="e"))
    assert (caught.value.code, caught.value.param) == ("string_above_max_length", "audio")
    assert caught.value.client_event_id == "e"


def test_whatever_may_come_in_nested_can_go_out_again() -> None:
    """The deepest item a client may send can be sent back inside an event."""
    deepest = NESTING_LIMIT - 2  # the frame and the item are two levels
    text = '{"type":"conversation.item.create","item":{"x":%s}}'
    event = load(text % nested(deepest))
    assert isinstance(event, events.ConversationItemCreate)
    dump(events.ConversationItemAdded("event_1", event.item, None))
    with pytest.raises(ProtocolError) as caught:
        load(text % nested(deepest + 1))
    assert caught.value.code == "invalid_json"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_field_names = sorted(
    {field.name for each in events.CLIENT_TAGS.values() for field in attrs.fields(each)}
)
_frames = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(events.CLIENT_TAGS))},
    optional=dict.fromkeys(_field_names, _json | st.text("AB=/+", max_size=9)),
)


@given(
    st.text()
    | st.binary()
    | st.builds(json.dumps, _json)
    | st.builds(json.dumps, _frames)
    | st.text('{}[]":,\\u0de ', max_size=40)
)
def test_no_frame_raises_anything_else(text: str | bytes) -> None:
    """Whatever a client sends is an event or a `ProtocolError`."""
    outcome: events.ClientEvent | ProtocolError
    try:
        outcome = load(text)
    except ProtocolError as problem:
        outcome = problem
    assert type(outcome) in {ProtocolError, *events.CLIENT_TAGS.values()}


@given(st.binary(max_size=64))
def test_audio_survives_the_wire(pcm: bytes) -> None:
    """Any bytes that are properly encoded arrive as they were."""
    text = frame("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    assert load(text) == events.InputAudioBufferAppend(pcm)


# --- out -----------------------------------------------------------------------------------

SESSION = SessionConfig().to_json(session_id="sess_1", model="m", expires_at=1)
ITEM = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_audio", "transcript": None}],
}
RESPONSE: dict[str, Any] = {
    "object": "realtime.response",
    "id": "resp_1",
    "status": "in_progress",
    "status_details": None,
    "output": [],
    "usage": None,
    "metadata": None,
}
VALUES: dict[str, Any] = {
    "kind": "invalid_request_error",
    "session": SESSION,
    "item": ITEM,
    "response": RESPONSE,
    "part": {"type": "audio", "transcript": ""},
    "usage": {"type": "duration", "seconds": 1.5},
    "error": {"type": "server_error", "code": "x", "message": "y", "param": None},
    "rate_limits": [
        {"name": "requests", "limit": 10, "remaining": 9, "reset_seconds": 1.0},
    ],
}
NUMBERS = {"content_index", "output_index", "audio_start_ms", "audio_end_ms"}


@st.composite
def _server_events(draw: st.DrawFn) -> events.ServerEvent:
    chosen: Any = draw(st.sampled_from(sorted(events.SERVER_TAGS.values(), key=str)))
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    fields: dict[str, Any] = {}
    for field in attrs.fields(chosen):
        if field.name in VALUES:
            fields[field.name] = VALUES[field.name]
        elif field.name in NUMBERS:
            fields[field.name] = draw(st.integers(0, 2**40))
        elif field.type == "bytes":
            fields[field.name] = draw(st.binary(max_size=20))
        elif "None" in str(field.type):
            fields[field.name] = draw(st.none() | texts)
        else:
            fields[field.name] = draw(texts)
    event: events.ServerEvent = chosen(**fields)
    return event


@settings(deadline=None, max_examples=300)  # the first validation builds the validator
@given(_server_events())
def test_every_event_is_what_the_published_types_expect(event: events.ServerEvent) -> None:
    """`type` and `event_id` first, all required fields there, nothing of another type."""
    written = json.loads(dump(event))
    assert list(written)[:2] == ["type", "event_id"]
    read = SERVER_EVENT.validate_python(written, strict=True)
    assert events.SERVER_TAGS[read.type] is type(event)
    # What the types do not know they would keep as extras: there are none.
    assert not read.model_extra
    if isinstance(event, events.ResponseOutputAudioDelta):
        assert base64.b64decode(read.delta, validate=True) == event.delta


def test_an_error_has_its_nested_shape() -> None:
    """The client's `event_id` stands inside, the server's outside."""
    problem = problems.missing_field("session.type")
    problem.client_event_id = "mine"
    assert json.loads(dump(problem.to_event("event_9"))) == {
        "type": "error",
        "event_id": "event_9",
        "error": {
            "type": "invalid_request_error",
            "code": "missing_required_parameter",
            "message": "Missing required parameter: 'session.type'.",
            "param": "session.type",
            "event_id": "mine",
        },
    }


def test_samples_have_no_form_on_the_wire() -> None:
    """They are resampled and encoded first, by the sender."""
    samples = events.ResponseOutputAudioSamples("r", "i", 0, 0, np.zeros(1, np.float32), 16_000)
    with pytest.raises(TypeError, match="ResponseOutputAudioSamples has no form on the wire"):
        dump(samples)
