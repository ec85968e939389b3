"""Turns over speech monitor and recogniser of the hub, without any."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pyarrow as pa
import pytest
from attrs import define, field

from trio_bridge.dora.hub.listening import SEGMENT_PATIENCE, TRANSCRIPT_PATIENCE, Listening
from trio_bridge.dora.hub.messages import BLOCK, Message, read_message
from trio_bridge.dora.hub.pacing import Pacing
from trio_bridge.dora.node_events import Batch, Notice
from trio_bridge.messages import BackendEvent, Failure, SpeechStarted, SpeechStopped, Transcript


@define
class Stage:
    sent: list[Message] = field(factory=list)
    told: list[BackendEvent] = field(factory=list)
    listening: Listening = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.listening = Listening(count(1), Pacing(), self.sent.append, self.told.append)

    def hear(self, port: str, now: float = 0.0, **metadata: int) -> None:
        self.listening.receive(Message(port, metadata=metadata), now)

    def segment(self, now: float = 0.0, question: int = 123456) -> int:
        message = Message(
            "audio_segment",
            samples=np.ones(1600, np.float32),
            metadata={"question_id": question, "sample_rate": 16_000},
        )
        self.listening.receive(message, now)
        number = self.sent[-1].number
        assert number is not None
        return number

    def understood(self, number: int, text: str, now: float = 0.0, **more: str) -> None:
        metadata = {"question_id": str(number), **more}
        self.listening.receive(Message("transcription", text, metadata=metadata), now)

    @property
    def finals(self) -> list[Transcript]:
        return [e for e in self.told if isinstance(e, Transcript) and e.final]


def test_a_question_of_several_segments_is_one_utterance() -> None:
    """Its parts stand in the order in which they were said."""
    stage = Stage()
    stage.listening.audio(np.zeros(16_000, np.float32), 0.0)
    stage.hear("speech_started")
    first = stage.segment()
    stage.hear("speech_ended")
    stage.hear("speech_started")
    second = stage.segment()
    stage.hear("question_ended", 1.0)
    stage.understood(second, "world.", 1.1)
    assert not stage.finals
    stage.understood(first, "Hello", 1.2)
    started, stopped = (e for e in stage.told if not isinstance(e, Transcript))
    assert isinstance(started, SpeechStarted)
    assert started.audio_ms == 700
    assert stopped == SpeechStopped(started.utterance_id, 1000)
    assert [(t.utterance_id, t.text) for t in stage.finals] == [
        (started.utterance_id, "Hello world.")
    ]
    assert stage.listening.deadline == math.inf


def test_what_is_not_understood_is_waited_for_only_so_long() -> None:
    stage = Stage()
    stage.hear("speech_started")
    stage.segment()
    stage.hear("question_ended", 1.0)
    stage.listening.tick(1.0 + TRANSCRIPT_PATIENCE)
    assert not stage.finals
    stage.listening.tick(1.1 + TRANSCRIPT_PATIENCE)
    assert [t.text for t in stage.finals] == [""]


def test_a_recogniser_is_given_the_time_that_it_takes_to_say_what_it_has() -> None:
    """One that is as slow as speech is slow, and not deaf."""
    stage = Stage()
    stage.listening.configure(None)
    for item in ("first", "second"):
        stage.listening.audio(np.zeros(160_000, np.float32), 0.0)
        stage.listening.commit(item, 0.0)
    stage.listening.tick(10 + TRANSCRIPT_PATIENCE - 0.1)
    assert not stage.finals
    stage.listening.tick(10 + TRANSCRIPT_PATIENCE)
    assert [t.item_id for t in stage.finals] == ["first"]
    stage.listening.tick(20 + TRANSCRIPT_PATIENCE)
    assert [t.item_id for t in stage.finals] == ["first", "second"]


def test_a_segment_may_come_after_the_end_of_its_question() -> None:
    """Two outputs of a node are not ordered; one that never comes is not waited for long."""
    stage = Stage()
    stage.hear("speech_started")
    stage.hear("question_ended", 1.0)
    number = stage.segment(1.1)
    stage.listening.tick(1.0 + SEGMENT_PATIENCE)
    stage.understood(number, "Late.", 2.0)
    assert [t.text for t in stage.finals] == ["Late."]
    stage.hear("speech_started")
    stage.hear("question_ended", 3.0)
    stage.listening.tick(3.0 + SEGMENT_PATIENCE)
    assert [t.text for t in stage.finals] == ["Late.", ""]


def test_the_last_segment_may_come_after_all_else_is_understood() -> None:
    """The monitor has said how many there are; more words than that are not waited for."""
    stage = Stage()
    stage.hear("speech_started")
    stage.hear("speech_ended")
    stage.understood(stage.segment(), "Once.")
    stage.hear("speech_started")
    stage.hear("speech_ended", 0.9)
    stage.hear("question_ended", 1.0)
    stage.listening.tick(1.4)
    assert not stage.finals
    stage.understood(stage.segment(1.5), "Twice.", 1.6)
    assert [t.text for t in stage.finals] == ["Once. Twice."]
    assert stage.listening.deadline == math.inf


def test_a_late_segment_is_not_the_next_questions() -> None:
    stage = Stage()
    stage.hear("speech_started", question_id=7)
    stage.hear("question_ended", 1.0)
    stage.hear("speech_started", 1.2, question_id=8)
    first, second = stage.segment(1.3, 7), stage.segment(1.6, 8)
    stage.understood(second, "Two.", 1.7)
    stage.understood(first, "One.", 1.8)
    stage.hear("question_ended", 2.0)
    assert [t.text for t in stage.finals] == ["One.", "Two."]


def test_a_recogniser_that_fails_is_told() -> None:
    stage = Stage()
    stage.hear("speech_started")
    number = stage.segment()
    stage.hear("question_ended")
    stage.understood(number, "", error="out of memory")
    (final,) = stage.finals
    assert final.failure == Failure("recogniser_failed", "out of memory")


def test_a_commit_is_one_segment() -> None:
    """All that was heard since the last one, whether or not speech is looked for."""
    stage = Stage()
    stage.listening.configure(None)
    for value in (0.25, 0.5):
        stage.listening.audio(np.full(700, value, np.float32), 0.0)
    assert not stage.sent
    stage.listening.commit("item", 0.0)
    (segment,) = stage.sent
    assert segment.samples is not None
    assert (len(segment.samples), segment.samples[-1]) == (1400, 0.5)
    assert segment.number is not None
    stage.understood(segment.number, "Words.")
    (final,) = stage.finals
    assert (final.item_id, final.text) == ("item", "Words.")
    stage.listening.commit("empty", 0.0)
    assert stage.sent[-1].samples is not None
    assert not len(stage.sent[-1].samples)


def test_audio_leaves_in_blocks() -> None:
    """However it comes: of a long message a monitor makes all speech, or all silence."""
    stage = Stage()
    for _ in range(4):
        stage.listening.audio(np.zeros(320, np.float32), 0.0)
    assert [len(m.samples) for m in stage.sent if m.samples is not None] == [640, 640]
    second = np.arange(16_000, dtype=np.float32)
    stage.sent.clear()
    stage.listening.audio(second, 0.0)
    blocks = [m.samples for m in stage.sent if m.samples is not None]
    assert all(BLOCK <= len(block) < 2 * BLOCK for block in blocks)
    assert np.concatenate(blocks).tolist() == second.tolist()


def test_nothing_of_a_session_is_left_to_the_next() -> None:
    """What the monitor still hears of the old one is no turn of the new one's."""
    stage = Stage()
    stage.listening.audio(np.ones(640, np.float32), 0.0)
    stage.hear("speech_started")
    waiting = stage.segment()
    stage.hear("question_ended")
    stage.hear("speech_started")
    number = stage.segment()
    stage.listening.end()
    silence = stage.sent[-1].samples
    assert silence is not None
    assert not silence.any()
    stage.listening.begin()
    told = len(stage.told)
    for late in (waiting, number):
        stage.understood(late, "Secret.")
    stage.hear("question_ended")
    stage.listening.tick(math.inf)
    sent = len(stage.sent)
    stage.listening.receive(Message("audio_segment", samples=np.ones(9, np.float32)), 0.0)
    assert len(stage.told) == told
    assert len(stage.sent) == sent


