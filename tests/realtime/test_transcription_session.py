"""Sessions that listen and never answer."""

from __future__ import annotations

from typing import Any

from tests.support.stage import Stage, silence, user_says

from trio_bridge.messages import (
    Cancel,
    Commit,
    Configure,
    Logprob,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Transcript,
)
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.config import initial
from trio_bridge.realtime.wire import Codec

LOGPROBS = (Logprob("go", -0.25), Logprob(" é", -1.5))
COMPLETED = "conversation.item.input_audio_transcription.completed"


def listening(**session: Any) -> Stage:
    stage = Stage(config=initial("transcription"))
    if session:
        stage.client(ev.SessionUpdate({"type": "transcription", **session}))
    return stage


def hear(stage: Stage, text: str) -> list[str]:
    stage.client(silence(1))
    return stage.backend(
        SpeechStarted("u", 0),
        SpeechStopped("u", 900),
        Transcript("u", text, final=True, logprobs=LOGPROBS),
    )


def test_it_shows_itself_and_listens_with_its_defaults() -> None:
    """Speech is looked for and transcribed from the first."""
    stage = listening()
    session = stage.seen(ev.SessionCreated).session
    assert (session["type"], session["object"]) == (
        "transcription",
        "realtime.transcription_session",
    )
    assert "output" not in session["audio"]
    (configure,) = stage.asked
    assert isinstance(configure, Configure)
    assert configure.turn_detection is not None
    assert configure.transcription == {"model": "default"}


def test_the_recogniser_is_told_whether_logprobs_are_wanted() -> None:
    """Some work longer for them."""
    stage = listening(include=["item.input_audio_transcription.logprobs"])
    told = [each.transcription for each in stage.commands if isinstance(each, Configure)]
    assert told == [{"model": "default", "logprobs": True}]
    stage.client(ev.SessionUpdate({"type": "transcription", "include": None}))
    told = [each.transcription for each in stage.commands if isinstance(each, Configure)]
    assert told == [{"model": "default"}]


def test_a_turn_is_transcribed_and_not_answered() -> None:
    """Deltas and the whole, with how long it was; logprobs only for who asked."""
    stage = listening()
    told = hear(stage, "go é")
    assert told == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        COMPLETED,
    ]
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert completed.transcript == "go é"
    assert completed.usage == {"type": "duration", "seconds": 0.9}
    assert completed.logprobs is None
    message = Codec().dump(completed)
    assert message is not None
    assert b"logprobs" not in message


def test_logprobs_are_told_to_who_asked() -> None:
    """With the bytes of each token; and none are made up where none are known."""
    stage = listening(include=["item.input_audio_transcription.logprobs"])
    hear(stage, "go é")
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert completed.logprobs == [
        {"token": "go", "logprob": -0.25, "bytes": [103, 111]},
        {"token": " é", "logprob": -1.5, "bytes": [32, 195, 169]},
    ]
    stage.client(silence(1), ev.InputAudioBufferCommit())
    stage.backend(Transcript("u2", "hm", final=True, item_id=stage.item_id))
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert completed.logprobs is None


def test_it_is_committed_by_hand_where_speech_is_not_looked_for() -> None:
    """Push-to-talk, without an answer."""
    stage = listening(audio={"input": {"turn_detection": None}})
    stage.client(silence(0.5), ev.InputAudioBufferCommit())
    assert Commit(stage.item_id) in stage.commands
    told = stage.backend(Transcript("u", "hi", final=True, item_id=stage.item_id))
    assert told[-1] == COMPLETED


def test_it_makes_no_responses() -> None:
    """Not for the client, which is told what it may say, and not of the backend's accord."""
    stage = listening()
    assert stage.client(ev.ResponseCreate(event_id="e")) == ["error"]
    error = stage.seen(ev.Error)
    assert (error.code, error.param, error.client_event_id) == ("invalid_value", "type", "e")
    assert "'input_audio_buffer.commit'" in error.message
    assert "'response.create'." not in error.message.split("Supported")[1]
    assert stage.client(ev.ResponseCancel()) == ["error"]
    assert stage.backend(ResponseOpened("own")) == []
    assert stage.commands == [Cancel("own")]
    assert stage.backend(TextDelta("own", "x")) == []


def test_a_session_that_becomes_one_gives_up_what_it_was_answering() -> None:
    """The client is told how that ended before it is told anything else."""
    stage = Stage()
    stage.client(user_says("hi"), ev.ResponseCreate())
    response = stage.response_id
    told = stage.client(ev.SessionUpdate({"type": "transcription"}))
    assert told == ["response.done", "rate_limits.updated", "session.updated"]
    assert Cancel(response) in stage.commands
    assert stage.seen(ev.SessionUpdated).session["type"] == "transcription"
