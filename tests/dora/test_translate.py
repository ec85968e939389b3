"""Commands become rows, rows become events, and nothing else gets through."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest

from trio_bridge.dora import contract
from trio_bridge.dora.instances.translate import UNLIMITED_SECONDS, to_event, to_row
from trio_bridge.messages import (
    AudioDelta,
    Cancel,
    Clear,
    Commit,
    Configure,
    Credit,
    Failure,
    InputAudio,
    Logprob,
    MicrophoneAudio,
    Respond,
    ResponseFinished,
    ResponseOpened,
    ResponseRequest,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Transcript,
    Usage,
    Word,
)


def test_listening_keeps_its_numbers() -> None:
    samples = np.zeros(3, np.float32)
    port, row = to_row(InputAudio(samples), "s", 5)
    assert (port, row) == ("listen", contract.Listen("s", 5, "audio"))
    assert isinstance(row, contract.Listen)
    assert row.samples is samples
    assert to_row(Commit("item"), "s", 6)[1] == contract.Listen(
        "s", 6, "commit", data='{"item_id":"item"}'
    )
    assert to_row(Clear(), "s", 7)[1] == contract.Listen("s", 7, "clear")


def test_settings_and_requests_travel_as_json() -> None:
    _, row = to_row(Configure({"type": "server_vad"}, None), "s", 0)
    assert isinstance(row, contract.Listen)
    assert orjson.loads(row.data or "") == {
        "turn_detection": {"type": "server_vad"},
        "transcription": None,
    }
    request = ResponseRequest(({"type": "message"},), instructions="be brief")
    port, asked = to_row(Respond("r", request), "s", 0)
    assert isinstance(asked, contract.Request)
    data = orjson.loads(asked.data)
    assert (port, data["items"], data["instructions"], data["output_modality"]) == (
        "request",
        [{"type": "message"}],
        "be brief",
        "audio",
    )


def test_a_response_is_cancelled_and_credited() -> None:
    assert to_row(Cancel("r"), "s", 0) == ("cancel", contract.Cancel("s", "r"))
    assert to_row(Credit("r", 2.5), "s", 0) == ("credit", contract.Credit("s", "r", 2.5))
    _, row = to_row(Credit("r", math.inf), "s", 0)
    assert row == contract.Credit("s", "r", UNLIMITED_SECONDS)


@pytest.mark.parametrize(
    "command", [MicrophoneAudio(b""), InputAudio(np.zeros(1, np.float32), sample_rate=24_000)]
)
def test_audio_that_no_node_could_take_is_refused(
    command: InputAudio | MicrophoneAudio,
) -> None:
    with pytest.raises(ValueError, match=r"InputAudio|16000 Hz"):
        to_row(command, "s", 0)


def answer(event: str, **rest: object) -> contract.Answer:
    return contract.Answer("s", "r", 0, event, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "event"),
    [
        (contract.Speech("s", "started", "u", 120), SpeechStarted("u", 120)),
        (contract.Speech("s", "stopped", "u", 920), SpeechStopped("u", 920)),
        (contract.Transcript("s", "u", "partial", "he"), Transcript("u", "he", final=False)),
        (
            contract.Transcript("s", "u", "final", "hello", "item", 30.0),
            Transcript("u", "hello", final=True, item_id="item", wait_ms=30.0),
        ),
        (
            contract.Transcript("s", "u", "failed", error_code="busy", error="no decoder"),
            Transcript("u", "", final=True, failure=Failure("busy", "no decoder")),
        ),
        (
            contract.Transcript(
                "s", "u", "final", "so be it", logprobs='[["so be", -0.5], [" it", -1]]'
            ),
            Transcript(
                "u",
                "so be it",
                final=True,
                logprobs=(Logprob("so be", -0.5), Logprob(" it", -1.0)),
            ),
        ),
        (
            contract.Transcript("s", "u", "final", logprobs="[]"),
            Transcript("u", "", final=True, logprobs=()),
        ),
        (answer("open"), ResponseOpened("r")),
        (answer("text", text="hi"), TextDelta("r", "hi")),
        (
            answer("tool_delta", call_id="c", name="f", arguments="{"),
            ToolCallDelta("r", "c", "f", "{"),
        ),
        (
            answer("tool_done", call_id="c", name="f", arguments="{}"),
            ToolCallDone("r", "c", "f", "{}"),
        ),
        (answer("done"), ResponseFinished("r")),
        (
            answer("done", status="completed", usage='{"input_tokens": 3, "output_tokens": 4}'),
            ResponseFinished("r", usage=Usage(3, 4)),
        ),
        (
            answer("done", status="incomplete", reason="max_output_tokens"),
            ResponseFinished("r", status="incomplete", reason="max_output_tokens"),
        ),
        (
            answer("done", status="failed", error_code="model", error="it is gone"),
            ResponseFinished("r", status="failed", failure=Failure("model", "it is gone")),
        ),
        (answer("applause"), None),
        (contract.Speech("s", "paused", "u", 0), None),
    ],
)
def test_rows_become_events(row: contract.Row, event: object) -> None:
    assert to_event(row) == event


@pytest.mark.parametrize(
    "words",
    [
        '[["hello", 0, 310.5]]',
        '[{"text": "hello", "start_ms": 0, "end_ms": 310.5}]',
    ],
)
def test_audio_brings_its_words(words: str) -> None:
    samples = np.zeros(4, np.float32)
    event = to_event(answer("audio", samples=samples, sample_rate=22_050, words=words))
    assert event == AudioDelta("r", samples, 22_050, words=(Word("hello", 0.0, 310.5),))


@pytest.mark.parametrize(
    "row",
    [
        answer("audio", sample_rate=16_000),
        answer("audio", samples=np.zeros(1, np.float32)),
        answer("audio", samples=np.zeros(1, np.float32), sample_rate=1, words="{}"),
        answer("audio", samples=np.zeros(1, np.float32), sample_rate=1, words="[1]"),
        answer("tool_done", name="f"),
        answer("done", status="finished"),
        answer("done", usage="[]"),
        answer("done", usage="nonsense"),
        contract.Transcript("s", "u", "final", logprobs="{}"),
        contract.Transcript("s", "u", "final", logprobs='[["so"]]'),
        contract.Transcript("s", "u", "final", logprobs='[[-0.5, "so"]]'),
    ],
)
def test_rows_that_lack_something_are_refused(row: contract.Row) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_event(row)
