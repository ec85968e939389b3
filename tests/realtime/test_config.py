"""What a session is set to, how an update changes it, and what a response overrides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import SessionUpdatedEvent
from pydantic import TypeAdapter

from trio_bridge.realtime.config import (
    AudioFormat,
    SemanticVad,
    ServerVad,
    SessionConfig,
    initial,
    response_overrides,
)
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.values import functions_of

TOOL = {"type": "function", "name": "light", "parameters": {"type": "object"}}
UPDATED = TypeAdapter(SessionUpdatedEvent)


def update(config: SessionConfig, **session: Any) -> SessionConfig:
    return config.updated({"type": "realtime", **session})


def heard(**fields: Any) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"input": fields}}


def spoken(**fields: Any) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"output": fields}}


def shown(config: SessionConfig) -> dict[str, Any]:
    return config.to_json(session_id="sess_1", model="any-model", expires_at=1_800_000_000)


def assert_valid(config: SessionConfig) -> None:
    event = {"type": "session.updated", "event_id": "event_1", "session": shown(config)}
    UPDATED.validate_python(event, strict=True)


def test_a_new_session_shows_every_setting() -> None:
    """The first `session` has the keys, the order and the defaults that clients know."""
    assert shown(SessionConfig()) == {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_1",
        "model": "any-model",
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 1_800_000_000,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": "alloy",
                "speed": 1.0,
            },
        },
    }
    assert next(iter(shown(SessionConfig()))) == "type"
    assert_valid(SessionConfig())


def test_an_absent_field_stays_as_it_was() -> None:
    """Updates add up: each changes what it names."""
    config = update(SessionConfig(), instructions="Be brief.", tools=[TOOL])
    config = config.updated(spoken(voice="marin", speed=1.25))
    config = config.updated(heard(turn_detection={"type": "server_vad", "threshold": 0.7}))
    assert update(config) == config
    assert config.instructions == "Be brief."
    assert config.tools == (TOOL,)
    assert (config.voice, config.speed) == ("marin", 1.25)
    assert config.turn_detection == ServerVad(threshold=0.7)
    assert_valid(config)


@pytest.mark.parametrize("empty", [None, "", []])
def test_null_and_empty_values_clear(empty: Any) -> None:
    """Every way of saying "nothing" takes a setting back to its default."""
    config = update(SessionConfig(), instructions="Be brief.", tools=[TOOL])
    field = "tools" if empty == [] else "instructions"
    cleared = update(config, **{field: empty})
    assert not getattr(cleared, field)


def test_null_takes_every_field_back_to_its_default() -> None:
    """All fields at once, `turn_detection` being the one that null turns off."""
    config = SessionConfig().updated(
        {
            "type": "realtime",
            "output_modalities": ["text"],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_output_tokens": 7,
            "tracing": "auto",
            "truncation": "disabled",
            "prompt": {"id": "pmpt_1", "version": "2"},
            "include": ["item.input_audio_transcription.logprobs"],
            "reasoning": {"effort": "low"},
            "audio": {
                "input": {
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": {"type": "near_field"},
                },
                "output": {"voice": "ash", "speed": 0.5},
            },
        }
    )
    assert_valid(config)
    names = (
        "output_modalities tool_choice parallel_tool_calls max_output_tokens tracing "
        "truncation prompt include reasoning"
    )
    nulls: dict[str, Any] = dict.fromkeys(names.split())
    listening = dict.fromkeys(
        ("format", "transcription", "noise_reduction", "turn_detection"), None
    )
    speaking = dict.fromkeys(("format", "voice", "speed"), None)
    cleared = update(config, **nulls, audio={"input": listening, "output": speaking})
    assert cleared == SessionConfig(turn_detection=None)
    assert update(config, audio=None) == config
    assert_valid(cleared)


def test_turn_detection_is_filled_in() -> None:
    """A bare type gets all its defaults: clients read `interrupt_response` back."""
    config = SessionConfig().updated(heard(turn_detection={"type": "semantic_vad"}))
    assert config.turn_detection == SemanticVad()
    assert shown(config)["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    config = config.updated(
        heard(turn_detection={"type": "server_vad", "create_response": False})
    )
    assert config.turn_detection == ServerVad(create_response=False)


def test_transcription_changes_key_by_key() -> None:
    """What one update leaves out, an earlier one has said; unknown keys are not shown."""
    config = SessionConfig().updated(heard(transcription={"language": "en", "delay": "low"}))
    assert config.transcription == {"model": "default", "language": "en"}
    config = config.updated(heard(transcription={"model": "gpt-4o-mini-transcribe"}))
    assert config.transcription == {"model": "gpt-4o-mini-transcribe", "language": "en"}
    config = config.updated(heard(transcription={"language": None}))
    assert config.transcription == {"model": "gpt-4o-mini-transcribe"}
    assert SessionConfig().updated(heard(transcription={})).transcription == {
        "model": "default"
    }


def test_noise_reduction_keeps_its_strength_and_an_empty_one_is_none() -> None:
    """Naming another type preserves the strength."""
    config = SessionConfig().updated(
        heard(noise_reduction={"type": "near_field", "strength": 0.5})
    )
    config = config.updated(heard(noise_reduction={"type": "far_field"}))
    assert config.noise_reduction == {"type": "far_field", "strength": 0.5}
    assert SessionConfig().updated(heard(noise_reduction={})).noise_reduction is None


def test_unknown_names_and_fields_are_taken_as_they_come() -> None:
    """Voices and models belong to the nodes; foreign keys are nobody's business."""
    config = SessionConfig().updated(
        {
            "type": "realtime",
            "model": "gpt-realtime-9",
            "id": "sess_other",
            "expires_at": 1,
            "temperature": 0.8,
            "audio": {"output": {"voice": {"id": "voice_1"}}, "loudness": 11},
        }
    )
    assert config == SessionConfig(voice="voice_1", temperature=0.8)


