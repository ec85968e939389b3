"""What a session is set to, what `session.update` makes of it, and what one response overrides.

A session's configuration is a frozen value. An update either gives a whole new one or raises
the first thing wrong with it, so that half an update can never take effect. Fields that the
protocol does not know are ignored, and so are `id`, `object` and `model` (a session's model is
fixed); names of voices and transcription models are taken as they come, for it is the nodes
that know theirs.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast

import attrs
from attrs import frozen

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import (
    Fields,
    a_boolean,
    a_name,
    a_number,
    a_string,
    an_array_of,
    an_integer,
    an_object,
    one_of,
)

Modality: TypeAlias = Literal["audio", "text"]

SAMPLE_RATE: Final = 24_000
"""The one rate of `audio/pcm`, in Hz."""

DEFAULT_VOICE: Final = "alloy"

OUTPUT_TOKENS: Final = (1, 4096)
SPEED: Final = (0.25, 1.5)
IDLE_TIMEOUT_MS: Final = (5_000, 30_000)

PREFIX_PADDING_MS: Final = (0, 5_000)
"""The speech monitor keeps this much audio of every session that is silent: 5 s are 320 kB."""

SILENCE_DURATION_MS: Final = (0, 60_000)
"""Nobody waits for an answer longer than that; the protocol itself names no maximum."""

METADATA_PAIRS: Final = 16
METADATA_KEY_LENGTH: Final = 64
METADATA_VALUE_LENGTH: Final = 512


@frozen
class AudioFormat:
    """How audio is written on the wire: mono PCM16, little endian, at `rate` Hz."""

    type: str = "audio/pcm"
    rate: int = SAMPLE_RATE

    def to_json(self) -> Json:
        """The object the protocol shows."""
        return {"type": self.type, "rate": self.rate}


@frozen
class ServerVad:
    """A turn ends after a fixed silence. Times in ms; `threshold` in [0, 1]."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    create_response: bool = True
    interrupt_response: bool = True

    def to_json(self) -> Json:
        """The object the protocol shows."""
        return {"type": "server_vad", **attrs.asdict(self)}


@frozen
class SemanticVad:
    """A turn ends when it sounds finished; `eagerness` bounds the wait."""

    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    def to_json(self) -> Json:
        """The object the protocol shows."""
        return {"type": "semantic_vad", **attrs.asdict(self)}


TurnDetection: TypeAlias = ServerVad | SemanticVad


@frozen
class SessionConfig:
    """All settings of a session of type `realtime`, in effect.

    `tools`, `tracing`, `truncation`, `prompt`, `reasoning`, `transcription` and
    `noise_reduction` keep the JSON that the client sent, checked. `max_output_tokens` None is
    the protocol's `inf`; `parallel_tool_calls` and `reasoning` None were never set, and are not
    shown.
    """

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
    input_format: AudioFormat = AudioFormat()
    transcription: Json | None = None
    noise_reduction: Json | None = None
    turn_detection: TurnDetection | None = ServerVad()
    output_format: AudioFormat = AudioFormat()
    voice: str = DEFAULT_VOICE
    speed: float = 1.0

    def updated(self, session: Json, *, voice_locked: bool = False) -> SessionConfig:
        """This configuration after a `session.update`.

        An absent field stays as it is, null sets it back to its default (which for
        `turn_detection` is not so: null turns it off).

        Args:
            session: The event's `session`.
            voice_locked: The session has spoken; its voice can no longer change.

        Raises:
            ProtocolError: A field is wrong; nothing has changed.
        """
        top = Fields(session, "session")
        top.require("type", one_of("realtime"))
        audio = top.nested("audio")
        heard, spoken = audio.nested("input"), audio.nested("output")
        voice = spoken.get("voice", _a_voice, absent=self.voice, null=DEFAULT_VOICE)
        if voice_locked and voice != self.voice:
            raise problems.cannot_update_voice()
        return SessionConfig(
            output_modality=top.get(
                "output_modalities", _a_modality, absent=self.output_modality, null="audio"
            ),
            instructions=top.get("instructions", a_string, absent=self.instructions, null=""),
            tools=top.get("tools", _tools, absent=self.tools, null=()),
            tool_choice=top.get(
                "tool_choice", _a_tool_choice, absent=self.tool_choice, null="auto"
            ),
            parallel_tool_calls=top.get(
                "parallel_tool_calls", a_boolean, absent=self.parallel_tool_calls, null=None
            ),
            max_output_tokens=top.get(
                "max_output_tokens", _max_tokens, absent=self.max_output_tokens, null=None
            ),
            tracing=top.get("tracing", _tracing, absent=self.tracing, null=None),
            truncation=top.get("truncation", _truncation, absent=self.truncation, null="auto"),
            prompt=top.get("prompt", _a_prompt, absent=self.prompt, null=None),
            include=top.get("include", _include, absent=self.include, null=None),
            reasoning=top.get("reasoning", an_object, absent=self.reasoning, null=None),
            input_format=heard.get(
                "format", _a_format, absent=self.input_format, null=AudioFormat()
            ),
            transcription=_merged(
                heard, "transcription", self.transcription, _transcription_fields
            ),
            noise_reduction=_merged(
                heard, "noise_reduction", self.noise_reduction, _noise_reduction_fields
            ),
            turn_detection=heard.get(
                "turn_detection", _turn_detection, absent=self.turn_detection, null=None
            ),
            output_format=spoken.get(
                "format", _a_format, absent=self.output_format, null=AudioFormat()
            ),
            voice=voice,
            speed=spoken.get("speed", a_number(*SPEED), absent=self.speed, null=1.0),
        )

    def to_json(self, *, session_id: str, model: str, expires_at: int) -> Json:
        """The `session` of `session.created` and `session.updated`: everything in effect.

        Args:
            session_id: The session's id.
            model: The model the client asked for when it connected.
            expires_at: When the session ends at the latest, Unix time in seconds.
        """
        turn_detection = self.turn_detection
        shown: Json = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": [self.output_modality],
            "instructions": self.instructions,
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": _tokens_json(self.max_output_tokens),
            "tracing": self.tracing,
            "truncation": self.truncation,
            "prompt": self.prompt,
            "expires_at": expires_at,
            "include": None if self.include is None else list(self.include),
            "audio": {
                "input": {
                    "format": self.input_format.to_json(),
                    "transcription": self.transcription,
                    "noise_reduction": self.noise_reduction,
                    "turn_detection": turn_detection and turn_detection.to_json(),
                },
                "output": {
                    "format": self.output_format.to_json(),
                    "voice": self.voice,
                    "speed": self.speed,
                },
            },
        }
        if self.parallel_tool_calls is not None:
            shown["parallel_tool_calls"] = self.parallel_tool_calls
        if self.reasoning is not None:
            shown["reasoning"] = self.reasoning
        return shown


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

    def max_output_tokens_json(self) -> int | Literal["inf"]:
        """`max_output_tokens` as a response object shows it."""
        return _tokens_json(self.max_output_tokens)


