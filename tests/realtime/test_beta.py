"""The beta dialect: its objects and events, and those of GA."""

from __future__ import annotations

import json
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from trio_bridge.realtime import beta, events, problems
from trio_bridge.realtime.config import SessionConfig, initial, response_overrides
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import Codec

TYPES = {
    member.model_fields["type"].annotation.__args__[0]: TypeAdapter[Any](member)
    for member in get_args(get_args(RealtimeServerEvent)[0])
}

SHOWN = {"object", "expires_at"}
"""What the service shows of a session beside what the package has."""


def told(event: events.ServerEvent) -> Json | None:
    written = Codec("beta").dump(event)
    return None if written is None else json.loads(written)


def shown(config: SessionConfig) -> Json:
    return config.to_json(
        session_id="sess_1", model="gpt-4o-realtime-preview", expires_at=2_000_000_000
    )


# --- sessions ------------------------------------------------------------------------------

FLAT: Json = {
    "id": "sess_1",
    "object": "realtime.session",
    "model": "gpt-4o-realtime-preview",
    "expires_at": 2_000_000_000,
    "modalities": ["audio", "text"],
    "instructions": "Be brief.",
    "voice": "sage",
    "speed": 1.25,
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "whisper-1", "language": "en"},
    "input_audio_noise_reduction": {"type": "near_field"},
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.6,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 200,
        "create_response": False,
        "interrupt_response": True,
    },
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}}],
    "tool_choice": "required",
    "tracing": {"workflow_name": "w"},
    "temperature": 0.7,
    "max_response_output_tokens": 100,
}
GA: Json = {
    "type": "realtime",
    "id": "sess_1",
    "object": "realtime.session",
    "model": "gpt-4o-realtime-preview",
    "expires_at": 2_000_000_000,
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "whisper-1", "language": "en"},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": FLAT["turn_detection"],
        },
        "output": {"format": {"type": "audio/pcma"}, "voice": "sage", "speed": 1.25},
    },
    "tools": FLAT["tools"],
    "tool_choice": "required",
    "tracing": {"workflow_name": "w"},
    "temperature": 0.7,
    "max_output_tokens": 100,
}


def test_every_field_of_a_session_has_its_place() -> None:
    """Both ways; and what a client sets is what it is shown."""
    assert beta.to_ga_session(FLAT) == GA
    assert beta.from_ga_session(GA) == FLAT
    assert beta.from_ga_session(shown(initial().updated(beta.to_ga_session(FLAT)))) == FLAT


def test_a_session_as_it_begins() -> None:
    """Everything in effect that this dialect has a name for."""
    assert beta.from_ga_session(shown(initial())) == {
        "id": "sess_1",
        "object": "realtime.session",
        "model": "gpt-4o-realtime-preview",
        "expires_at": 2_000_000_000,
        "modalities": ["audio", "text"],
        "instructions": "",
        "voice": "alloy",
        "speed": 1.0,
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "input_audio_noise_reduction": None,
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": True,
            "interrupt_response": True,
        },
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "temperature": 0.8,
        "max_response_output_tokens": "inf",
    }


def test_a_transcription_session() -> None:
    """It has the settings of listening alone."""
    asked = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": None,
        "include": ["item.input_audio_transcription.logprobs"],
        "client_secret": {"expires_at": {"anchor": "created_at", "seconds": 60}},
    }
    ga = beta.to_ga_session(asked, "transcription")
    config = initial("transcription").updated(ga, strict=True)
    assert beta.from_ga_session(shown(config)) == {
        "id": "sess_1",
        "object": "realtime.transcription_session",
        "expires_at": 2_000_000_000,
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": None,
        "include": ["item.input_audio_transcription.logprobs"],
    }