def test_a_tool_without_a_type_is_a_function() -> None:
    """The type is optional where tools are declared; nulls are not passed on."""
    config = update(SessionConfig(), tools=[{"name": "light", "description": None}])
    assert config.tools == ({"name": "light", "type": "function"},)


def test_each_direction_has_its_format() -> None:
    """G.711 has no rate to show, and may say the one it has."""
    config = SessionConfig().updated(heard(format={"type": "audio/pcmu", "rate": 8000}))
    config = config.updated(spoken(format={"type": "audio/pcma"}))
    assert (config.input_format, config.output_format) == (
        AudioFormat("pcmu"),
        AudioFormat("pcma"),
    )
    audio = shown(config)["audio"]
    assert audio["input"]["format"] == {"type": "audio/pcmu"}
    assert audio["output"]["format"] == {"type": "audio/pcma"}
    assert_valid(config)


def test_tools_on_mcp_servers_are_declared_and_not_called() -> None:
    """They are shown as they came; a language model is given the functions alone."""
    server = {"type": "mcp", "server_label": "files", "server_url": "http://127.0.0.1/"}
    choice = {"type": "mcp", "server_label": "files"}
    config = update(SessionConfig(), tools=[TOOL, server], tool_choice=choice)
    assert shown(config)["tools"] == [TOOL, server]
    assert shown(config)["tool_choice"] == choice
    assert functions_of(config.tools) == (TOOL,)
    assert response_overrides(config, {"tool_choice": choice}).tool_choice == choice
    assert_valid(config)


def test_a_temperature_is_shown_once_it_was_set() -> None:
    """GA sessions have none, so that one that nobody set is no field of theirs."""
    assert "temperature" not in shown(SessionConfig())
    config = update(SessionConfig(), temperature=0.8)
    assert shown(config)["temperature"] == 0.8
    assert response_overrides(config, None).temperature == 0.8
    assert response_overrides(config, {"temperature": 1}).temperature == 1.0
    assert update(config, temperature=None).temperature is None


# --- transcription -------------------------------------------------------------------------


def test_a_transcription_session_shows_how_it_listens_and_nothing_else() -> None:
    """Its turn detection says nothing about answers; its transcription is always on."""
    assert shown(initial("transcription")) == {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": "sess_1",
        "expires_at": 1_800_000_000,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "default"},
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                },
            }
        },
    }
    assert initial() == SessionConfig()
    assert_valid(initial("transcription"))


