"""Responses over nodes of the hub, without any: each has one end, whatever they leave out."""

from __future__ import annotations

import math
from itertools import count

import numpy as np
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.hub.answering import (
    FIRST_TEXT_PATIENCE,
    PIECE_PATIENCE,
    SEGMENT_PATIENCE,
    SPEECH_PATIENCE,
    TEXT_PATIENCE,
    Answering,
)
from trio_bridge.dora.hub.messages import Message
from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    ResponseFinished,
    ResponseRequest,
    TextDelta,
)


@define
class Stage:
    sent: list[Message] = field(factory=list)
    told: list[BackendEvent] = field(factory=list)
    answering: Answering = field(init=False)
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.answering = Answering(
            count(1), voice=True, send=self.sent.append, tell=self.told.append
        )

    def ask(self, response_id: str, *, credit: float = math.inf) -> int:
        content = [{"type": "input_audio", "transcript": "Well?"}]
        items = ({"type": "message", "role": "user", "content": content},)
        self.answering.respond(response_id, ResponseRequest(items), self.now)
        self.answering.credit(response_id, credit, self.now)
        number = self.last("question").number
        assert number is not None
        return number

    def hear(
        self, port: str, text: str = "", number: int | None = None, **more: object
    ) -> None:
        metadata = {} if number is None else {"question_id": number}
        self.answering.receive(Message(port, text, metadata={**metadata, **more}), self.now)

    def audio(self, number: int | None, seconds: float = 0.1) -> None:
        metadata = {"sample_rate": 32_000} | ({} if number is None else {"question_id": number})
        samples = np.zeros(int(seconds * 32_000), np.float32)
        self.answering.receive(Message("speech", samples=samples, metadata=metadata), self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.answering.tick(self.now)

    def last(self, port: str) -> Message:
        return [message for message in self.sent if message.port == port][-1]

    def count(self, port: str) -> int:
        return sum(message.port == port for message in self.sent)

    @property
    def sentence(self) -> int:
        number = self.last("sentence").number
        assert number is not None
        return number

    @property
    def ends(self) -> list[ResponseFinished]:
        return [event for event in self.told if isinstance(event, ResponseFinished)]

    @property
    def heard(self) -> float:
        """Seconds of audio."""
        audio = [event for event in self.told if isinstance(event, AudioDelta)]
        return sum(len(event.samples) / event.sample_rate for event in audio)

    @property
    def words(self) -> str:
        return "".join(e.text for e in self.told if isinstance(e, AudioDelta | TextDelta))


def answered(stage: Stage, *sentences: str) -> None:
    """Ask, and let the language node and the segmenter do their part."""
    number = stage.ask("r")
    stage.hear("text", " ".join(sentences), session_status="started", segment_index="0")
    stage.hear("text", "", session_status="ended", segment_index="1")
    for sentence in sentences:
        stage.hear("text_segment", sentence, number, session_status="ongoing")


def test_an_answer_ends_when_its_last_sentence_is_spoken() -> None:
    """Not with the audio: the end of the sentence comes after it."""
    stage = Stage()
    answered(stage, "One.", "Two.")
    stage.audio(stage.sentence)
    assert stage.count("sentence") == 1
    stage.hear("segment_complete", "completed", stage.sentence)
    stage.audio(stage.sentence)
    assert not stage.ends
    stage.hear("segment_complete", "completed", stage.sentence)
    assert stage.ends == [ResponseFinished("r")]
    assert stage.words == "One. Two."
    assert stage.count("spoken") == 2
    assert stage.answering.deadline == math.inf


@pytest.mark.parametrize("numbered", [True, False])
def test_the_end_of_a_sentence_may_overtake_its_audio(numbered: bool) -> None:
    """It is waited for, and so is that of a response that has been cancelled."""
    stage = Stage()
    answered(stage, "One.", "Two.")
    for _ in range(2):
        number = stage.sentence if numbered else None
        stage.hear("segment_complete", "completed", number)
        stage.wait(SPEECH_PATIENCE - 0.1)
        assert not stage.ends
        stage.audio(number)
    assert stage.ends == [ResponseFinished("r")]
    assert stage.words == "One. Two."
    assert stage.heard == pytest.approx(0.2)
    answered(stage, "Three.")
    number = stage.sentence if numbered else None
    stage.hear("segment_complete", "completed", number)
    stage.answering.cancel("r")
    answered(stage, "Four.")
    stage.hear("segment_complete", "completed", stage.sentence if numbered else None)
    stage.audio(number)
    assert stage.heard == pytest.approx(0.2)
    stage.audio(stage.sentence if numbered else None)
    assert stage.heard == pytest.approx(0.3)
    assert len(stage.ends) == 2
    assert stage.answering.deadline == math.inf


def test_a_spoken_sentence_without_audio_is_given_up() -> None:
    stage = Stage()
    answered(stage, "One.")
    stage.hear("segment_complete", "completed", stage.sentence)
    stage.wait(SPEECH_PATIENCE)
    (end,) = stage.ends
    assert end.failure is not None
    assert end.failure.code == "voice_silent"


def test_the_last_piece_of_a_sentence_may_come_after_its_end() -> None:
    """The sentence after it need not wait for that, the end of the response does."""
    stage = Stage()
    answered(stage, "One.", "Two.")
    first = stage.sentence
    stage.audio(first)
    stage.audio(first)
    stage.hear("segment_complete", "completed", first)
    second = stage.sentence
    assert second != first
    stage.audio(first)
    stage.audio(second)
    stage.hear("segment_complete", "completed", second)
    stage.wait(PIECE_PATIENCE - 0.1)
    stage.audio(second)
    stage.wait(PIECE_PATIENCE - 0.1)
    assert not stage.ends
    stage.wait(0.1)
    assert stage.ends == [ResponseFinished("r")]
    assert stage.words == "One. Two."
    assert stage.heard == pytest.approx(0.5)
    assert stage.answering.deadline == math.inf


@pytest.mark.parametrize("numbered", [True, False])
def test_a_skip_is_told_twice_and_counts_once(numbered: bool) -> None:
    stage = Stage()
    answered(stage, "--.", "Two.")
    number = stage.sentence if numbered else None
    stage.hear("segment_complete", "skipped", number)
    stage.hear("segment_complete", "empty", number)
    assert not stage.ends
    stage.audio(stage.sentence if numbered else None)
    stage.hear("segment_complete", "completed", stage.sentence if numbered else None)
    assert [end.status for end in stage.ends] == ["completed"]
    assert stage.words == "--. Two."


def test_a_silent_language_node_fails_the_answer() -> None:
    stage = Stage()
    stage.ask("r")
    stage.wait(FIRST_TEXT_PATIENCE - 0.1)
    assert not stage.ends
    stage.wait(0.1)
    (end,) = stage.ends
    assert end.status == "failed"
    assert end.failure is not None
    assert end.failure.code == "language_node_silent"


def test_text_without_an_end_is_taken_to_be_over() -> None:
    """The segmenter is then told to give what it has."""
    stage = Stage()
    number = stage.ask("r")
    stage.hear("text", "One")
    stage.wait(TEXT_PATIENCE)
    assert stage.last("draft").status == "ended"
    stage.hear("text_segment", "One", number, session_status="ended")
    stage.audio(stage.sentence)
    stage.hear("segment_complete", "completed", stage.sentence)
    assert stage.ends == [ResponseFinished("r")]


def test_a_silent_segmenter_and_a_silent_voice_fail_the_answer() -> None:
    stage = Stage()
    stage.ask("one")
    stage.hear("text", "Words", session_status="ended")
    stage.wait(SEGMENT_PATIENCE)
    answered(stage, "One.")
    stage.wait(SPEECH_PATIENCE)
    failures = [end.failure.code for end in stage.ends if end.failure]
    assert failures == ["segmenter_silent", "voice_silent"]
    assert [end.status for end in stage.ends] == ["failed", "failed"]


def test_a_cancelled_answer_goes_no_further() -> None:
    """What its nodes still send for it is dropped, with or without its number."""
    stage = Stage()
    answered(stage, "One.", "Two.")
    old = stage.sentence
    stage.answering.cancel("r")
    stage.ask("first")
    stage.hear("text", "Old", session_status="started")
    stage.answering.cancel("first")
    new = stage.ask("new")
    stage.hear("text", "words", session_status="ongoing")
    stage.hear("text", "", session_status="cancelled")
    drafts = stage.count("draft")
    stage.audio(old)
    stage.hear("text", "New.", session_status="ended")
    assert stage.count("draft") == drafts + 1
    stage.hear("text_segment", "New.", new)
    assert stage.sentence != old
    stage.audio(None)  # the voice is still at the old one
    stage.hear("segment_complete", "completed")
    stage.audio(stage.sentence)
    stage.hear("segment_complete", "completed", stage.sentence)
    stage.wait(PIECE_PATIENCE)
    assert stage.words == "New."
    assert stage.ends == [ResponseFinished("new")]
    assert stage.count("control") == 1


def test_a_cancel_may_meet_the_next_question() -> None:
    """That is asked again, once, and answered as if nothing had been."""
    stage = Stage()
    stage.answering.begin("session")
    old = stage.ask("old")
    stage.hear("text", "Old words", old, session_status="started")
    stage.answering.cancel("old")
    assert stage.last("control").metadata == {"session_id": "session", "question_id": old}
    stage.hear("text", "", old, session_status="ended")  # it was too late for this one
    new = stage.ask("new")
    stage.hear("text", "", new, session_status="cancelled")
    assert (stage.count("question"), stage.last("question").number) == (3, new)
    stage.hear("text", "", session_status="cancelled")  # the session's, beside the answer's
    stage.wait(FIRST_TEXT_PATIENCE - 0.1)
    assert not stage.ends
    stage.hear("text", "New.", new, session_status="ended")
    stage.hear("text_segment", "New.", new, session_status="ended")
    stage.audio(stage.sentence)
    stage.hear("segment_complete", "completed", stage.sentence)
    assert stage.ends == [ResponseFinished("new")]
    assert stage.words == "New."
    assert stage.answering.deadline == math.inf


def test_a_language_node_that_cancels_again_and_again_ends_the_answer() -> None:
    stage = Stage()
    number = stage.ask("r")
    stage.hear("text", "", number, session_status="cancelled")
    assert not stage.ends
    stage.hear("text", "", number, session_status="cancelled")
    stage.wait(SEGMENT_PATIENCE)
    assert stage.ends == [ResponseFinished("r", status="cancelled")]
    assert stage.count("question") == 2


def test_a_question_that_is_asked_again_stands_behind_those_asked_meanwhile() -> None:
    stage = Stage()
    first, second = stage.ask("first"), stage.ask("second")
    stage.hear("text", "", first, session_status="cancelled")
    stage.hear("text", "Two.", second, session_status="ended")
    stage.hear("text", "One.", first, session_status="ended")
    for number, text in ((second, "Two."), (first, "One.")):
        stage.hear("text_segment", text, number, session_status="ended")
        stage.audio(stage.sentence)
        stage.hear("segment_complete", "completed", stage.sentence)
    assert [end.response_id for end in stage.ends] == ["second", "first"]


def test_the_nodes_forget_a_session_when_it_is_over() -> None:
    """Not when the next one begins, whose first question that might come after."""
    stage = Stage()
    stage.answering.reset()
    stage.answering.begin("one")
    assert stage.count("control") == stage.count("reset") == 1
    answered(stage, "One.")
    stage.answering.end()
    control = stage.last("control")
    assert (control.text, control.metadata) == ("reset", {"session_id": "one"})
    told = stage.count("control")
    stage.answering.begin("two")
    stage.ask("r")
    assert stage.count("control") == told
    stage.answering.end()
    stage.answering.begin("three")
    stage.answering.cancel("r")
    cancels = [m for m in stage.sent if (m.port, m.text) == ("control", "cancel")]
    assert [each.metadata["session_id"] for each in cancels] == ["two"]
    assert stage.count("reset") == 1


@define
class Segmenter:
    """Gives sentences, one at a time. What it is sent on each port comes in order, and the
    ports in any."""

    stage: Stage = field(factory=Stage)
    taken: dict[str, int] = field(factory=dict)
    buffer: str = ""
    queue: list[tuple[str, int]] = field(factory=list)
    busy: bool = False

    def take(self, port: str) -> bool:
        """Take the next message on a port, if there is one."""
        sent = [message for message in self.stage.sent if message.port == port]
        taken = self.taken.get(port, 0)
        if taken == len(sent):
            return False
        self.taken[port] = taken + 1
        self._hear(sent[taken])
        return True

    def _hear(self, message: Message) -> None:
        match message.port:
            case "reset":
                self.queue.clear()
                self.buffer, self.busy = "", False
            case "spoken":
                self.busy = False
            case "draft":
                number = message.number
                assert number is not None
                self.buffer += message.text
                *whole, self.buffer = self.buffer.split("|")
                self.queue += [(f"{sentence}|", number) for sentence in whole]
                if message.status == "ended" and self.buffer:
                    self.queue.append((self.buffer, number))
                    self.buffer = ""
            case "sentence":
                self.stage.audio(message.number)
                self.stage.hear("segment_complete", "completed", message.number)
        if self.queue and not self.busy:
            self.busy = True
            sentence, number = self.queue.pop(0)
            self.stage.hear("text_segment", sentence, number)


PORTS = st.sampled_from(["draft", "reset", "spoken", "sentence"])
TURNS = st.tuples(
    st.text("ab|", min_size=1, max_size=6), st.booleans(), st.lists(PORTS, max_size=12)
)


@given(st.lists(TURNS, min_size=1, max_size=5))
def test_nothing_of_a_cancelled_answer_gets_into_the_next(
    turns: list[tuple[str, bool, list[str]]],
) -> None:
    """Nor does its end take the beginning of that away, in whatever order the segmenter meets
    what it is sent."""
    nodes = Segmenter()
    stage = nodes.stage

    def settle() -> None:
        while any(nodes.take(port) for port in ("sentence", "spoken", "draft", "reset")):
            pass

    number = stage.ask("first")
    stage.hear("text", "first|", number, session_status="ended")
    settle()
    expected = {"first": "first|"}
    for index, (text, cancelled, ports) in enumerate(turns):
        name = f"{index}"
        number = stage.ask(name)
        for letter in text:
            stage.hear("text", letter, number)
        if cancelled:
            for port in ports:
                nodes.take(port)
            stage.answering.cancel(name)
        else:
            stage.hear("text", "", number, session_status="ended")
            for port in ports:
                nodes.take(port)
            settle()
            expected[name] = text
    settle()
    for name, words in expected.items():
        said = [e for e in stage.told if isinstance(e, AudioDelta) and e.response_id == name]
        assert "".join("".join(e.text for e in said).split()) == words
    stage.wait(SEGMENT_PATIENCE)
    assert [end.response_id for end in stage.ends] == list(expected)


def test_sentences_wait_for_credit() -> None:
    stage = Stage()
    number = stage.ask("r", credit=0.05)
    stage.hear("text", "One. Two.", session_status="ended")
    for text in ("One.", "Two."):
        stage.hear("text_segment", text, number)
    stage.audio(stage.sentence)
    stage.hear("segment_complete", "completed", stage.sentence)
    assert stage.count("sentence") == 1
    stage.answering.credit("r", 0.2, stage.now)
    assert stage.count("sentence") == 2


def test_nothing_understood_is_nothing_to_answer() -> None:
    stage = Stage()
    stage.answering.respond("r", ResponseRequest(()), 0.0)
    assert stage.ends == [ResponseFinished("r")]
    assert not stage.sent


NUMBERS = st.one_of(st.none(), st.integers(1, 8))
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from("abc")),
    st.tuples(st.just("cancel"), st.sampled_from("abc")),
    st.tuples(
        st.just("text"),
        st.sampled_from(["", "One.", "Two"]),
        st.sampled_from(["", "started", "ongoing", "ended", "cancelled"]),
        NUMBERS,
    ),
    st.tuples(
        st.just("text_segment"),
        st.sampled_from(["", "One.", "Two"]),
        st.sampled_from(["", "ended"]),
        NUMBERS,
    ),
    st.tuples(
        st.just("segment_complete"),
        st.sampled_from(["completed", "skipped", "empty", "error", "nonsense"]),
        st.just(""),
        NUMBERS,
    ),
    st.tuples(st.just("speech"), NUMBERS),
    st.tuples(st.just("wait"), st.floats(0.1, 30)),
)


