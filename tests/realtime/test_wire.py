"""Frames in, events out; events in, frames out."""

from __future__ import annotations

import base64
import binascii
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
from trio_bridge.realtime.beta import FLAT as FLAT_NAMES
from trio_bridge.realtime.config import SessionConfig
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import NESTING_LIMIT, STRUCTURE_LIMIT, Codec, Dialect

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def load(text: str | bytes) -> events.ClientEvent:
    return Codec().load(text)


def dump(event: events.ServerEvent) -> bytes:
    written = Codec().dump(event)
    assert written is not None
    return written


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
    ('{"x": "' + "," * (STRUCTURE_LIMIT + 1) + '"}', "invalid_event", None),
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
    (frame("transcription_session.update", session={}), "invalid_value", "type"),
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
_flat_objects = st.dictionaries(
    st.sampled_from([*sorted(FLAT_NAMES), "audio", "type", "client_secret"]),
    _json | st.sampled_from(["pcm16", "g711_ulaw", ["audio", "text"]]),
)
_frames = st.fixed_dictionaries(
    {"type": st.sampled_from([*sorted(events.CLIENT_TAGS), "transcription_session.update"])},
    optional={
        **dict.fromkeys(_field_names, _json | st.text("AB=/+", max_size=9)),
        **dict.fromkeys(("session", "response"), _flat_objects | _json),
    },
)


@given(
    st.builds(Codec, st.sampled_from(["ga", "beta"]), strict=st.booleans()),
    st.text()
    | st.binary()
    | st.builds(json.dumps, _json)
    | st.builds(json.dumps, _frames)
    | st.text('{}[]":,\\u0de ', max_size=40),
)
def test_no_frame_raises_anything_else(codec: Codec, text: str | bytes) -> None:
    """Whatever a client sends is an event or a `ProtocolError`."""
    outcome: events.ClientEvent | ProtocolError
    try:
        outcome = codec.load(text)
    except ProtocolError as problem:
        outcome = problem
    assert type(outcome) in {ProtocolError, *events.CLIENT_TAGS.values()}


@given(st.binary(max_size=64))
def test_audio_survives_the_wire(pcm: bytes) -> None:
    """Any bytes that are properly encoded arrive as they were."""
    text = frame("input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
    assert load(text) == events.InputAudioBufferAppend(pcm)


def decoded(text: str) -> bytes | None:
    """What the standard library takes `text` for, strictly; it lets surplus padding pass."""
    try:
        audio = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return audio if len(audio) == len(text) // 4 * 3 - text[-2:].count("=") else None


@st.composite
def _nearly_base64(draw: st.DrawFn) -> str:
    """Long enough for every way a decoder has, with a few characters changed."""
    text = base64.b64encode(draw(st.binary(max_size=200))).decode()
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.text("A=/+-_ \n\0é", max_size=2)) + text[place + 1 :]
    return text


@given(_nearly_base64() | st.text("AQgw+/=", max_size=13))
def test_base64_is_read_as_strictly_as_can_be(text: str) -> None:
    """Every text is taken for what the standard library takes it for, or refused with it."""
    appended = frame("input_audio_buffer.append", audio=text)
    audio = decoded(text)
    if audio is not None:
        assert load(appended) == events.InputAudioBufferAppend(audio)
        return
    with pytest.raises(ProtocolError) as caught:
        load(appended)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "audio")


# --- dialects ------------------------------------------------------------------------------

FLAT = frame("session.update", session={"voice": "echo"})
NESTED = frame("session.update", session={"type": "realtime"})


def test_a_flat_first_update_changes_the_dialect() -> None:
    """A client that never said so speaks beta; the first update settles it for good."""
    codec = Codec()
    event = codec.load(FLAT)
    session = {"type": "realtime", "audio": {"output": {"voice": "echo"}}}
    assert event == events.SessionUpdate(session)
    assert codec.dialect == "beta"
    codec.load(NESTED)
    assert codec.dialect == "beta"


@pytest.mark.parametrize(
    "first",
    [
        NESTED,
        frame("session.update", session={"type": "realtime", "voice": "echo"}),
        frame("session.update", session={"type": "transcription"}),
    ],
)
def test_a_nested_first_update_settles_ga(first: str) -> None:
    """A later one without a type is a mistake, and answered as one."""
    codec = Codec()
    codec.load(first)
    event = codec.load(FLAT)
    assert event == events.SessionUpdate({"voice": "echo"})
    assert codec.dialect == "ga"


@pytest.mark.parametrize(
    "session",
    [{}, {"instructions": "x"}, {"audio": {}, "voice": "echo"}, {"max_output_tokens": 5}],
)
def test_an_update_of_either_dialect_settles_nothing(session: dict[str, Any]) -> None:
    """What GA too might mean stays GA's, without its type; a flat one may still come."""
    codec = Codec()
    assert codec.load(frame("session.update", session=session)) == events.SessionUpdate(session)
    with pytest.raises(ProtocolError):
        codec.load(frame("session.update", session=5))
    before = codec.dialect
    codec.load(FLAT)
    assert (before, codec.dialect) == ("ga", "beta")