def test_a_session_may_become_a_transcription_before_it_has_spoken() -> None:
    """What was said about answers is forgotten, what was said about listening stays."""
    realtime = SessionConfig(instructions="Be brief.", input_format=AudioFormat("pcma"))
    include = ["item.input_audio_transcription.logprobs"]
    detection = {"type": "semantic_vad", "eagerness": "high"}
    given = {
        "type": "transcription",
        "include": include,
        "audio": {"input": {"turn_detection": detection}},
    }
    config = realtime.updated(given)
    assert config == SessionConfig(
        type="transcription",
        include=tuple(include),
        input_format=AudioFormat("pcma"),
        transcription={"model": "default"},
        turn_detection=SemanticVad("high", create_response=False, interrupt_response=False),
    )
    assert shown(config)["audio"]["input"]["turn_detection"] == detection
    assert config.updated({"type": "transcription"}) == config
    assert_valid(config)
    with pytest.raises(ProtocolError, match="'transcription'") as caught:
        config.updated({"type": "realtime"})
    assert caught.value.param == "session.type"
    with pytest.raises(ProtocolError):
        realtime.updated(given, voice_locked=True)


def test_a_transcription_cannot_be_turned_off_where_there_is_nothing_else() -> None:
    """Null means the default."""
    off = {"type": "transcription", "audio": {"input": {"transcription": None}}}
    config = initial("transcription").updated(off)
    assert config.transcription == {"model": "default"}


# --- strict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"loudness": 11}, "session.loudness"),
        ({"audio": {"noise": {}}}, "session.audio.noise"),
        ({"audio": {"input": {"gain": 1}}}, "session.audio.input.gain"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "mood": 1}}}},
            "session.audio.input.turn_detection.mood",
        ),
        ({"tools": [TOOL, {**TOOL, "strict": True}]}, "session.tools[1].strict"),
        ({"modalities": ["text"]}, "session.modalities"),
    ],
)
def test_strictness_refuses_what_the_protocol_does_not_know(
    session: dict[str, Any], param: str
) -> None:
    """By its path; without it, the field is nobody's business."""
    given = {"type": "realtime", **session}
    with pytest.raises(ProtocolError) as caught:
        SessionConfig().updated(given, strict=True)
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", param)
    SessionConfig().updated(given)


def test_strictness_takes_all_that_the_protocol_knows() -> None:
    """What a session shows can be sent back; parameters and metadata hold what they like."""
    config = SessionConfig(tools=({**TOOL, "parameters": {"anything": {"goes": 1}}},))
    config = update(config, tracing={"metadata": {"any": 1}}, temperature=1.0)
    assert config.updated(shown(config), strict=True) == config
    listening = initial("transcription")
    assert listening.updated(shown(listening), strict=True) == listening
    given = {"metadata": {"topic": "x"}, "input": [{"type": "item_reference", "id": "i"}]}
    assert response_overrides(config, given, strict=True).metadata == {"topic": "x"}
    with pytest.raises(ProtocolError, match=r"response\.volume"):
        response_overrides(config, {"volume": 1}, strict=True)


