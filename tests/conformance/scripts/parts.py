"""What scripts are made of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from tests.conformance.script import (
    ANYTHING,
    Appends,
    Gets,
    Name,
    Reports,
    Says,
    Step,
    event,
    gets,
    reports,
    says,
)

from trio_bridge.messages import AudioDelta, SpeechStarted, SpeechStopped, Transcript
from trio_bridge.realtime.events import Json

RATE: Final = 24_000
"""Hz: what the backend speaks at, so that nothing is held back by a resampler."""

R: Final = Name("the response")
QUESTION: Final = Name("the question")
ANSWER: Final = Name("the answer")

OPENED: Final = gets("session.created")
COMPLETED: Final[Json] = {"status": "completed", "status_details": None}


def session(**fields: Any) -> Says:
    """The client changes the session's settings."""
    return says("session.update", session={"type": "realtime", **fields})


def hearing(**fields: Any) -> Says:
    """The client changes how it is listened to."""
    return session(audio={"input": fields})


UPDATED: Final = gets("session.updated")
BY_HAND: Final[tuple[Step, ...]] = (hearing(turn_detection=None), UPDATED)
"""The client says itself when its turn is over."""

IN_TEXT: Final[tuple[Step, ...]] = (session(output_modalities=["text"]), UPDATED)
"""The answers are text."""

TRANSCRIBED: Final[tuple[Step, ...]] = (hearing(transcription={"model": "any"}), UPDATED)
"""The client wants to know what it was understood to say."""


def message(text: str, **more: Any) -> Json:
    """A user's message, in text."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **more}


def added(item: Json | None = None, **fields: Any) -> tuple[Json, Json]:
    """An item joins the conversation."""
    shown = {"item": item or {}, **fields}
    return event("conversation.item.added", **shown), event("conversation.item.done", **shown)


def asks(text: str = "Hello.", item: Name = QUESTION, **create: Any) -> tuple[Step, ...]:
    """The client asks something in text, and has it answered."""
    question = {"id": item, "role": "user", "content": [{"type": "input_text", "text": text}]}
    return (
        says("conversation.item.create", item=message(text)),
        Gets(added(question)),
        says("response.create", **create),
    )


def created(response: Name = R, **fields: Any) -> Json:
    """A response begins."""
    begun = {"id": response, "status": "in_progress", "output": [], **fields}
    return event("response.created", response=begun)


def done(response: Name = R, **fields: Any) -> tuple[Json, Json]:
    """A response is over."""
    over = {"id": response, **(fields or COMPLETED)}
    return event("response.done", response=over), event("rate_limits.updated")


def place(item: Name, response: Name = R, index: int = 0) -> Json:
    """Where something of a response belongs."""
    return {
        "response_id": response,
        "item_id": item,
        "output_index": index,
        "content_index": 0,
    }


def opens(
    item: Name = ANSWER, response: Name = R, *, index: int = 0, kind: str = "audio"
) -> tuple[Json, ...]:
    """A response's message begins."""
    empty = {"id": item, "type": "message", "role": "assistant", "status": "in_progress"}
    where = {"response_id": response, "output_index": index}
    part = (
        {"type": "audio", "transcript": ""} if kind == "audio" else {"type": kind, "text": ""}
    )
    return (
        event("response.output_item.added", item={**empty, "content": []}, **where),
        event("conversation.item.added", item=empty),
        event("response.content_part.added", part=part, **place(item, response, index)),
    )


def closes(
    text: str,
    item: Name = ANSWER,
    response: Name = R,
    *,
    index: int = 0,
    kind: str = "audio",
    status: str = "completed",
) -> tuple[Json, ...]:
    """A response's message ends; `text` is all that it says."""
    here = place(item, response, index)
    where = {"response_id": response, "output_index": index}
    ends: tuple[Json, ...]
    if kind == "audio":
        part = {"type": "audio", "transcript": text}
        content = {"type": "output_audio", "transcript": text}
        ends = (
            event("response.output_audio.done", **here),
            event("response.output_audio_transcript.done", transcript=text, **here),
        )
    else:
        part = {"type": "text", "text": text}
        content = {"type": "output_text", "text": text}
        ends = (event("response.output_text.done", text=text, **here),)
    whole = {"id": item, "type": "message", "status": status, "content": [content]}
    return (
        *ends,
        event("response.content_part.done", part=part, **here),
        event("conversation.item.done", item=whole),
        event("response.output_item.done", item=whole, **where),
    )


def spoken(
    text: str, item: Name = ANSWER, response: Name = R, *, index: int = 0
) -> tuple[Json, Json]:
    """More of a response's speech: its words, and their sound."""
    here = place(item, response, index)
    return (
        event("response.output_audio_transcript.delta", delta=text, **here),
        event("response.output_audio.delta", delta=ANYTHING, **here),
    )


def written(
    text: str, item: Name = ANSWER, response: Name = R, *, index: int = 0
) -> tuple[Json, ...]:
    """More of a response's text."""
    return (event("response.output_text.delta", delta=text, **place(item, response, index)),)


def speech(text: str, seconds: float = 0.3, response: str = R) -> AudioDelta:
    """The backend speaks."""
    samples = np.zeros(round(seconds * RATE), dtype=np.float32)
    return AudioDelta(response, samples, RATE, text)


def committed(item: Name = QUESTION, previous: Name | None = None) -> tuple[Json, ...]:
    """What the user said becomes an item."""
    body = {
        "id": item,
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    return (
        event("input_audio_buffer.committed", item_id=item, previous_item_id=previous),
        *added(body, previous_item_id=previous),
    )


def begins(utterance: str = "u1", at_ms: int = 200) -> Reports:
    """The backend hears somebody begin to speak."""
    return reports(SpeechStarted(utterance, at_ms))


def stops(utterance: str = "u1", at_ms: int = 900) -> Reports:
    """The backend hears that a turn is over."""
    return reports(SpeechStopped(utterance, at_ms))


def understood(text: str, utterance: str = "u1", item: Name | None = None) -> Reports:
    """The backend has understood what was said."""
    return reports(Transcript(utterance, text, final=True, item_id=item))


def says_aloud(
    text: str = "Hello.", item: Name = QUESTION, previous: Name | None = None
) -> tuple[Step, ...]:
    """The user speaks, from 200 to 900 ms of the first second, and was understood."""
    return (
        Appends(1000),
        begins(),
        gets(event("input_audio_buffer.speech_started", item_id=item, audio_start_ms=200)),
        stops(),
        gets(
            event("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=900),
            *committed(item, previous),
            created(),
        ),
        understood(text),
    )


def error(code: str | None, param: str | None = None, **more: Any) -> Json:
    """The client did something wrong."""
    kind = {"type": "invalid_request_error", "code": code, "param": param}
    return event("error", error={**kind, **more})