def test_a_strict_session_keeps_its_dialect() -> None:
    """What it has not said counts for nothing."""
    codec = Codec(strict=True)
    assert codec.load(FLAT) == events.SessionUpdate({"voice": "echo"})
    assert codec.dialect == "ga"


def test_beta_has_an_event_of_its_own() -> None:
    """It updates a transcription session, and is listed among those that exist."""
    codec = Codec("beta")
    event = codec.load(frame("transcription_session.update", session={}, event_id="e"))
    assert event == events.SessionUpdate({"type": "transcription"}, event_id="e")
    with pytest.raises(ProtocolError, match=r"'transcription_session\.update'") as caught:
        codec.load(frame("nope"))
    assert caught.value.param == "type"
    with pytest.raises(ProtocolError) as caught:
        codec.load(frame("transcription_session.update", session=5))
    assert (caught.value.code, caught.value.param) == ("invalid_type", "session")


@pytest.mark.parametrize("dialect", ["ga", "beta"])
@pytest.mark.parametrize("tag", sorted(events.CLIENT_TAGS))
def test_a_strict_session_refuses_unknown_fields(tag: str, dialect: Dialect) -> None:
    """Each event has its own; the error names the one at fault, and the event."""
    with pytest.raises(ProtocolError) as caught:
        Codec(dialect, strict=True).load(frame(tag, event_id="e", future=1))
    problem = caught.value
    assert (problem.code, problem.param) == ("unknown_parameter", "future")
    assert problem.client_event_id == "e"


@pytest.mark.parametrize(("text", "event"), GOOD)
def test_a_strict_session_takes_what_is_known(text: str, event: events.ClientEvent) -> None:
    """It refuses nothing else than fields that are unknown."""
    known = {name: value for name, value in json.loads(text).items() if name != "future"}
    assert Codec(strict=True).load(json.dumps(known)) == event


@pytest.mark.parametrize(
    ("name", "tag"), [("session", "session.update"), ("response", "response.create")]
)
def test_ga_takes_no_temperature(name: str, tag: str) -> None:
    """It is unknown there: ignored, or refused by a strict session. Beta has it."""
    text = frame(tag, **{name: {"type": "realtime", "temperature": 0.7}})
    event: Any = Codec().load(text)
    assert getattr(event, name) == {"type": "realtime"}
    with pytest.raises(ProtocolError) as caught:
        Codec(strict=True).load(text)
    assert caught.value.code == "unknown_parameter"
    assert caught.value.param == f"{name}.temperature"
    event = Codec("beta", strict=True).load(text)
    assert getattr(event, name)["temperature"] == 0.7


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
    "logprobs": [{"token": "hé", "bytes": [104, 195, 169], "logprob": -0.5}],
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


@settings(max_examples=300)
@given(_server_events())
def test_every_event_is_what_the_published_types_expect(event: events.ServerEvent) -> None:
    """`type` and `event_id` first, all required fields there, nothing of another type."""
    written = json.loads(dump(event))
    assert list(written)[:2] == ["type", "event_id"]
    read = SERVER_EVENT.validate_python(written, strict=True)
    assert events.SERVER_TAGS[read.type] is type(event)
    # What the types do not know they would keep as extras: there are none.
    assert not read.model_extra
    assert written.keys() == {"type", *attrs.asdict(event)} or isinstance(event, events.Error)
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


def test_what_has_its_default_is_left_out() -> None:
    """There are clients that refuse a null where they expect nothing."""
    event = events.ConversationItemInputAudioTranscriptionCompleted("e", "i", 0, "hi", {})
    assert "logprobs" not in json.loads(dump(event))
    told = json.loads(dump(attrs.evolve(event, logprobs=[])))
    assert told["logprobs"] == []


@pytest.mark.parametrize(
    "event",
    [
        events.SessionUpdated("e", {"type": "realtime", "temperature": 0.7}),
        events.ResponseCreated("e", {"id": "resp_1", "temperature": 0.7}),
    ],
)
def test_ga_shows_no_temperature(event: events.ServerEvent) -> None:
    """Even where one was set, by a key of the beta dialect."""
    ga, flat = json.loads(dump(event)), json.loads(Codec("beta").dump(event) or b"")
    (name,) = {"session", "response"} & ga.keys()
    assert "temperature" not in ga[name]
    assert flat[name]["temperature"] == 0.7


def test_samples_have_no_form_on_the_wire() -> None:
    """They are resampled and encoded first, by the sender."""
    samples = events.ResponseOutputAudioSamples("r", "i", 0, 0, np.zeros(1, np.float32), 16_000)
    with pytest.raises(TypeError, match="ResponseOutputAudioSamples has no form on the wire"):
        dump(samples)