def test_the_rest_of_a_session_goes_on_as_it_is() -> None:
    """Absent stays absent and null null; what GA says, or nobody knows, stays where it is."""
    assert beta.to_ga_session({}) == {"type": "realtime"}
    cleared = dict.fromkeys(("voice", "input_audio_format", "turn_detection", "modalities"))
    assert beta.to_ga_session(cleared) == {
        "type": "realtime",
        "output_modalities": None,
        "audio": {
            "output": {"voice": None},
            "input": {"format": None, "turn_detection": None},
        },
    }
    mixed = {
        "type": "transcription",
        "voice": "echo",
        "audio": {"output": {"speed": 1.5}, "input": 5},
        "future": [1],
    }
    before = json.dumps(mixed)
    assert beta.to_ga_session(mixed) == {
        "type": "transcription",
        "audio": {"output": {"speed": 1.5, "voice": "echo"}, "input": 5},
        "future": [1],
    }
    assert json.dumps(mixed) == before


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (["audio", "text"], ["audio"]),
        (["text", "audio"], ["audio"]),
        (["audio"], ["audio"]),
        (["text"], ["text"]),
        ([], []),
        (["video"], ["video"]),
        ("audio", "audio"),
        (None, None),
    ],
)
def test_modalities(here: Any, there: Any) -> None:
    """Speech comes with its text, which GA takes for granted."""
    assert beta.to_ga_session({"modalities": here})["output_modalities"] == there
    assert beta.to_ga_response({"modalities": here})["output_modalities"] == there


def _settings() -> st.SearchStrategy[Json]:
    formats = st.sampled_from(["pcm16", "g711_ulaw", "g711_alaw"]) | st.none()
    switches = {name: st.booleans() for name in ("create_response", "interrupt_response")}
    vad = {"threshold": st.floats(0, 1), "silence_duration_ms": st.integers(0, 5000)}
    return st.fixed_dictionaries(
        {},
        optional={
            "modalities": st.sampled_from([["audio", "text"], ["text"]]) | st.none(),
            "instructions": st.text(max_size=5),
            "voice": st.sampled_from(["echo", "new"]) | st.none(),
            "speed": st.floats(0.25, 1.5),
            "input_audio_format": formats,
            "output_audio_format": formats,
            "input_audio_transcription": st.just({"model": "whisper-1"}) | st.none(),
            "input_audio_noise_reduction": st.just({"type": "far_field"}) | st.none(),
            "turn_detection": st.none()
            | st.fixed_dictionaries(
                {"type": st.just("server_vad")}, optional={**vad, **switches}
            )
            | st.fixed_dictionaries({"type": st.just("semantic_vad")}, optional=switches),
            "max_response_output_tokens": st.just("inf") | st.integers(1, 4096),
            "temperature": st.floats(0.6, 1.2) | st.none(),
        },
    )


@given(st.lists(_settings(), max_size=3))
def test_what_is_shown_says_all_that_was_set(updates: list[Json]) -> None:
    """A session set to what another one shows is the same session."""
    config = initial()
    for update in updates:
        config = config.updated(beta.to_ga_session(update), strict=True)
    flat = beta.from_ga_session(shown(config))
    again = initial().updated(beta.to_ga_session(flat), strict=True)
    shown_temperature = config.temperature or beta.DEFAULT_TEMPERATURE
    assert again == attrs.evolve(config, temperature=shown_temperature)
    assert beta.from_ga_session(shown(again)) == flat


# --- responses -----------------------------------------------------------------------------


def test_a_request_for_a_response() -> None:
    """Its fields arrive where the engine looks for them."""
    text = json.dumps(
        {
            "type": "response.create",
            "response": {
                "modalities": ["audio", "text"],
                "instructions": "Sing.",
                "voice": "sage",
                "output_audio_format": "g711_alaw",
                "temperature": 0.9,
                "max_response_output_tokens": 5,
                "conversation": "none",
                "input": [{"type": "item_reference", "id": "item_1"}],
                "metadata": {"a": "b"},
                "tools": FLAT["tools"],
                "tool_choice": "none",
            },
        }
    )
    event = Codec("beta").load(text)
    assert isinstance(event, events.ResponseCreate)
    config = response_overrides(initial(), event.response, strict=True)
    assert config.output_modality == "audio"
    assert config.instructions == "Sing."
    assert config.voice == "sage"
    assert config.output_format.to_json() == {"type": "audio/pcma"}
    assert config.temperature == 0.9
    assert config.max_output_tokens == 5
    assert config.conversation == "none"
    assert config.input == ({"type": "item_reference", "id": "item_1"},)
    assert config.metadata == {"a": "b"}
    assert config.tool_choice == "none"
    assert len(config.tools) == 1