def response_overrides(config: SessionConfig, response: Json | None) -> ResponseConfig:
    """What holds for one response: the fields of a `response.create` over the session's.

    Absent and null both leave the session's setting. Without a `response` nothing is checked
    and nothing can fail.

    Raises:
        ProtocolError: A field is wrong, with its path from ``response.`` on.
    """
    top = Fields({} if response is None else response, "response")
    spoken = top.nested("audio").nested("output")

    tools = top.get("tools", _tools, absent=config.tools, null=config.tools)
    tool_choice = top.get("tool_choice", _a_tool_choice, absent=None, null=None)
    if isinstance(tool_choice, dict):
        _check_declared(tool_choice["name"], tools)
    conversation = top.get("conversation", one_of("auto", "none"), absent="auto", null="auto")
    max_output_tokens = config.max_output_tokens
    return ResponseConfig(
        conversation=cast("Literal['auto', 'none']", conversation),
        input=top.get("input", an_array_of(_typed_object), absent=None, null=None),
        instructions=top.get(
            "instructions", a_string, absent=config.instructions, null=config.instructions
        ),
        max_output_tokens=top.get(
            "max_output_tokens", _max_tokens, absent=max_output_tokens, null=max_output_tokens
        ),
        metadata=top.get("metadata", _metadata, absent=None, null=None),
        output_modality=top.get(
            "output_modalities",
            _a_modality,
            absent=config.output_modality,
            null=config.output_modality,
        ),
        parallel_tool_calls=top.get(
            "parallel_tool_calls",
            a_boolean,
            absent=config.parallel_tool_calls is not False,
            null=config.parallel_tool_calls is not False,
        ),
        tool_choice=config.tool_choice if tool_choice is None else tool_choice,
        tools=tools,
        output_format=spoken.get(
            "format", _a_format, absent=config.output_format, null=config.output_format
        ),
        voice=spoken.get("voice", _a_voice, absent=config.voice, null=config.voice),
        speed=config.speed,
    )


# --- what the values mean ------------------------------------------------------------------


def _a_modality(value: Any, path: str) -> Modality:
    names = an_array_of(one_of("audio", "text"))(value, path)
    if len(set(names)) > 1:
        raise problems.invalid_combination(path, names, (("text",), ("audio",)))
    return cast("Modality", names[0]) if names else "audio"


def _max_tokens(value: Any, path: str) -> int | None:
    if value == "inf":
        return None
    if isinstance(value, str):
        raise problems.invalid_value(path, value, ("inf",))
    return an_integer(*OUTPUT_TOKENS)(value, path)


def _tokens_json(limit: int | None) -> int | Literal["inf"]:
    return "inf" if limit is None else limit


def _a_voice(value: Any, path: str) -> str:
    if isinstance(value, dict):
        return Fields(value, path).require("id", a_name)
    return a_string(value, path) or DEFAULT_VOICE


def _a_format(value: Any, path: str) -> AudioFormat:
    fields = Fields(an_object(value, path), path)
    known = one_of("audio/pcm", "audio/pcmu", "audio/pcma")
    kind = fields.get("type", known, absent="audio/pcm", null="audio/pcm")
    if kind != "audio/pcm":
        raise problems.unsupported_value(
            fields.path_of("type"), kind, "This server carries audio/pcm only."
        )
    rate = an_integer(SAMPLE_RATE, SAMPLE_RATE)
    return AudioFormat(kind, fields.get("rate", rate, absent=SAMPLE_RATE, null=SAMPLE_RATE))