@given(st.lists(STEPS, max_size=40))
def test_every_response_ends_once_and_nothing_follows_its_end(
    steps: list[tuple[object, ...]],
) -> None:
    """Whatever the nodes send, in whatever order; a cancelled one is told no end."""
    stage = Stage()
    asked: dict[str, bool] = {}
    for index, step in enumerate(steps):
        match step:
            case ("ask", str(name)):
                asked[f"{name}{index}"] = True
                stage.ask(f"{name}{index}")
            case ("cancel", str(name)):
                for response_id in [each for each in asked if each.startswith(name)]:
                    if response_id not in {end.response_id for end in stage.ends}:
                        asked[response_id] = False
                    stage.answering.cancel(response_id)
            case ("speech", number):
                stage.audio(number)  # type: ignore[arg-type]
            case ("wait", float(seconds)):
                stage.wait(seconds)
            case (str(port), str(text), str(status), number):
                stage.hear(port, text, number, session_status=status)  # type: ignore[arg-type]
        assert stage.answering.deadline > stage.now - 1e-9 or step[0] != "wait"
    for _ in range(200):
        if stage.answering.deadline == math.inf:
            break
        stage.wait(max(0.0, stage.answering.deadline - stage.now))
    assert stage.answering.deadline == math.inf
    ended = [end.response_id for end in stage.ends]
    assert sorted(ended) == sorted(name for name, expected in asked.items() if expected)
    for name in ended:
        of = [e for e in stage.told if getattr(e, "response_id", None) == name]
        assert isinstance(of[-1], ResponseFinished)
        assert sum(isinstance(e, ResponseFinished) for e in of) == 1