RESPONSE: Json = {
    "object": "realtime.response",
    "id": "resp_1",
    "status": "cancelled",
    "status_details": {"type": "cancelled", "reason": "turn_detected"},
    "output": [
        {
            "id": "item_1",
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "incomplete",
            "content": [{"type": "output_audio", "transcript": "He"}],
        }
    ],
    "conversation_id": "conv_1",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "sage"}},
    "usage": {
        "total_tokens": 3,
        "input_tokens": 2,
        "output_tokens": 1,
        "input_token_details": {
            "text_tokens": 2,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 1,
            "cached_tokens_details": {"text_tokens": 1, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 1, "audio_tokens": 0},
    },
    "metadata": {"a": "b"},
}


def test_a_response_object() -> None:
    """Flat, with the names of this dialect all the way down."""
    assert beta.from_ga_response(RESPONSE) == {
        "object": "realtime.response",
        "id": "resp_1",
        "status": "cancelled",
        "status_details": {"type": "cancelled", "reason": "turn_detected"},
        "output": [
            {
                "id": "item_1",
                "object": "realtime.item",
                "type": "message",
                "role": "assistant",
                "status": "incomplete",
                "content": [{"type": "audio", "transcript": "He"}],
            }
        ],
        "conversation_id": "conv_1",
        "modalities": ["audio", "text"],
        "voice": "sage",
        "output_audio_format": "pcm16",
        "temperature": 0.8,
        "max_output_tokens": "inf",
        "usage": {
            "total_tokens": 3,
            "input_tokens": 2,
            "output_tokens": 1,
            "input_token_details": {"text_tokens": 2, "audio_tokens": 0, "cached_tokens": 1},
            "output_token_details": {"text_tokens": 1, "audio_tokens": 0},
        },
        "metadata": {"a": "b"},
    }
    started = beta.from_ga_response({**RESPONSE, "usage": None, "temperature": 0.6})
    assert (started["usage"], started["temperature"]) == (None, 0.6)


# --- problems ------------------------------------------------------------------------------

WRONG: list[tuple[Json, str]] = [
    ({"input_audio_format": "mp3"}, "session.input_audio_format"),
    ({"output_audio_format": {"type": "audio/pcm"}}, "session.output_audio_format"),
    ({"input_audio_format": ["pcm16"]}, "session.input_audio_format"),
    ({"modalities": ["video"]}, "session.modalities[0]"),
    ({"modalities": "audio"}, "session.modalities"),
    ({"voice": 5}, "session.voice"),
    ({"speed": 9}, "session.speed"),
    ({"input_audio_transcription": {"model": 5}}, "session.input_audio_transcription.model"),
    ({"input_audio_noise_reduction": "no"}, "session.input_audio_noise_reduction"),
    ({"turn_detection": {}}, "session.turn_detection.type"),
    ({"turn_detection": {"type": "vad"}}, "session.turn_detection.type"),
    ({"max_response_output_tokens": 0}, "session.max_response_output_tokens"),
    ({"temperature": "hot"}, "session.temperature"),
    ({"tools": [{"name": 5}]}, "session.tools[0].name"),
    ({"turn_detection": {"type": "server_vad", "x": 1}}, "session.turn_detection.x"),
    ({"future": 1}, "session.future"),
]


@pytest.mark.parametrize(("session", "param"), WRONG)
def test_an_error_names_the_field_where_the_client_put_it(session: Json, param: str) -> None:
    """In `param` and in the sentence, which says nothing of GA."""
    with pytest.raises(ProtocolError) as caught:
        initial().updated(beta.to_ga_session(session), strict=True)
    answer = told(caught.value.to_event("event_1"))
    assert answer is not None
    error = answer["error"]
    assert error["param"] == param
    assert "session.audio" not in error["message"]
    if error["code"] != "invalid_value":
        assert f"'{param}'" in error["message"]


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("response.audio.output.format.type", "response.output_audio_format"),
        ("response.audio.output.voice.id", "response.voice.id"),
        ("response.max_output_tokens", "response.max_response_output_tokens"),
        ("response.output_modalities[1]", "response.modalities[1]"),
        ("session.audio.input.format.rate", "session.input_audio_format"),
        ("session.audio.input", "session.audio.input"),
        ("session.output_modalities_too", "session.output_modalities_too"),
        ("item.content[0].type", "item.content[0].type"),
        ("type", "type"),
    ],
)
def test_paths(there: str, here: str) -> None:
    """What is one word here has no path within; the rest keeps its own."""
    assert beta.from_ga_path(there) == here