WRONG_UPDATES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing_required_parameter", "session.type"),
    ({"type": None}, "missing_required_parameter", "session.type"),
    ({"type": "translation"}, "invalid_value", "session.type"),
    ({"type": 5}, "invalid_type", "session.type"),
    ({"type": "realtime", "instructions": 5}, "invalid_type", "session.instructions"),
    (
        {"type": "realtime", "output_modalities": ["text", "audio"]},
        "invalid_value",
        "session.output_modalities",
    ),
    (
        {"type": "realtime", "output_modalities": ["smell"]},
        "invalid_value",
        "session.output_modalities[0]",
    ),
    ({"type": "realtime", "tools": {}}, "invalid_type", "session.tools"),
    ({"type": "realtime", "tools": [TOOL, 1]}, "invalid_type", "session.tools[1]"),
    (
        {"type": "realtime", "tools": [{"type": "function", "function": {"name": "light"}}]},
        "missing_required_parameter",
        "session.tools[0].name",
    ),
    (
        {"type": "realtime", "tools": [{**TOOL, "name": ""}]},
        "string_below_min_length",
        "session.tools[0].name",
    ),
    (
        {"type": "realtime", "tools": [{"type": "plugin", "name": "x"}]},
        "invalid_value",
        "session.tools[0].type",
    ),
    (
        {"type": "realtime", "tools": [{"type": "mcp"}]},
        "missing_required_parameter",
        "session.tools[0].server_label",
    ),
    ({"type": "realtime", "tools": [TOOL] * 129}, "array_above_max_length", "session.tools"),
    (
        {"type": "realtime", "tool_choice": {"type": "mcp"}},
        "missing_required_parameter",
        "session.tool_choice.server_label",
    ),
    (
        {"type": "realtime", "temperature": 2.5},
        "decimal_above_max_value",
        "session.temperature",
    ),
    (
        {"type": "realtime", "tools": [{**TOOL, "parameters": "{}"}]},
        "invalid_type",
        "session.tools[0].parameters",
    ),
    ({"type": "realtime", "tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
    (
        {"type": "realtime", "tool_choice": {"type": "function"}},
        "missing_required_parameter",
        "session.tool_choice.name",
    ),
    (
        {"type": "realtime", "parallel_tool_calls": "no"},
        "invalid_type",
        "session.parallel_tool_calls",
    ),
    (
        {"type": "realtime", "max_output_tokens": 0},
        "integer_below_min_value",
        "session.max_output_tokens",
    ),
    (
        {"type": "realtime", "max_output_tokens": 4097},
        "integer_above_max_value",
        "session.max_output_tokens",
    ),
    (
        {"type": "realtime", "max_output_tokens": "many"},
        "invalid_value",
        "session.max_output_tokens",
    ),
    (
        {"type": "realtime", "max_output_tokens": True},
        "invalid_type",
        "session.max_output_tokens",
    ),
    ({"type": "realtime", "tracing": "on"}, "invalid_value", "session.tracing"),
    (
        {"type": "realtime", "tracing": {"group_id": 1}},
        "invalid_type",
        "session.tracing.group_id",
    ),
    ({"type": "realtime", "truncation": "some"}, "invalid_value", "session.truncation"),
    (
        {"type": "realtime", "truncation": {"type": "retention_ratio", "retention_ratio": 2}},
        "decimal_above_max_value",
        "session.truncation.retention_ratio",
    ),
    (
        {"type": "realtime", "prompt": {"version": "1"}},
        "missing_required_parameter",
        "session.prompt.id",
    ),
    ({"type": "realtime", "include": ["all"]}, "invalid_value", "session.include[0]"),
    (
        {"type": "realtime", "reasoning": {"effort": "huge"}},
        "invalid_value",
        "session.reasoning.effort",
    ),
    ({"type": "realtime", "audio": []}, "invalid_type", "session.audio"),
    ({"type": "realtime", "audio": {"input": 1}}, "invalid_type", "session.audio.input"),
    (heard(format="pcm16"), "invalid_type", "session.audio.input.format"),
    (
        heard(format={"type": "audio/pcm", "rate": 16000}),
        "integer_below_min_value",
        "session.audio.input.format.rate",
    ),
    (
        heard(format={"type": "audio/pcm", "rate": 48000}),
        "integer_above_max_value",
        "session.audio.input.format.rate",
    ),
    (
        heard(format={"type": "audio/pcmu", "rate": 24000}),
        "integer_above_max_value",
        "session.audio.input.format.rate",
    ),
    (
        spoken(format={"type": "audio/mpeg"}),
        "invalid_value",
        "session.audio.output.format.type",
    ),
    (heard(transcription="whisper-1"), "invalid_type", "session.audio.input.transcription"),
    (
        heard(transcription={"model": 1}),
        "invalid_type",
        "session.audio.input.transcription.model",
    ),
    (
        heard(noise_reduction={"type": "loud"}),
        "invalid_value",
        "session.audio.input.noise_reduction.type",
    ),
    (
        heard(turn_detection={"threshold": 0.5}),
        "missing_required_parameter",
        "session.audio.input.turn_detection.type",
    ),
    (
        heard(turn_detection={"type": "psychic_vad"}),
        "invalid_value",
        "session.audio.input.turn_detection.type",
    ),
    (
        heard(turn_detection={"type": "server_vad", "threshold": 1.5}),
        "decimal_above_max_value",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        heard(turn_detection={"type": "server_vad", "threshold": "0.5"}),
        "invalid_type",
        "session.audio.input.turn_detection.threshold",
    ),
    (
        heard(turn_detection={"type": "server_vad", "silence_duration_ms": -1}),
        "integer_below_min_value",
        "session.audio.input.turn_detection.silence_duration_ms",
    ),
    (
        heard(turn_detection={"type": "server_vad", "prefix_padding_ms": 300.5}),
        "invalid_type",
        "session.audio.input.turn_detection.prefix_padding_ms",
    ),
    (
        heard(turn_detection={"type": "server_vad", "idle_timeout_ms": 4999}),
        "integer_below_min_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
    ),
    (
        heard(turn_detection={"type": "semantic_vad", "eagerness": "max"}),
        "invalid_value",
        "session.audio.input.turn_detection.eagerness",
    ),
    (spoken(voice=5), "invalid_type", "session.audio.output.voice"),
    (spoken(voice={}), "missing_required_parameter", "session.audio.output.voice.id"),
    (spoken(speed=0.2), "decimal_below_min_value", "session.audio.output.speed"),
    (spoken(speed=True), "invalid_type", "session.audio.output.speed"),
]


@pytest.mark.parametrize(("session", "code", "param"), WRONG_UPDATES)
def test_a_wrong_field_is_named(session: dict[str, Any], code: str, param: str) -> None:
    """Code and path say what is wrong and where."""
    with pytest.raises(ProtocolError) as caught:
        SessionConfig().updated(session)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_the_voice_is_locked_once_heard() -> None:
    """Another voice is refused; saying the same one again is not a change."""
    config = SessionConfig(voice="ash")
    assert config.updated(spoken(voice="ash"), voice_locked=True) == config
    with pytest.raises(ProtocolError) as caught:
        config.updated(spoken(voice="marin"), voice_locked=True)
    assert caught.value.code == "cannot_update_voice"


_scalars = st.one_of(st.none(), st.booleans(), st.integers(-1, 5000), st.floats(0, 2))
_values = st.recursive(
    _scalars | st.text(max_size=8) | st.sampled_from(["auto", "none", "inf", "low"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
_vad = st.fixed_dictionaries(
    {"type": st.sampled_from(["server_vad", "semantic_vad"]) | _values},
    optional=dict.fromkeys(
        ("threshold", "silence_duration_ms", "idle_timeout_ms", "eagerness"), _values
    ),
)
_sessions = st.fixed_dictionaries(
    {"type": st.sampled_from(["realtime", "realtime", "realtime", "transcription"])},
    optional={
        **dict.fromkeys(
            (
                "instructions",
                "include",
                "max_output_tokens",
                "parallel_tool_calls",
                "tool_choice",
                "tracing",
                "truncation",
            ),
            _values,
        ),
        "output_modalities": st.lists(st.sampled_from(["audio", "text"]), max_size=2),
        "reasoning": st.dictionaries(st.just("effort"), _values),
        "tools": st.lists(
            st.fixed_dictionaries({"name": _values}, optional={"parameters": _values}),
            max_size=2,
        ),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": st.none() | _vad,
                        "transcription": st.dictionaries(
                            st.sampled_from(["model", "prompt", "language", "delay"]),
                            _values,
                        ),
                    },
                ),
                "output": st.fixed_dictionaries(
                    {}, optional={"voice": _values, "speed": _values}
                ),
            },
        ),
    },
)


