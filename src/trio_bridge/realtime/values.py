"""What the values of a session's settings may be, and what they mean.

Names of voices and transcription models are taken as they come: it is the nodes that know
theirs. Each function here is a check in the sense of `realtime.fields`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
from attrs import frozen

from trio_bridge.audio.encodings import CODINGS, Coding, Encoding
from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.fields import (
    Check,
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

DEFAULT_VOICE: Final = "alloy"

DEFAULT_TRANSCRIPTION_MODEL: Final = "default"
"""What a transcription that names no model shows: whichever recogniser the dataflow has."""

OUTPUT_TOKENS: Final = (1, 4096)
SPEED: Final = (0.25, 1.5)
IDLE_TIMEOUT_MS: Final = (5_000, 30_000)

PREFIX_PADDING_MS: Final = (0, 5_000)
"""The speech monitor keeps this much audio of every session that is silent: 5 s are 320 kB."""

SILENCE_DURATION_MS: Final = (0, 60_000)
"""Nobody waits for an answer longer than that; the protocol itself names no maximum."""

MAX_INTEGER: Final = 2**63 - 1
"""Where the protocol names no maximum: what every client can read back."""

TEMPERATURE: Final = (0.0, 2.0)
"""Wider than what the beta dialect allows (0.6 to 1.2): it is the language node that knows what
its model takes."""

TOOLS_LIMIT: Final = 128
"""Tools that a session or a response may declare, by the protocol."""

METADATA_PAIRS: Final = 16
METADATA_KEY_LENGTH: Final = 64
METADATA_VALUE_LENGTH: Final = 512


@frozen
class AudioFormat:
    """How audio is written on the wire, mono: PCM16 at 24 kHz, or G.711 at 8 kHz."""

    encoding: Encoding = "pcm"

    @property
    def coding(self) -> Coding:
        """What the encoding is."""
        return CODINGS[self.encoding]

    def to_json(self) -> Json:
        """The object the protocol shows; the rate of G.711 goes without saying."""
        if self.encoding == "pcm":
            return {"type": "audio/pcm", "rate": self.coding.sample_rate}
        return {"type": f"audio/{self.encoding}"}


@frozen
class ServerVad:
    """A turn ends after a fixed silence. Times in ms; `threshold` in [0, 1]."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    create_response: bool = True
    interrupt_response: bool = True

    def to_json(self, *, answering: bool = True) -> Json:
        """The object the protocol shows; without `answering`, what is about answers is left
        out."""
        shown: Json = {"type": "server_vad", **attrs.asdict(self)}
        return shown if answering else _without(shown, _ABOUT_ANSWERS)


@frozen
class SemanticVad:
    """A turn ends when it sounds finished; `eagerness` bounds the wait."""

    eagerness: str = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    def to_json(self, *, answering: bool = True) -> Json:
        """As for `ServerVad`."""
        shown: Json = {"type": "semantic_vad", **attrs.asdict(self)}
        return shown if answering else _without(shown, _ABOUT_ANSWERS)


TurnDetection: TypeAlias = ServerVad | SemanticVad

_ABOUT_ANSWERS: Final = ("idle_timeout_ms", "create_response", "interrupt_response")


def _without(shown: Json, names: tuple[str, ...]) -> Json:
    return {name: value for name, value in shown.items() if name not in names}


def unanswering(detection: TurnDetection) -> TurnDetection:
    """The same detection in a session that makes no responses."""
    quiet = attrs.evolve(detection, create_response=False, interrupt_response=False)
    return attrs.evolve(quiet, idle_timeout_ms=None) if isinstance(quiet, ServerVad) else quiet


def a_modality(value: Any, path: str) -> Modality:
    """`output_modalities`: one of them, as an array."""
    names = an_array_of(one_of("audio", "text"))(value, path)
    if len(set(names)) > 1:
        raise problems.invalid_combination(path, names, (("text",), ("audio",)))
    return cast("Modality", names[0]) if names else "audio"