def test_a_problem_without_a_field_stays_as_it_is() -> None:
    """There is nothing to translate in it."""
    problem = problems.cancel_not_active()
    error = told(problem.to_event("event_1"))
    assert error is not None
    assert error["error"]["message"] == problem.message
    assert error["error"]["param"] is None


# --- events --------------------------------------------------------------------------------

ITEM: Json = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "hi"}, {"type": "output_audio"}],
}
ITEM_HERE: Json = {**ITEM, "content": [{"type": "text", "text": "hi"}, {"type": "audio"}]}
CALL: Json = {
    "id": "item_2",
    "object": "realtime.item",
    "type": "function_call",
    "status": "completed",
    "name": "f",
    "call_id": "call_1",
    "arguments": "{}",
}
PLACE = ("resp_1", "item_1", 0, 0)
TRANSCRIPTION = shown(initial("transcription"))
SAME = object()
"""An event that says the same here."""

EVENTS: list[tuple[events.ServerEvent, Any]] = [
    (
        problems.invalid_value("session.output_modalities[0]", "x", ("audio",)).to_event("e"),
        {
            "type": "error",
            "event_id": "e",
            "error": {
                "type": "invalid_request_error",
                "code": "invalid_value",
                "message": "Invalid value: 'x'. Supported values are: 'audio'.",
                "param": "session.modalities[0]",
                "event_id": None,
            },
        },
    ),
    (
        events.SessionCreated("e", shown(initial())),
        {
            "type": "session.created",
            "event_id": "e",
            "session": beta.from_ga_session(shown(initial())),
        },
    ),
    (
        events.SessionUpdated("e", shown(initial())),
        {
            "type": "session.updated",
            "event_id": "e",
            "session": beta.from_ga_session(shown(initial())),
        },
    ),
    (
        events.ConversationItemAdded("e", ITEM, "item_0"),
        {
            "type": "conversation.item.created",
            "event_id": "e",
            "item": ITEM_HERE,
            "previous_item_id": "item_0",
        },
    ),
    (events.ConversationItemDone("e", ITEM, None), None),
    (
        events.ConversationItemRetrieved("e", ITEM),
        {"type": "conversation.item.retrieved", "event_id": "e", "item": ITEM_HERE},
    ),
    (events.ConversationItemDeleted("e", "item_1"), SAME),
    (events.ConversationItemTruncated("e", "item_1", 0, 5), SAME),
    (events.ConversationItemInputAudioTranscriptionDelta("e", "item_1", 0, "hi"), SAME),
    (
        events.ConversationItemInputAudioTranscriptionCompleted(
            "e", "item_1", 0, "hi", {"type": "duration", "seconds": 1.0}
        ),
        SAME,
    ),
    (
        events.ConversationItemInputAudioTranscriptionFailed(
            "e", "item_1", 0, {"type": "server_error", "code": "x", "message": "y"}
        ),
        SAME,
    ),
    (events.InputAudioBufferCommitted("e", "item_1", None), SAME),
    (events.InputAudioBufferCleared("e"), SAME),
    (events.InputAudioBufferSpeechStarted("e", "item_1", 5), SAME),
    (events.InputAudioBufferSpeechStopped("e", "item_1", 9), SAME),
    (events.InputAudioBufferTimeoutTriggered("e", "item_1", 5, 9), None),
    (
        events.ResponseCreated("e", RESPONSE),
        {
            "type": "response.created",
            "event_id": "e",
            "response": beta.from_ga_response(RESPONSE),
        },
    ),
    (
        events.ResponseDone("e", RESPONSE),
        {
            "type": "response.done",
            "event_id": "e",
            "response": beta.from_ga_response(RESPONSE),
        },
    ),
    (
        events.ResponseOutputItemAdded("e", "resp_1", 0, ITEM),
        {
            "type": "response.output_item.added",
            "event_id": "e",
            "response_id": "resp_1",
            "output_index": 0,
            "item": ITEM_HERE,
        },
    ),
    (events.ResponseOutputItemDone("e", "resp_1", 0, CALL), SAME),
    (
        events.ResponseContentPartAdded("e", *PLACE, {"type": "audio", "transcript": ""}),
        SAME,
    ),
    (events.ResponseContentPartDone("e", *PLACE, {"type": "text", "text": "hi"}), SAME),
    (events.ResponseOutputTextDelta("e", *PLACE, "hi"), "response.text.delta"),
    (events.ResponseOutputTextDone("e", *PLACE, "hi"), "response.text.done"),
    (
        events.ResponseOutputAudioTranscriptDelta("e", *PLACE, "hi"),
        "response.audio_transcript.delta",
    ),
    (
        events.ResponseOutputAudioTranscriptDone("e", *PLACE, "hi"),
        "response.audio_transcript.done",
    ),
    (events.ResponseOutputAudioDelta("e", *PLACE, b"\0\1"), "response.audio.delta"),
    (events.ResponseOutputAudioDone("e", *PLACE), "response.audio.done"),
    (events.ResponseFunctionCallArgumentsDelta("e", "resp_1", "item_2", 0, "c", "{"), SAME),
    (
        events.ResponseFunctionCallArgumentsDone("e", "resp_1", "item_2", 0, "c", "f", "{}"),
        {
            "type": "response.function_call_arguments.done",
            "event_id": "e",
            "response_id": "resp_1",
            "item_id": "item_2",
            "output_index": 0,
            "call_id": "c",
            "arguments": "{}",
        },
    ),
    (
        events.RateLimitsUpdated(
            "e", [{"name": "tokens", "limit": 2, "remaining": 1, "reset_seconds": 0.5}]
        ),
        SAME,
    ),
]