@given(st.lists(_sessions, max_size=3))
def test_whatever_is_accepted_is_shown_as_the_protocol_has_it(
    updates: list[dict[str, Any]],
) -> None:
    """An update is refused in the protocol's words, or its result is a valid session."""
    config = SessionConfig()
    refused: list[str] = []
    for session in updates:
        try:
            config = config.updated(session)
        except ProtocolError as problem:
            refused.append(str(problem.param))
    assert all(param.startswith("session.") for param in refused)
    assert_valid(config)


# --- one response --------------------------------------------------------------------------


def test_a_response_inherits_the_session() -> None:
    """No object, an empty one, and one of nulls all leave the session's settings."""
    session = update(
        SessionConfig(voice="ash", speed=1.5),
        instructions="Be brief.",
        tools=[TOOL],
        max_output_tokens=9,
    )
    plain = response_overrides(session, None)
    names = "instructions tools tool_choice max_output_tokens output_modalities metadata input"
    nulls: dict[str, Any] = dict.fromkeys(names.split())
    assert response_overrides(session, {}) == plain
    assert response_overrides(session, nulls) == plain
    assert (plain.voice, plain.speed, plain.instructions) == ("ash", 1.5, "Be brief.")
    assert (plain.tools, plain.tool_choice, plain.max_output_tokens) == ((TOOL,), "auto", 9)
    assert (plain.conversation, plain.input, plain.metadata) == ("auto", None, None)
    assert plain.parallel_tool_calls is True
    assert plain.max_output_tokens_json() == 9
    assert response_overrides(SessionConfig(), None).max_output_tokens_json() == "inf"


