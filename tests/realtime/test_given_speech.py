"""Items that come with their sound and without its words: the backend is made to hear them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stage import LISTEN_BY_HAND, TRANSCRIBE, Stage, silence

from trio_bridge.messages import (
    Capabilities,
    Clear,
    Commit,
    Configure,
    MicrophoneAudio,
    Respond,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.values import AudioFormat

SECOND = b"\1\2" * 24_000


def sound(audio: bytes = SECOND) -> ev.Json:
    part = {"type": "input_audio", "audio": base64.b64encode(audio).decode()}
    return {"type": "message", "role": "user", "content": [part]}


def test_an_item_is_heard_and_then_answered() -> None:
    """Its words come as those of committed speech do; the answer waits for them."""
    stage = Stage()
    stage.client(ev.SessionUpdate(TRANSCRIBE))
    assert stage.client(ev.ConversationItemCreate(sound())) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    item = stage.item_id
    clear, deaf, audio, commit, configure = stage.commands
    assert (clear, commit) == (Clear(), Commit(item))
    assert audio == MicrophoneAudio(SECOND)
    assert isinstance(deaf, Configure)
    assert deaf.turn_detection is None
    assert isinstance(configure, Configure)
    assert configure.turn_detection is not None
    stage.client(ev.ResponseCreate())
    assert stage.commands == []
    told = stage.backend(Transcript("u1", "hello", final=True, item_id=item))
    assert told[-1] == "conversation.item.input_audio_transcription.completed"
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert completed.usage["seconds"] == 1.0
    (asked,) = [each for each in stage.commands if isinstance(each, Respond)]
    assert asked.request.items[0]["content"][0]["transcript"] == "hello"


def test_what_was_not_committed_is_heard_again() -> None:
    """The item's sound is not mixed with it, and the client's clock does not show it."""
    stage = Stage()
    stage.client(ev.SessionUpdate(LISTEN_BY_HAND))
    live = bytes(range(200)) * 48
    stage.client(ev.InputAudioBufferAppend(live), ev.ConversationItemCreate(sound()))
    heard = [each for each in stage.commands if not isinstance(each, Configure)]
    assert heard == [
        MicrophoneAudio(live),
        Clear(),
        MicrophoneAudio(SECOND),
        Commit(stage.item_id),
        MicrophoneAudio(live),
    ]
    stage.client(ev.InputAudioBufferCommit())
    assert stage.commands == [Commit(stage.item_id)]


def test_speech_is_placed_on_the_clients_clock() -> None:
    """Though the backend has heard a second that the client never appended, and 0.3 s twice."""
    stage = Stage()
    stage.client(silence(0.3), ev.ConversationItemCreate(sound()), silence(2))
    stage.backend(SpeechStarted("late", 100))
    assert stage.seen(ev.InputAudioBufferSpeechStarted).audio_start_ms == 100
    stage.backend(SpeechStarted("u", 1_500), SpeechStopped("u", 2_600))
    assert stage.seen(ev.InputAudioBufferSpeechStarted).audio_start_ms == 200
    assert stage.seen(ev.InputAudioBufferSpeechStopped).audio_end_ms == 1_300


def test_a_backend_that_hears_by_itself_is_given_the_sound() -> None:
    """There is no transcript to wait for."""
    stage = Stage(Capabilities(transcripts=False))
    stage.client(ev.ConversationItemCreate(sound()))
    assert Commit(stage.item_id) in stage.commands
    stage.client(ev.ResponseCreate())
    assert isinstance(stage.commands[0], Respond)


@pytest.mark.parametrize(
    "event",
    [
        ev.ConversationItemCreate(
            sound() | {"content": [{"type": "input_text", "text": "a"}, *sound()["content"]]}
        ),
        ev.ResponseCreate({"input": [sound()]}),
    ],
)
def test_what_cannot_be_heard_is_refused(event: ev.ClientEvent) -> None:
    """Rather than passed over."""
    stage = Stage()
    assert stage.client(event) == ["error"]
    error = stage.seen(ev.Error)
    assert error.code == "unsupported_value"
    assert str(error.param).endswith(".audio")
    assert stage.commands == []


def test_nobody_is_interrupted() -> None:
    """While the user speaks the backend's ear is the user's."""
    stage = Stage()
    stage.client(silence(1))
    stage.backend(SpeechStarted("u", 0))
    assert stage.client(ev.ConversationItemCreate(sound())) == ["error"]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=6))
def test_both_clocks_tell_the_same_moment(steps: list[tuple[int, int]]) -> None:
    """What the backend hears now is always the client's now."""
    ledger = InputLedger(AudioFormat())
    backend = 0.0
    for appended, inserted in steps:
        ledger.append(bytes(48 * appended))
        again = min(50.0, ledger.clock_ms)
        ledger.backend_heard(inserted, again)
        backend += appended + inserted + again
        assert ledger.on_clock(backend) == ledger.clock_ms
