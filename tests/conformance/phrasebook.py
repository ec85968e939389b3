"""The beta dialect, in the words of the GA one: what a script says and expects there.

Written by hand from the published description of both, and not from the bridge's own codec,
which it is there to check.
"""

from __future__ import annotations

import re
from typing import Any, Final

from trio_bridge.realtime.events import Json
from trio_bridge.realtime.wire import Dialect

_NAMES: Final = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_UNSAID: Final = {"conversation.item.done", "input_audio_buffer.timeout_triggered"}
_FORMATS: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}
_CONTENT: Final = {"output_text": "text", "output_audio": "audio"}
_LISTENING: Final = {
    "transcription": "input_audio_transcription",
    "noise_reduction": "input_audio_noise_reduction",
    "turn_detection": "turn_detection",
}
_PARAMS: Final = (
    (r"^session\.audio\.input\.format.*", "session.input_audio_format"),
    (r"^session\.audio\.output\.format.*", "session.output_audio_format"),
    (r"^session\.audio\.input\.transcription", "session.input_audio_transcription"),
    (r"^session\.audio\.input\.noise_reduction", "session.input_audio_noise_reduction"),
    (r"^session\.audio\.input\.turn_detection", "session.turn_detection"),
    (r"^session\.audio\.output\.", "session."),
    (r"^(session|response)\.max_output_tokens", r"\1.max_response_output_tokens"),
    (r"^(session|response)\.output_modalities", r"\1.modalities"),
    (r"^response\.audio\.output\.format.*", "response.output_audio_format"),
    (r"^response\.audio\.output\.", "response."),
)


def ga_name(event_type: str) -> str:
    """What GA calls an event of either dialect."""
    return _GA_NAMES.get(event_type, event_type)


_GA_NAMES: Final = {
    **{beta: ga for ga, beta in _NAMES.items()},
    "transcription_session.update": "session.update",
    "transcription_session.created": "session.created",
    "transcription_session.updated": "session.updated",
}


def phrased(message: Json, dialect: Dialect) -> Json | None:
    """An event, or a pattern of one, in a dialect; None where the dialect does not say it."""
    if dialect == "ga":
        return message
    kind = message["type"]
    if kind in _UNSAID:
        return None
    said = {**message, "type": _NAMES.get(kind, kind)}
    if kind.startswith("session.") and isinstance(message.get("session"), dict):
        session = message["session"]
        said["session"] = _flat(session, limit="max_response_output_tokens")
        if session.get("type") == "transcription" and kind != "session.created":
            said["type"] = f"transcription_{kind}"
    if isinstance(message.get("response"), dict):
        created = kind == "response.create"
        limit = "max_response_output_tokens" if created else "max_output_tokens"
        said["response"] = _flat(message["response"], limit=limit)
    if isinstance(message.get("item"), dict):
        said["item"] = _item(message["item"])
    if kind == "response.function_call_arguments.done":
        said.pop("name", None)
    if kind == "error":
        said["error"] = _error(message["error"])
    return said


def _flat(ga: Json, *, limit: str) -> Json:
    """A session or response object, whole or in part."""
    given = dict(ga)
    audio = given.pop("audio", {})
    given.pop("type", None)
    flat: Json = {}
    for name, value in given.items():
        if name == "output_modalities":
            flat["modalities"] = ["text"] if value == ["text"] else ["audio", "text"]
        elif name == "max_output_tokens":
            flat[limit] = value
        elif name in ("input", "output"):
            flat[name] = [_item(each) for each in value]
        else:
            flat[name] = value
    heard, spoken = audio.get("input", {}), audio.get("output", {})
    for name, value in heard.items():
        if name == "format":
            flat["input_audio_format"] = _format(value)
        else:
            flat[_LISTENING[name]] = value
    for name, value in spoken.items():
        if name == "format":
            flat["output_audio_format"] = _format(value)
        else:
            flat[name] = value
    return flat


def _format(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    # What is no format in one dialect is none in the other.
    return _FORMATS.get(value["type"], value["type"])


def _item(item: Json) -> Json:
    content = item.get("content")
    if not isinstance(content, list):
        return item
    return {**item, "content": [_part(each) for each in content]}


def _part(part: Json) -> Json:
    kind = part.get("type", "")
    return {**part, "type": _CONTENT.get(kind, kind)}


def _error(error: Json) -> Json:
    param = error.get("param")
    if not isinstance(param, str):
        return error
    for pattern, replacement in _PARAMS:
        if re.search(pattern, param):
            return {**error, "param": re.sub(pattern, replacement, param)}
    return error
