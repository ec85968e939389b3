"""A voice session against a server played by the test, on a clock of the test's own."""

import base64
import re
from typing import Any

import pytest
from attrs import evolve

from trio_bridge.bench.plan import Plan, Tally
from trio_bridge.bench.speech import Speech
from trio_bridge.bench.voice import PATIENCE, VoiceSession

PLAN = Plan(
    url="ws://127.0.0.1:1/v1/realtime",
    numbers=(0,),
    of=1,
    frame_ms=40,
    seconds=60.0,
    ramp=0.0,
    look_ahead=0.0,
    playout=0.06,
    scenario="voice",
    turns=1,
)
HEARD = ["go forward ten meters", "he might even have been made amiable himself"]
KNOWN = [(words,) for words in HEARD]
LOUD = b"\x00\x20" * 960
CHANGES = {"turns": 2, "barge_in": 2}


class Line:
    """A connection that goes nowhere."""

    def __init__(self):
        self.sent = []
        self.closed = False

    def connect(self):
        pass

    def send(self, frame):
        self.sent.append(frame)

    def close(self):
        self.closed = True


class Play:
    """A session, and what a server says to it."""

    def __init__(self, number=0, **changes):
        self.number = number
        self.plan = evolve(PLAN, **changes)
        self.tally = Tally()
        self.line = Line()
        # Five frames each: one is quiet, three are loud, one is quiet.
        quiet = bytes(len(LOUD))
        pcm = [quiet + 3 * LOUD + quiet, quiet + 3 * LOUD + quiet]
        self.speech = Speech.of(pcm, self.plan.frame_samples, KNOWN, repeated=True)
        line: Any = self.line
        self.session = VoiceSession(number, self.plan, self.tally, line, self.speech)
        self.now = 0.0
        self.due: float | None = 0.0
        self.items = 0
        self.session.act(self.now, 0.0)
        self.say("session.created")
        self.say("session.updated")

    def say(self, event_type, **fields):
        self.session._event({"type": event_type, **fields}, self.now)

    def frames(self, number=1):
        for _ in range(number):
            if self.due is None:
                return
            self.now = self.due
            self.due = self.session.act(self.now, self.due)

    def until_spoken(self):
        """Let time pass until it has said its utterance."""
        while self.mine.frames[-1] not in self.line.sent[-1:]:
            self.frames()
            assert self.due is not None

    @property
    def mine(self):
        """The session's own utterance."""
        return self.speech.utterances[self.number]

    def heard(self, words):
        """It was heard; what follows is up to the server."""
        self.items += 1
        item = f"item_{self.items}"
        self.say("input_audio_buffer.speech_started")
        self.frames(13)
        self.say("input_audio_buffer.speech_stopped", audio_end_ms=int(self.now * 1000) - 40)
        self.say("input_audio_buffer.committed", item_id=item)
        self.say(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            transcript=words,
        )

    def answered(self, words, response="resp_1"):
        self.say("response.created", response={"id": response})
        self.audio(response)
        self.spelt(words, response)
        self.say("response.done", response={"id": response, "status": "completed"})

    def spelt(self, words, response="resp_1"):
        """An answer's words come in pieces."""
        kind = "response.output_audio_transcript.delta"
        for piece in re.findall(r"\s*\S+", words):
            self.say(kind, response_id=response, delta=piece)

    def audio(self, response, frames=25):
        delta = base64.b64encode(frames * LOUD).decode()
        self.say("response.output_audio.delta", response_id=response, delta=delta)

    @property
    def failure(self):
        assert len(self.tally.failures) == 1
        assert self.line.closed
        return self.tally.failures[0][1]


def test_a_turn_from_pause_to_end():
    """Said, heard, answered, listened to: then the session is over."""
    play = Play()
    play.until_spoken()
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[0]}.")
    play.frames(10)
    assert play.tally.finished == 0  # it listens to the answer
    play.frames(60)
    assert play.session.over
    assert play.tally.failures == []
    assert (play.tally.finished, play.tally.turns, play.tally.exact) == (1, 1, 1)
    assert play.tally.heard == [(0, HEARD[0], f"You said: {HEARD[0]}.")]


def test_the_answer_is_timed_from_the_end_of_speech():
    """And from where the server took it to have ended."""
    play = Play()
    play.session.begun = -100.0  # all have joined long ago
    play.plan = evolve(play.plan, seconds=1000.0)
    play.session._plan = play.plan
    play.until_spoken()
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[0]}.")
    # The last loud frame is the last but one of the utterance; 13 frames followed.
    assert play.tally.answer == pytest.approx([14 * 0.04])
    assert 0 <= play.tally.answer_beyond[0] < 0.1


def interrupting(number=0):
    """A session that has spoken into a long answer of two seconds."""
    play = Play(number, barge_in=1)
    while play.session._ask not in play.line.sent:
        play.frames()
        assert play.due is not None
    play.say("response.created", response={"id": "resp_1"})
    play.audio("resp_1", 100)
    return play


