"""Nobody speaks after an answer: `idle_timeout_ms`."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.support.stage import TRANSCRIBE, Stage, silence, speech, user_says

from trio_bridge.messages import (
    Capabilities,
    Respond,
    ResponseFinished,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.idle import IdleWatch

TIMEOUT = [
    "input_audio_buffer.timeout_triggered",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


def waiting(lead: float = math.inf, **more: Any) -> Stage:
    """A session that waits 6 s for the user."""
    stage = Stage(lead=lead, **more)
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000}
    stage.client(
        ev.SessionUpdate(
            {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        )
    )
    return stage


def answer(stage: Stage, seconds: float) -> None:
    stage.client(user_says("hi"), ev.ResponseCreate())
    stage.backend(
        speech(stage.response_id, seconds, "Hi."), ResponseFinished(stage.response_id)
    )


def listen(stage: Stage, seconds: float) -> list[str]:
    """Time passes, and the client sends silence in real time."""
    told = []
    for _ in range(round(seconds * 10)):
        told += stage.client(silence(0.1))
        told += stage.at(stage.now + 0.1)
    return told


def test_the_wait_begins_with_the_end_of_playback() -> None:
    """An answer of 3 s that left at once is heard for 3 s; then the silence is answered."""
    stage = waiting()
    answer(stage, 3.0)
    begun = stage.now
    assert stage.engine.deadline == begun + 9.0
    assert listen(stage, 8.9) == []
    told = listen(stage, 0.2)
    assert told == [*TIMEOUT, "response.created"]
    triggered = stage.seen(ev.InputAudioBufferTimeoutTriggered)
    assert triggered.audio_end_ms - triggered.audio_start_ms == 6_000
    assert triggered.audio_end_ms == pytest.approx(9_000, abs=100)
    item = stage.seen(ev.ConversationItemDone).item
    assert item["id"] == triggered.item_id
    assert item["content"] == [{"type": "input_audio", "transcript": None}]
    assert isinstance(stage.asked[-2], Respond)


def test_paced_speech_is_heard_to_its_end() -> None:
    """The last sample leaves 2 s before it is played."""
    stage = waiting(lead=2.0)
    answer(stage, 5.0)
    begun = stage.now
    told = listen(stage, 10.9)
    assert "input_audio_buffer.timeout_triggered" not in told
    assert stage.engine.deadline == pytest.approx(begun + 11.0, abs=0.01)


def test_the_answer_to_silence_is_waited_after_as_well() -> None:
    """Silence again, answered again."""
    stage = waiting()
    answer(stage, 1.0)
    listen(stage, 7.1)
    stage.backend(ResponseFinished(stage.response_id))
    assert TIMEOUT[0] in listen(stage, 6.1)


def test_speech_ends_the_wait() -> None:
    """For the next one an answer has to come."""
    stage = waiting()
    answer(stage, 1.0)
    listen(stage, 5.0)
    stage.backend(SpeechStarted("u", 4_000))
    assert stage.engine.deadline == math.inf
    stage.backend(SpeechStopped("u", 5_000), Transcript("u", "yes", final=True))
    assert stage.engine.deadline == math.inf
    stage.backend(ResponseFinished(stage.response_id))
    assert stage.engine.deadline == stage.now + 6.0


def test_speech_beside_an_answer_that_goes_on_is_no_silence() -> None:
    """While somebody speaks there is nothing to wait for, even as the answer ends."""
    stage = waiting()
    detection = {"type": "server_vad", "idle_timeout_ms": 6_000, "interrupt_response": False}
    stage.client(
        ev.SessionUpdate(
            {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        )
    )
    stage.client(silence(1), ev.ResponseCreate())
    stage.backend(SpeechStarted("u", 0), ResponseFinished(stage.response_id))
    assert stage.engine.deadline == math.inf


def test_a_client_that_sends_no_audio_is_not_prompted() -> None:
    """There is no silence to commit; the wait starts anew."""
    stage = waiting()
    answer(stage, 1.0)
    begun = stage.now
    assert stage.at(begun + 30.0) == []
    assert stage.engine.deadline > begun + 30.0


def test_before_the_first_answer_nobody_is_waited_for() -> None:
    """Nor where the timeout is off, or speech is not looked for."""
    stage = waiting()
    listen(stage, 1.0)
    assert stage.engine.deadline == math.inf
    answer(stage, 1.0)
    stage.client(
        ev.SessionUpdate({"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    )
    assert stage.engine.deadline == math.inf


def test_the_silence_is_transcribed_as_nothing() -> None:
    """Who asked for transcripts gets one of every item."""
    stage = waiting()
    stage.client(ev.SessionUpdate(TRANSCRIBE))
    answer(stage, 1.0)
    told = listen(stage, 7.1)
    assert "conversation.item.input_audio_transcription.completed" in told
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert (completed.transcript, completed.usage["seconds"]) == ("", 6.0)


def test_a_backend_that_answers_by_itself_is_not_asked() -> None:
    """The silence becomes an item, and that is all."""
    stage = waiting(capabilities=Capabilities(responses=False))
    stage.client(ev.ResponseCreate())
    assert listen(stage, 6.1) == TIMEOUT


def test_a_watch_without_a_timeout_waits_for_ever() -> None:
    """And with one, until that long after what was heard."""
    watch = IdleWatch()
    assert watch.deadline(5_000) == math.inf
    watch.answered(10.0)
    assert watch.deadline(5_000) == 15.0
    assert watch.deadline(None) == math.inf
    watch.stirred()
    assert watch.deadline(5_000) == math.inf
