"""What a session is set to, what `session.update` makes of it, and what one response overrides.

A session's configuration is a frozen value. An update either gives a whole new one or raises
the first thing wrong with it, so that half an update can never take effect. Fields that the
protocol does not know are ignored, unless the session is strict, and so are `id`, `object` and
`model` (a session's model is fixed).

A session of type `transcription` has the settings of listening and no others: what concerns
answers is neither read nor shown.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

from attrs import evolve, field, frozen

from trio_bridge.realtime import known, problems, values
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import (
    Fields,
    a_boolean,
    a_number,
    a_string,
    an_array_of,
    one_of,
)
from trio_bridge.realtime.values import (
    AudioFormat,
    Modality,
    SemanticVad,
    ServerVad,
    TurnDetection,
)

__all__ = [
    "AudioFormat",
    "Kind",
    "Modality",
    "ResponseConfig",
    "SemanticVad",
    "ServerVad",
    "SessionConfig",
    "TurnDetection",
    "initial",
    "response_overrides",
]

Kind: TypeAlias = Literal["realtime", "transcription"]

LOGPROBS = "item.input_audio_transcription.logprobs"
"""What `include` may ask for."""


@frozen
class SessionConfig:
    """All settings of a session, in effect.

    What is `Json` here is as the client sent it, checked. `max_output_tokens` None is the
    protocol's `inf`; `parallel_tool_calls`, `reasoning` and `temperature` None were never set,
    and are not shown. A `transcription` that is on has a `model`.
    """

    type: Kind = "realtime"
    output_modality: Modality = "audio"
    instructions: str = ""
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json = "auto"
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    tracing: str | Json | None = None
    truncation: str | Json = "auto"
    prompt: Json | None = None
    include: tuple[str, ...] | None = None
    reasoning: Json | None = None
    temperature: float | None = None
    input_format: AudioFormat = field(factory=AudioFormat)
    transcription: Json | None = None
    noise_reduction: Json | None = None
    turn_detection: TurnDetection | None = field(factory=ServerVad)
    output_format: AudioFormat = field(factory=AudioFormat)
    voice: str = values.DEFAULT_VOICE
    speed: float = 1.0

    def updated(
        self, session: Json, *, voice_locked: bool = False, strict: bool = False
    ) -> SessionConfig:
        """This configuration after a `session.update`.

        An absent field stays as it is; null sets it back to its default, but turns
        `turn_detection` off. `transcription` and `noise_reduction` change key by key, all
        other objects as a whole. A session that has not spoken may become one of type
        `transcription`; there is no way back.

        Args:
            session: The event's `session`.
            voice_locked: The session has spoken; its voice can no longer change.
            strict: A field that the protocol does not know is an error.

        Raises:
            ProtocolError: A field is wrong; nothing has changed.
        """
        if strict:
            known.refuse_unknown(session, known.SESSION, "session")
        top = Fields(session, "session")
        kinds = {"realtime", "transcription"}
        if self.type == "transcription":
            kinds.remove("realtime")
        elif voice_locked:
            kinds.remove("transcription")
        kind = top.require("type", one_of(*sorted(kinds)))
        audio = top.nested("audio")
        config = _listening(self, top, audio.nested("input"))
        if kind == "transcription":
            return _unanswering(config)
        return _answering(config, top, audio.nested("output"), voice_locked=voice_locked)

    def to_json(self, *, session_id: str, model: str, expires_at: int) -> Json:
        """The `session` of `session.created` and `session.updated`: everything in effect.

        Args:
            session_id: The session's id.
            model: The model the client asked for when it connected.
            expires_at: When the session ends at the latest, Unix time in seconds.
        """
        include = None if self.include is None else list(self.include)
        if self.type == "transcription":
            return {
                "type": "transcription",
                "object": "realtime.transcription_session",
                "id": session_id,
                "expires_at": expires_at,
                "include": include,
                "audio": {"input": self._input_json()},
            }
        shown: Json = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": [self.output_modality],
            "instructions": self.instructions,
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": values.token_limit_json(self.max_output_tokens),
            "tracing": self.tracing,
            "truncation": self.truncation,
            "prompt": self.prompt,
            "expires_at": expires_at,
            "include": include,
            "audio": {
                "input": self._input_json(),
                "output": {
                    "format": self.output_format.to_json(),
                    "voice": self.voice,
                    "speed": self.speed,
                },
            },
        }
        set_only: dict[str, Any] = {
            "parallel_tool_calls": self.parallel_tool_calls,
            "reasoning": self.reasoning,
            "temperature": self.temperature,
        }
        return shown | {name: value for name, value in set_only.items() if value is not None}

    def _input_json(self) -> Json:
        detection = self.turn_detection
        return {
            "format": self.input_format.to_json(),
            "transcription": self.transcription,
            "noise_reduction": self.noise_reduction,
            "turn_detection": detection
            and detection.to_json(answering=self.type == "realtime"),
        }


def initial(kind: Kind = "realtime") -> SessionConfig:
    """What a session of a kind begins with."""
    config = SessionConfig()
    return config if kind == "realtime" else _unanswering(config)


def _listening(config: SessionConfig, top: Fields, heard: Fields) -> SessionConfig:
    return evolve(
        config,
        include=top.get("include", values.an_include, absent=config.include, null=None),
        input_format=heard.get(
            "format", values.a_format, absent=config.input_format, null=AudioFormat()
        ),
        transcription=values.transcription_from(heard, config.transcription),
        noise_reduction=values.noise_reduction_from(heard, config.noise_reduction),
        turn_detection=heard.get(
            "turn_detection", values.a_turn_detection, absent=config.turn_detection, null=None
        ),
    )


def _unanswering(config: SessionConfig) -> SessionConfig:
    detection = config.turn_detection
    return SessionConfig(
        type="transcription",
        include=config.include,
        input_format=config.input_format,
        transcription=config.transcription or values.default_transcription(),
        noise_reduction=config.noise_reduction,
        turn_detection=detection and values.unanswering(detection),
    )


def _answering(
    config: SessionConfig, top: Fields, spoken: Fields, *, voice_locked: bool
) -> SessionConfig:
    voice = spoken.get("voice", values.a_voice, absent=config.voice, null=values.DEFAULT_VOICE)
    if voice_locked and voice != config.voice:
        raise problems.cannot_update_voice()
    return evolve(
        config,
        output_modality=top.get(
            "output_modalities",
            values.a_modality,
            absent=config.output_modality,
            null="audio",
        ),
        instructions=top.get("instructions", a_string, absent=config.instructions, null=""),
        tools=top.get("tools", values.some_tools, absent=config.tools, null=()),
        tool_choice=top.get(
            "tool_choice", values.a_tool_choice, absent=config.tool_choice, null="auto"
        ),
        parallel_tool_calls=top.get(
            "parallel_tool_calls", a_boolean, absent=config.parallel_tool_calls, null=None
        ),
        max_output_tokens=top.get(
            "max_output_tokens",
            values.a_token_limit,
            absent=config.max_output_tokens,
            null=None,
        ),
        tracing=top.get("tracing", values.a_tracing, absent=config.tracing, null=None),
        truncation=top.get(
            "truncation", values.a_truncation, absent=config.truncation, null="auto"
        ),
        prompt=top.get("prompt", values.a_prompt, absent=config.prompt, null=None),
        reasoning=top.get("reasoning", values.a_reasoning, absent=config.reasoning, null=None),
        temperature=top.get(
            "temperature", values.a_temperature, absent=config.temperature, null=None
        ),
        output_format=spoken.get(
            "format", values.a_format, absent=config.output_format, null=AudioFormat()
        ),
        voice=voice,
        speed=spoken.get("speed", a_number(*values.SPEED), absent=config.speed, null=1.0),
    )


@frozen
class ResponseConfig:
    """All settings of one response, in effect.

    `conversation` "none" keeps the response out of the conversation. `input` None answers the
    conversation as it stands; otherwise these items (or `item_reference` objects) alone, which
    `realtime.conversation` has yet to check beyond their being objects with a `type`.
    """

    conversation: Literal["auto", "none"]
    input: tuple[Json, ...] | None
    instructions: str
    max_output_tokens: int | None
    metadata: dict[str, str] | None
    output_modality: Modality
    parallel_tool_calls: bool
    tool_choice: str | Json
    tools: tuple[Json, ...]
    output_format: AudioFormat
    voice: str
    speed: float
    truncation: str | Json
    reasoning: Json | None
    temperature: float | None

    def max_output_tokens_json(self) -> int | Literal["inf"]:
        """`max_output_tokens` as a response object shows it."""
        return values.token_limit_json(self.max_output_tokens)


def response_overrides(
    config: SessionConfig, response: Json | None, *, strict: bool = False
) -> ResponseConfig:
    """What holds for one response: the fields of a `response.create` over the session's.

    Absent and null both leave the session's setting. Without a `response` nothing is checked
    and nothing can fail.

    Args:
        config: The session's settings.
        response: The event's `response`.
        strict: A field that the protocol does not know is an error.

    Raises:
        ProtocolError: A field is wrong, with its path from ``response.`` on.
    """
    if strict:
        known.refuse_unknown(response, known.RESPONSE, "response")
    top = Fields({} if response is None else response, "response")
    spoken = top.nested("audio").nested("output")

    tools = top.get_or("tools", values.some_tools, config.tools)
    tool_choice = top.get_or("tool_choice", values.a_tool_choice, None)
    if isinstance(tool_choice, dict) and tool_choice["type"] == "function":
        values.check_declared(tool_choice["name"], tools)
    conversation = top.get_or("conversation", one_of("auto", "none"), "auto")
    top.get_or("prompt", values.a_prompt, None)
    return ResponseConfig(
        conversation=cast("Literal['auto', 'none']", conversation),
        input=top.get_or("input", an_array_of(values.a_typed_object), None),
        instructions=top.get_or("instructions", a_string, config.instructions),
        max_output_tokens=top.get_or(
            "max_output_tokens", values.a_token_limit, config.max_output_tokens
        ),
        metadata=top.get_or("metadata", values.a_metadata, None),
        output_modality=top.get_or(
            "output_modalities", values.a_modality, config.output_modality
        ),
        parallel_tool_calls=top.get_or(
            "parallel_tool_calls", a_boolean, config.parallel_tool_calls is not False
        ),
        tool_choice=config.tool_choice if tool_choice is None else tool_choice,
        tools=tools,
        output_format=spoken.get_or("format", values.a_format, config.output_format),
        voice=spoken.get_or("voice", values.a_voice, config.voice),
        speed=config.speed,
        truncation=config.truncation,
        reasoning=top.get_or("reasoning", values.a_reasoning, config.reasoning),
        temperature=top.get_or("temperature", values.a_temperature, config.temperature),
    )