def test_every_second_turn_interrupts():
    """It asks for a long answer, listens to a second of it, and speaks into it."""
    play = Play(**CHANGES)
    play.session.begun = -100.0
    play.session._plan = evolve(play.plan, seconds=1000.0)
    play.until_spoken()
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[0]}.")
    while play.session._ask not in play.line.sent:
        play.frames()
        assert play.due is not None
    play.frames(50)
    spoken = play.mine.frames[0]
    assert play.line.sent.count(spoken) == 1  # nothing to interrupt yet
    play.say("response.created", response={"id": "resp_2"})
    play.audio("resp_2", 100)
    play.spelt("One hundred and one, one hundred and two, one hundred", "resp_2")
    began = play.now
    while play.line.sent.count(spoken) < 2:
        play.frames()
        assert play.due is not None
    assert play.now - began == pytest.approx(1.0, abs=0.05)
    play.frames(4)
    play.say("response.done", response={"id": "resp_2", "status": "cancelled"})
    assert play.tally.barge_in == pytest.approx([0.12])
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[0]}.", "resp_3")
    play.frames(80)
    assert play.tally.failures == []
    assert play.tally.turns == 2


def test_two_items_of_one_utterance_are_one_turn():
    """Recordings have pauses; the first answer is then cut short."""
    play = Play()
    play.until_spoken()
    play.heard("go forward")
    play.say("response.created", response={"id": "resp_1"})
    play.audio("resp_1")
    play.say("input_audio_buffer.speech_started")
    play.say("response.done", response={"id": "resp_1", "status": "cancelled"})
    play.session._speech.repeated = False
    play.heard("ten meters")
    play.answered("Well.", "resp_2")
    play.frames(80)
    assert play.tally.failures == []
    assert play.tally.exact == 1


def test_somebody_elses_words_end_the_session():
    """A mix-up is a failure."""
    play = Play()
    play.until_spoken()
    play.heard(HEARD[1])
    play.answered(f"You said: {HEARD[1]}.")
    play.frames(80)
    assert play.failure == f"turn 1: heard {HEARD[1]!r} instead of {HEARD[0]!r}"


def test_somebody_elses_answer_ends_the_session():
    """Whether by its words or by its response."""
    play = Play()
    play.until_spoken()
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[1]}.")
    play.frames(80)
    assert "and answered" in play.failure
    play = Play()
    play.until_spoken()
    play.heard(HEARD[0])
    play.say("response.created", response={"id": "resp_1"})
    play.audio("resp_9")
    assert play.failure == "audio came for a response that is not under way"


@pytest.mark.parametrize("mixed_up", [False, True])
@pytest.mark.parametrize("fault", ["transcripts", "answers", "both", "long answers"])
def test_two_sessions_that_are_mixed_up_both_fail(fault, mixed_up):
    """Whatever of one reaches the other, in whatever turn."""
    plays = [interrupting(0), interrupting(1)]
    theirs = [1, 0] if mixed_up else [0, 1]
    counted = ["One hundred and one, one hundred and", "One hundred and two, one hundred and"]
    for play, other in zip(plays, theirs, strict=True):
        play.spelt(counted[other if fault == "long answers" else play.number] + " three")
        play.until_spoken()
        play.say("response.done", response={"id": "resp_1", "status": "cancelled"})
        if play.session.over:
            continue
        heard = HEARD[other if fault in {"transcripts", "both"} else play.number]
        answer = HEARD[other if fault in {"answers", "both"} else play.number]
        play.heard(heard)
        play.answered(f"You said: {answer}.", "resp_2")
        play.frames(80)
    assert [len(play.tally.failures) for play in plays] == ([1, 1] if mixed_up else [0, 0])
    assert [play.tally.finished for play in plays] == ([0, 0] if mixed_up else [1, 1])


def test_audio_after_the_end_of_a_response_is_seen():
    """Nothing may come late."""
    play = Play()
    play.until_spoken()
    play.heard(HEARD[0])
    play.answered(f"You said: {HEARD[0]}.")
    play.audio("resp_1")
    assert play.failure == "audio came for a response that is not under way"


@pytest.mark.parametrize(
    ("so_far", "why"),
    [
        ([], "nothing was heard"),
        (["committed"], "no transcript came"),
        (["committed", "transcript"], "no answer came"),
        (["committed", "transcript", "created"], "the answer did not end"),
    ],
)
def test_a_turn_that_gets_lost_is_seen(so_far, why):
    """With what is missing."""
    play = Play()
    play.until_spoken()
    if "committed" in so_far:
        play.say("input_audio_buffer.committed", item_id="item_1")
    if "transcript" in so_far:
        play.say(
            "conversation.item.input_audio_transcription.completed",
            item_id="item_1",
            transcript=HEARD[0],
        )
    if "created" in so_far:
        play.say("response.created", response={"id": "resp_1"})
    play.frames(int(PATIENCE * 25) + 25)
    assert play.failure == f"turn 1: {why} within {PATIENCE:g} s"


def test_a_failed_answer_is_seen():
    """Its status says so."""
    play = Play()
    play.until_spoken()
    play.heard(HEARD[0])
    play.say("response.created", response={"id": "resp_1"})
    play.say("response.done", response={"id": "resp_1", "status": "failed"})
    assert play.failure == "turn 1: the answer ended as failed"
