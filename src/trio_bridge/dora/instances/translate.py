"""Commands to rows, rows to events: the contract as the bridge speaks it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import orjson

from trio_bridge.dora.contract import (
    SAMPLE_RATE,
    Answer,
    Cancel,
    Credit,
    Listen,
    Request,
    Row,
    Speech,
    Transcript,
)
from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    Clear,
    Command,
    Commit,
    Configure,
    Failure,
    InputAudio,
    Logprob,
    MicrophoneAudio,
    Respond,
    ResponseFinished,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Usage,
    Word,
)
from trio_bridge.messages import Cancel as CancelCommand
from trio_bridge.messages import Credit as CreditCommand
from trio_bridge.messages import Transcript as TranscriptEvent

UNLIMITED_SECONDS = 1e9
"""What stands for unlimited credit: 31 years. Infinity is left out, since JSON and some readers
of Arrow have no word for it."""

MOST_MS = 2**31
"""More milliseconds than any session lasts: 24 days."""

_STATUSES = frozenset({"completed", "incomplete", "cancelled", "failed"})


def to_row(command: Command, session_id: str, seq: int) -> tuple[str, Row]:
    """The port and the row that a command becomes.

    Args:
        command: What the engine asks for.
        session_id: Whose it is.
        seq: The number that a row on `listen` bears.

    Raises:
        ValueError: The audio is not at the rate of the contract, or is still PCM.
    """
    match command:
        case InputAudio(samples, sample_rate):
            check_rate(sample_rate)
            return "listen", Listen(session_id, seq, "audio", samples=samples)
        case Configure(turn_detection, transcription):
            data = {"turn_detection": turn_detection, "transcription": transcription}
            return "listen", Listen(session_id, seq, "configure", data=_json(data))
        case Commit(item_id):
            return "listen", Listen(session_id, seq, "commit", data=_json({"item_id": item_id}))
        case Clear():
            return "listen", Listen(session_id, seq, "clear")
        case Respond(response_id, request):
            data = attrs.asdict(request, recurse=False)
            return "request", Request(session_id, response_id, _json(data))
        case CancelCommand(response_id):
            return "cancel", Cancel(session_id, response_id)
        case CreditCommand(response_id, seconds):
            return "credit", Credit(session_id, response_id, min(seconds, UNLIMITED_SECONDS))
        case MicrophoneAudio():
            raise ValueError("a session turns MicrophoneAudio into InputAudio")


def check_rate(sample_rate: int) -> None:
    """See that audio is as nodes have it.

    Raises:
        ValueError: It is not at the rate of the contracts.
    """
    if sample_rate != SAMPLE_RATE:
        raise ValueError(f"audio for nodes is at {SAMPLE_RATE} Hz, not {sample_rate}")


def to_event(row: Row) -> BackendEvent | None:
    """The event that a row from a node becomes; None for one that says nothing known.

    Raises:
        ValueError: The row lacks what its event needs, or holds JSON that is none.
    """
    match row:
        case Speech(event="started"):
            return SpeechStarted(row.utterance_id, _moment(row))
        case Speech(event="stopped"):
            return SpeechStopped(row.utterance_id, _moment(row))
        case Transcript(event="partial" | "final" | "failed"):
            return TranscriptEvent(
                row.utterance_id,
                row.text,
                final=row.event != "partial",
                item_id=row.item_id,
                wait_ms=_finite(row.wait_ms),
                failure=_failure(row) if row.event == "failed" else None,
                logprobs=_logprobs(row.logprobs),
            )
        case Answer():
            return _answer(row)
    return None


def _answer(row: Answer) -> BackendEvent | None:
    match row.event:
        case "open":
            return ResponseOpened(row.response_id)
        case "text":
            return TextDelta(row.response_id, row.text or "")
        case "audio":
            if row.samples is None or not row.sample_rate or row.sample_rate < 0:
                raise ValueError("an audio row needs samples and sample_rate")
            if not np.isfinite(row.samples).all():
                raise ValueError("the samples are not all finite numbers")
            words = tuple(Word(*_word(entry)) for entry in _list(row.words))
            return AudioDelta(
                row.response_id, row.samples, row.sample_rate, row.text or "", words
            )
        case "tool_delta":
            return ToolCallDelta(
                row.response_id, _needed(row, "call_id"), row.name or "", row.arguments or ""
            )
        case "tool_done":
            return ToolCallDone(
                row.response_id,
                _needed(row, "call_id"),
                _needed(row, "name"),
                row.arguments or "",
            )
        case "done":
            return _finished(row)
    return None


def _finished(row: Answer) -> ResponseFinished:
    status: Any = row.status or "completed"
    if status not in _STATUSES:
        raise ValueError(f"no status is called {status!r}")
    return ResponseFinished(
        row.response_id,
        status=status,
        reason=row.reason,
        usage=_usage(row.usage),
        failure=_failure(row) if status == "failed" else None,
    )


def _usage(text: str | None) -> Usage:
    if not text:
        return Usage()
    value = orjson.loads(text)
    if not isinstance(value, Mapping):
        raise ValueError("usage must be a JSON object")  # of JSON, not of Python
    names = [a.name for a in attrs.fields(Usage)]
    return Usage(**{name: int(value[name]) for name in names if name in value})


def _failure(row: Answer | Transcript) -> Failure:
    return Failure(row.error_code or "node_failed", row.error or "the node gave no reason")


def _moment(row: Speech) -> int:
    if not 0 <= row.audio_ms < MOST_MS:
        raise ValueError(f"no moment of a session is at {row.audio_ms} ms")
    return row.audio_ms


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number of milliseconds")
    return number


def _needed(row: Answer, name: str) -> str:
    value = getattr(row, name)
    if not value:
        raise ValueError(f"a {row.event} row needs {name}")
    return str(value)


def _list(text: str | None) -> list[Any]:
    value = orjson.loads(text) if text else []
    if not isinstance(value, list):
        raise ValueError("words and logprobs must be JSON lists")
    return value


def _word(entry: Any) -> tuple[str, float, float]:
    match entry:
        case [str(text), int() | float() as start, int() | float() as end]:
            return text, float(start), float(end)
        case {
            "text": str(text),
            "start_ms": int() | float() as start,
            "end_ms": int() | float() as end,
        }:
            return text, float(start), float(end)
    raise ValueError("a word is [text, start_ms, end_ms]")


def _logprobs(text: str | None) -> tuple[Logprob, ...] | None:
    if text is None:
        return None
    return tuple(Logprob(*_logprob(entry)) for entry in _list(text))


def _logprob(entry: Any) -> tuple[str, float]:
    match entry:
        case [str(token), int() | float() as logprob]:
            return token, float(logprob)
    raise ValueError("a logprob is [token, logprob]")


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