@pytest.mark.parametrize(
    "value",
    [
        pa.array([0.5, -0.5], pa.float32()),
        pa.array([0.5, -0.5], pa.float64()),
        pa.array([[0.5, -0.5]], pa.list_(pa.float32())),
    ],
    ids=["float32", "float64", "list"],
)
def test_audio_is_read_however_it_is_packed(value: pa.Array) -> None:
    event = {
        "type": "INPUT",
        "id": "speech",
        "value": value,
        "metadata": {"sample_rate": 32_000, "question_id": "7"},
    }
    batch = read_message(event)
    assert isinstance(batch, Batch)
    (message,) = batch.rows
    assert message.samples.dtype == np.float32
    assert message.samples.tolist() == [0.5, -0.5]
    assert (message.sample_rate, message.number) == (32_000, 7)


@pytest.mark.parametrize(
    ("value", "rate"),
    [
        (pa.array(["x"]), 16_000),
        (pa.array([float("nan")]), 16_000),
        (pa.array([None], pa.float32()), 16_000),
        (pa.array([0.5]), 0),
        (pa.array([0.5]), "None"),
    ],
)
def test_audio_that_is_none_is_refused(value: pa.Array, rate: object) -> None:
    metadata = {"sample_rate": rate}
    event = {"type": "INPUT", "id": "speech", "value": value, "metadata": metadata}
    notice = read_message(event)
    assert isinstance(notice, Notice)
    assert notice.kind == "BAD_MESSAGE"


def test_odd_metadata_is_taken_for_what_it_means() -> None:
    """Dora makes "None" of None; a number may be anything."""
    assert Message("text", metadata={"error": "None"}).error == ""
    assert Message("text", metadata={"error": "gone"}).error == "gone"
    for value in (float("inf"), "x", None, [1]):
        assert Message("text", metadata={"question_id": value}).number is None