def a_token_limit(value: Any, path: str) -> int | None:
    """`max_output_tokens`: None is "inf"."""
    if value == "inf":
        return None
    if isinstance(value, str):
        raise problems.invalid_value(path, value, ("inf",))
    return an_integer(*OUTPUT_TOKENS)(value, path)


def token_limit_json(limit: int | None) -> int | Literal["inf"]:
    """A limit of output tokens as the protocol shows it."""
    return "inf" if limit is None else limit


def a_voice(value: Any, path: str) -> str:
    """A voice by its name or as ``{"id": …}``; the empty string is the default voice."""
    if isinstance(value, dict):
        return Fields(value, path).require("id", a_name)
    return a_string(value, path) or DEFAULT_VOICE


def a_format(value: Any, path: str) -> AudioFormat:
    """An audio format; a rate, if it is given, is the one that the format has."""
    fields = Fields(an_object(value, path), path)
    known = one_of(*(f"audio/{encoding}" for encoding in CODINGS))
    kind = fields.get_or("type", known, "audio/pcm")
    audio = AudioFormat(cast("Encoding", kind.removeprefix("audio/")))
    fields.get_or("rate", an_integer(audio.coding.sample_rate, audio.coding.sample_rate), None)
    return audio


def a_turn_detection(value: Any, path: str) -> TurnDetection:
    """Turn detection, whatever it does not say filled in with the defaults."""
    fields = Fields(an_object(value, path), path)
    if fields.require("type", one_of("server_vad", "semantic_vad")) == "semantic_vad":
        return _semantic_vad(fields, SemanticVad())
    return _server_vad(fields, ServerVad())


def _semantic_vad(fields: Fields, usual: SemanticVad) -> SemanticVad:
    eagerness = one_of("low", "medium", "high", "auto")
    return SemanticVad(
        eagerness=fields.get_or("eagerness", eagerness, usual.eagerness),
        create_response=_switch(fields, "create_response", default=usual.create_response),
        interrupt_response=_switch(
            fields, "interrupt_response", default=usual.interrupt_response
        ),
    )


def _server_vad(fields: Fields, usual: ServerVad) -> ServerVad:
    return ServerVad(
        threshold=fields.get_or("threshold", a_number(0.0, 1.0), usual.threshold),
        prefix_padding_ms=fields.get_or(
            "prefix_padding_ms", an_integer(*PREFIX_PADDING_MS), usual.prefix_padding_ms
        ),
        silence_duration_ms=fields.get_or(
            "silence_duration_ms", an_integer(*SILENCE_DURATION_MS), usual.silence_duration_ms
        ),
        idle_timeout_ms=fields.get_or(
            "idle_timeout_ms", an_integer(*IDLE_TIMEOUT_MS), usual.idle_timeout_ms
        ),
        create_response=_switch(fields, "create_response", default=usual.create_response),
        interrupt_response=_switch(
            fields, "interrupt_response", default=usual.interrupt_response
        ),
    )


def _switch(fields: Fields, name: str, *, default: bool) -> bool:
    return fields.get_or(name, a_boolean, default)


# Only what clients are known to read back is kept: some refuse a session whose `transcription`
# has any other key.
_TRANSCRIPTION: Final[dict[str, Check[str]]] = {
    "model": a_string,
    "language": a_string,
    "prompt": a_string,
}

_NOISE_REDUCTION: Final[dict[str, Check[Any]]] = {
    "type": one_of("near_field", "far_field"),
    "strength": a_number(0.0, math.inf),
}


def default_transcription() -> Json:
    """A transcription that is on, of which nothing was said."""
    return {"model": DEFAULT_TRANSCRIPTION_MODEL}


def transcription_from(parent: Fields, current: Json | None) -> Json | None:
    """The `transcription` that holds after an update; one without a model gets the default."""
    merged = _merged(parent, "transcription", current, _TRANSCRIPTION)
    return merged if merged is None else default_transcription() | merged