def _turn_detection(value: Any, path: str) -> TurnDetection:
    fields = Fields(an_object(value, path), path)
    if fields.require("type", one_of("server_vad", "semantic_vad")) == "semantic_vad":
        eagerness = one_of("low", "medium", "high", "auto")
        return SemanticVad(
            eagerness=fields.get("eagerness", eagerness, absent="auto", null="auto"),
            create_response=_switch(fields, "create_response"),
            interrupt_response=_switch(fields, "interrupt_response"),
        )
    usual = ServerVad()
    return ServerVad(
        threshold=fields.get(
            "threshold", a_number(0.0, 1.0), absent=usual.threshold, null=usual.threshold
        ),
        prefix_padding_ms=fields.get(
            "prefix_padding_ms",
            an_integer(*PREFIX_PADDING_MS),
            absent=usual.prefix_padding_ms,
            null=usual.prefix_padding_ms,
        ),
        silence_duration_ms=fields.get(
            "silence_duration_ms",
            an_integer(*SILENCE_DURATION_MS),
            absent=usual.silence_duration_ms,
            null=usual.silence_duration_ms,
        ),
        idle_timeout_ms=fields.get(
            "idle_timeout_ms", an_integer(*IDLE_TIMEOUT_MS), absent=None, null=None
        ),
        create_response=_switch(fields, "create_response"),
        interrupt_response=_switch(fields, "interrupt_response"),
    )


def _switch(fields: Fields, name: str) -> bool:
    return fields.get(name, a_boolean, absent=True, null=True)


# Only what clients are known to read back is kept: some refuse a session whose `transcription`
# has any other key.
_transcription_fields = {"model": a_string, "language": a_string, "prompt": a_string}

_noise_reduction_fields = {
    "type": one_of("near_field", "far_field"),
    "strength": a_number(0.0, 1.0),
}


def _merged(
    parent: Fields, name: str, current: Json | None, checks: dict[str, Any]
) -> Json | None:
    """An object that is updated key by key; null, or an object left empty, turns it off."""
    given = parent.get(name, an_object, absent=None, null=None)
    if given is None:
        return None if name in parent.data else current
    fields = Fields(given, parent.path_of(name))
    merged = dict(current or {})
    for key, check in checks.items():
        merged[key] = fields.get(key, check, absent=merged.get(key), null=None)
    return {key: value for key, value in merged.items() if value is not None} or None


def _tool(value: Any, path: str) -> Json:
    tool = Fields(an_object(value, path), path)
    # Tools of other kinds would be called by the server itself, which it does not do.
    tool.get("type", one_of("function"), absent="function", null="function")
    tool.require("name", a_name)
    tool.get("description", a_string, absent=None, null=None)
    tool.get("parameters", an_object, absent=None, null=None)
    return {**tool.data, "type": "function"}


_tools = an_array_of(_tool)


def _a_tool_choice(value: Any, path: str) -> str | Json:
    if not isinstance(value, dict):
        return one_of("none", "auto", "required")(value, path)
    choice = Fields(value, path)
    choice.require("type", one_of("function"))
    return {"type": "function", "name": choice.require("name", a_name)}


def _check_declared(name: str, tools: tuple[Json, ...]) -> None:
    if all(tool["name"] != name for tool in tools):
        raise problems.undeclared_tool("response.tool_choice", name)


def _tracing(value: Any, path: str) -> str | Json:
    return value if isinstance(value, dict) else one_of("auto")(value, path)


def _truncation(value: Any, path: str) -> str | Json:
    if not isinstance(value, dict):
        return one_of("auto", "disabled")(value, path)
    fields = Fields(value, path)
    fields.require("type", one_of("retention_ratio"))
    fields.require("retention_ratio", a_number(0.0, 1.0))
    return value


def _a_prompt(value: Any, path: str) -> Json:
    Fields(an_object(value, path), path).require("id", a_name)
    return cast("Json", value)


_include = an_array_of(one_of("item.input_audio_transcription.logprobs"))


def _typed_object(value: Any, path: str) -> Json:
    Fields(an_object(value, path), path).require("type", a_name)
    return cast("Json", value)


def _metadata(value: Any, path: str) -> dict[str, str]:
    pairs = Fields(an_object(value, path), path)
    if len(pairs.data) > METADATA_PAIRS:
        raise problems.too_many_properties(path, METADATA_PAIRS, len(pairs.data))
    for key in pairs.data:
        if len(key) > METADATA_KEY_LENGTH:
            raise problems.string_too_long(path, METADATA_KEY_LENGTH, len(key))
        text = a_string(pairs.data[key], pairs.path_of(key))
        if len(text) > METADATA_VALUE_LENGTH:
            raise problems.string_too_long(pairs.path_of(key), METADATA_VALUE_LENGTH, len(text))
    return pairs.data