def test_a_response_overrides_the_session() -> None:
    """Each field of `response.create` wins over the session's."""
    item = {"type": "item_reference", "id": "item_1"}
    response = response_overrides(
        SessionConfig(instructions="Be brief.", tools=(TOOL,), max_output_tokens=9),
        {
            "audio": {"output": {"voice": "marin", "format": {"type": "audio/pcm"}}},
            "conversation": "none",
            "input": [item],
            "instructions": "",
            "max_output_tokens": "inf",
            "metadata": {"topic": "classification"},
            "output_modalities": ["text"],
            "parallel_tool_calls": False,
            "tool_choice": {"type": "function", "name": "light"},
        },
    )
    assert response.voice == "marin"
    assert response.output_format == AudioFormat()
    assert response.conversation == "none"
    assert response.input == (item,)
    assert response.instructions == ""
    assert response.max_output_tokens is None
    assert response.metadata == {"topic": "classification"}
    assert response.output_modality == "text"
    assert response.parallel_tool_calls is False
    assert response.tool_choice == {"type": "function", "name": "light"}
    assert response.tools == (TOOL,)
    assert response_overrides(SessionConfig(tools=(TOOL,)), {"tools": []}).tools == ()


WRONG_RESPONSES: list[tuple[dict[str, Any], str, str]] = [
    ({"conversation": "other"}, "invalid_value", "response.conversation"),
    ({"input": {}}, "invalid_type", "response.input"),
    ({"input": ["hello"]}, "invalid_type", "response.input[0]"),
    ({"input": [{}]}, "missing_required_parameter", "response.input[0].type"),
    ({"instructions": []}, "invalid_type", "response.instructions"),
    ({"max_output_tokens": 1.5}, "invalid_type", "response.max_output_tokens"),
    ({"metadata": "x"}, "invalid_type", "response.metadata"),
    ({"metadata": {"n": 1}}, "invalid_type", "response.metadata.n"),
    ({"metadata": {"n": "x" * 513}}, "string_above_max_length", "response.metadata.n"),
    ({"metadata": {"n" * 65: "x"}}, "string_above_max_length", "response.metadata"),
    (
        {"metadata": {str(n): "" for n in range(17)}},
        "object_above_max_properties",
        "response.metadata",
    ),
    ({"output_modalities": "text"}, "invalid_type", "response.output_modalities"),
    ({"parallel_tool_calls": 1}, "invalid_type", "response.parallel_tool_calls"),
    (
        {"tool_choice": {"type": "function", "name": "dark"}},
        "invalid_value",
        "response.tool_choice",
    ),
    ({"tools": [{}]}, "missing_required_parameter", "response.tools[0].name"),
    ({"audio": {"output": {"voice": 1}}}, "invalid_type", "response.audio.output.voice"),
    (
        {"audio": {"output": {"format": {"type": "audio/opus"}}}},
        "invalid_value",
        "response.audio.output.format.type",
    ),
]


@pytest.mark.parametrize(("response", "code", "param"), WRONG_RESPONSES)
def test_a_wrong_field_of_a_response_is_named(
    response: dict[str, Any], code: str, param: str
) -> None:
    """Code and path say what is wrong and where."""
    with pytest.raises(ProtocolError) as caught:
        response_overrides(SessionConfig(tools=(TOOL,)), response)
    assert (caught.value.code, caught.value.param) == (code, param)