@pytest.mark.parametrize(
    ("event", "said"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS]
)
def test_every_event_is_what_the_published_types_expect(
    event: events.ServerEvent, said: Any
) -> None:
    """By its name here, with its required fields, and nothing that is unknown."""
    here = told(event)
    written = Codec().dump(event)
    assert written is not None
    there = json.loads(written)
    if said is SAME:
        said = there
    elif isinstance(said, str):
        said = {**there, "type": said}
    assert here == said
    if here is not None:
        assert list(here)[:2] == ["type", "event_id"]
        read = TYPES[here["type"]].validate_python(here, strict=True)
        assert unknown(read) <= SHOWN


def test_every_server_event_was_tried() -> None:
    """The table above covers the protocol's index."""
    assert {type(event) for event, _ in EVENTS} == set(events.SERVER_TAGS.values())


def test_a_transcription_session_has_an_update_of_its_own() -> None:
    """A key belongs to its shape where it was made on request over HTTP; nothing else is
    missing."""
    created = told(events.SessionCreated("e", TRANSCRIPTION))
    assert created is not None
    assert created["type"] == "session.created"
    assert unknown(TYPES["session.created"].validate_python(created, strict=True)) <= SHOWN
    session = shown(
        initial("transcription").updated(
            {
                "type": "transcription",
                "audio": {"input": {"transcription": {"model": "whisper-1"}}},
            }
        )
    )
    updated = told(events.SessionUpdated("e", session))
    assert updated is not None
    assert updated["type"] == "transcription_session.updated"
    updated["session"]["client_secret"] = {"value": "ek", "expires_at": 1}
    read = TYPES[updated["type"]].validate_python(updated, strict=True)
    assert unknown(read) <= SHOWN | {"id"}


def test_what_is_said_is_a_copy() -> None:
    """The engine's own objects stay as they are, whatever is made of them."""
    event = events.ResponseDone("e", RESPONSE)
    before = json.dumps(RESPONSE)
    told(event)
    assert json.dumps(RESPONSE) == before


def unknown(value: Any) -> set[str]:
    """Names of what a model holds beside its own fields, however deep."""
    if isinstance(value, BaseModel):
        inner = (unknown(getattr(value, name)) for name in type(value).model_fields)
        return set(value.model_extra or ()).union(*inner)
    if isinstance(value, list):
        return set().union(*map(unknown, value))
    return set()