def noise_reduction_from(parent: Fields, current: Json | None) -> Json | None:
    """The `noise_reduction` that holds after an update; an object left empty is none."""
    return _merged(parent, "noise_reduction", current, _NOISE_REDUCTION) or None


def _merged(
    parent: Fields, name: str, current: Json | None, checks: Mapping[str, Check[Any]]
) -> Json | None:
    given = parent.get(name, an_object, absent=current, null=None)
    if given is None or name not in parent.data:
        return given
    fields = Fields(given, parent.path_of(name))
    before = current or {}
    after = {
        key: fields.get(key, check, absent=before.get(key), null=None)
        for key, check in checks.items()
    }
    return {key: value for key, value in after.items() if value is not None}


def _tool(value: Any, path: str) -> Json:
    tool = Fields(an_object(value, path), path)
    if tool.get_or("type", one_of("function", "mcp"), "function") == "mcp":
        tool.require("server_label", a_name)
        return tool.data
    tool.require("name", a_name)
    tool.get_or("description", a_string, None)
    tool.get_or("parameters", an_object, None)
    said = {key: each for key, each in tool.data.items() if each is not None}
    return {**said, "type": "function"}


some_tools = an_array_of(_tool, at_most=TOOLS_LIMIT)


def functions_of(tools: tuple[Json, ...]) -> tuple[Json, ...]:
    """The tools that a language model can be given. Those on MCP servers are declared and
    shown, but it would be for this server to call them, and it does not."""
    return tuple(tool for tool in tools if tool["type"] == "function")


def a_tool_choice(value: Any, path: str) -> str | Json:
    """A mode, or the tool that must be called."""
    if not isinstance(value, dict):
        return one_of("none", "auto", "required")(value, path)
    choice = Fields(value, path)
    if choice.require("type", one_of("function", "mcp")) == "mcp":
        choice.require("server_label", a_name)
        choice.get_or("name", a_name, None)
        return value
    return {"type": "function", "name": choice.require("name", a_name)}


def check_declared(name: str, tools: tuple[Json, ...]) -> None:
    """Refuse a tool choice that names a function which `tools` lacks."""
    if all(tool["name"] != name for tool in functions_of(tools)):
        raise problems.undeclared_tool("response.tool_choice", name)


def a_tracing(value: Any, path: str) -> str | Json:
    """`auto`, or names for the trace. Accepted and shown; no trace is made."""
    if not isinstance(value, dict):
        return one_of("auto")(value, path)
    fields = Fields(value, path)
    fields.get_or("workflow_name", a_string, None)
    fields.get_or("group_id", a_string, None)
    return value


def a_truncation(value: Any, path: str) -> str | Json:
    """How a long conversation is cut: a mode or a retention ratio."""
    if not isinstance(value, dict):
        return one_of("auto", "disabled")(value, path)
    fields = Fields(value, path)
    fields.require("type", one_of("retention_ratio"))
    fields.require("retention_ratio", a_number(0.0, 1.0))
    fields.nested("token_limits").get_or("post_instructions", an_integer(0, MAX_INTEGER), None)
    return value


def a_prompt(value: Any, path: str) -> Json:
    """A reference to a prompt template. Accepted and shown; there are no templates here."""
    fields = Fields(an_object(value, path), path)
    fields.require("id", a_name)
    fields.get_or("version", a_string, None)
    fields.get_or("variables", an_object, None)
    return fields.data


def a_reasoning(value: Any, path: str) -> Json:
    """How hard a reasoning model should think."""
    fields = Fields(an_object(value, path), path)
    fields.get_or("effort", one_of("minimal", "low", "medium", "high", "xhigh"), None)
    return fields.data


a_temperature = a_number(*TEMPERATURE)

an_include = an_array_of(one_of("item.input_audio_transcription.logprobs"))


def a_typed_object(value: Any, path: str) -> Json:
    """An object that says its `type`."""
    fields = Fields(an_object(value, path), path)
    fields.require("type", a_name)
    return fields.data


def a_metadata(value: Any, path: str) -> dict[str, str]:
    """Pairs of strings, within the protocol's limits."""
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
