"""The synthesis node's logic: rows in, rows out, on a virtual clock."""

import itertools
import math
from functools import partial

import numpy as np
import orjson
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trio_bridge.dora.contract import Answer, Cancel, Credit
from trio_bridge.nodes import speaking
from trio_bridge.nodes.synthesis import EngineError, Mark, Utterance
from trio_bridge.nodes.tts import Synthesis, open_cache, open_engine
from trio_bridge.nodes.voicing import UtteranceCache, Voicing

RATE = 1000


class ToneEngine:
    """Ten samples a character; marks where words begin."""

    def __init__(self):
        self.spoken = []

    def rate_of(self, voice):
        return RATE

    def synthesise(self, text, *, voice, speed, stop):
        self.spoken.append((text, voice, speed))
        if "unspeakable" in text:
            raise EngineError("it sticks in the throat")
        starts = [0] + [i + 1 for i, c in enumerate(text) if c.isspace()]
        marks = tuple(Mark(start, start * 10) for start in starts)
        return Utterance(np.zeros(max(1, len(text) * 10), np.float32), marks)


class Stage:
    def __init__(self, nursery, engine=None, cache=0):
        self.engine = engine or ToneEngine()
        self.out = []
        voicing = Voicing(self.engine, UtteranceCache(cache))
        self.synthesis = Synthesis(voicing, self._emit, nursery)

    def _emit(self, port, row):
        assert port == "answer"
        self.out.append(row)

    def say(self, rid, *rows, sid="s", data='{"modality":"audio","voice":"echo","speed":1.5}'):
        for seq, row in enumerate(rows):
            fields = {"event": "text", "text": row} if isinstance(row, str) else row
            self.synthesis.take(
                Answer(sid, rid, seq, data=data if seq == 0 else None, **fields)
            )

    def credit(self, seconds, rid="r", sid="s"):
        self.synthesis.take(Credit(sid, rid, seconds))

    def rows(self, rid="r"):
        return [row for row in self.out if row.response_id == rid]

    def seconds(self, rid="r"):
        return sum(len(row.samples) for row in self.rows(rid) if row.event == "audio") / RATE

    def text(self, rid="r"):
        return "".join(row.text for row in self.rows(rid) if row.event == "audio")


DONE = {"event": "done", "status": "completed", "usage": '{"input_tokens":1}'}


async def test_speaks_as_far_as_credit_goes(nursery):
    """Nothing without credit, never more than granted, `done` after the last sample."""
    stage = Stage(nursery)
    stage.say("r", "Hello there. How ", "are you?", DONE)
    await wait_all_tasks_blocked()
    assert stage.out == []
    assert stage.engine.spoken == []
    stage.credit(0.1)
    await _settle()
    assert stage.seconds() == pytest.approx(0.1)
    assert [spoken for spoken, *_ in stage.engine.spoken] == ["Hello there. "]
    stage.credit(math.inf)
    await _settle()
    assert stage.text() == "Hello there. How are you?"
    assert stage.engine.spoken[0][1:] == ("echo", 1.5)
    *_, last = stage.rows()
    assert (last.event, last.status, last.usage) == ("done", "completed", '{"input_tokens":1}')
    assert [row.seq for row in stage.rows()] == list(range(len(stage.rows())))
    assert stage.synthesis.sessions() == 0


async def test_words_are_timed_in_the_response(nursery):
    """Timings count from the start of the answer, across its pieces."""
    stage = Stage(nursery)
    stage.credit(99)
    stage.say("r", "One two. Three.", DONE)
    await _settle()
    words = [word for row in stage.rows()[:-1] for word in orjson.loads(row.words)]
    assert words == [["One", 0, 40], ["two.", 40, 90], ["Three.", 90, 150]]


async def test_text_answers_pass_straight_through(nursery):
    """No credit, no engine: the rows go on in order, numbered anew."""
    stage = Stage(nursery)
    stage.say("r", "Hello", " there.", DONE, data='{"modality":"text"}')
    assert [(row.seq, row.event, row.text) for row in stage.out] == [
        (0, "text", "Hello"),
        (1, "text", " there."),
        (2, "done", None),
    ]
    assert stage.synthesis.sessions() == 0


async def test_tool_calls_keep_their_place(nursery):
    """A call comes after the speech before it and before the speech after it."""
    stage = Stage(nursery)
    stage.credit(99)
    call = {"event": "tool_done", "call_id": "c", "name": "f", "arguments": "{}"}
    stage.say("r", "Before", call, "after.", DONE)
    await _settle()
    assert [row.event for row in stage.rows()] == ["audio", "tool_done", "audio", "done"]
    assert stage.rows()[1].name == "f"


async def test_cancel_ends_at_once(nursery):
    """In the middle of an answer: one `done`, nothing after it, nothing kept."""
    stage = Stage(nursery)
    stage.credit(0.2)
    stage.say("r", "A long sentence that goes on and on.", DONE)
    await _settle()
    stage.synthesis.take(Cancel("s", "r"))
    stage.credit(99)
    await _settle()
    assert stage.seconds() == pytest.approx(0.2)
    assert [row.event for row in stage.rows()][-1] == "done"
    assert stage.rows()[-1].status == "cancelled"
    assert stage.synthesis.sessions() == 0


async def test_cancel_may_overtake_its_answer(nursery):
    """The rows that come after it are dropped."""
    stage = Stage(nursery)
    stage.synthesis.take(Cancel("s", "r"))
    stage.credit(99)
    stage.say("r", "Hello.", DONE)
    await _settle()
    assert [(row.event, row.status) for row in stage.out] == [("done", "cancelled")]


async def test_a_cancelled_done_does_not_wait_for_credit(nursery):
    """When the language node was cancelled first, nothing unspoken is spoken."""
    stage = Stage(nursery)
    stage.say("r", "Hello.", {"event": "done", "status": "cancelled"})
    await _settle()
    assert [(row.event, row.status) for row in stage.out] == [("done", "cancelled")]


async def test_answers_do_not_hear_each_other(nursery):
    """Two sessions with the same response name are two answers, each with its own credit."""
    stage = Stage(nursery)
    stage.say("r", "For a.", DONE, sid="a")
    stage.say("r", "For b.", DONE, sid="b")
    assert stage.synthesis.sessions() == 2
    stage.credit(99, sid="b")
    await _settle()
    assert {row.session_id for row in stage.out} == {"b"}
    assert stage.text() == "For b."


async def test_a_lost_row_fails_the_answer(nursery):
    """A gap in the numbers is said, and what comes after it is not spoken."""
    stage = Stage(nursery)
    stage.credit(99)
    stage.say("r", "Hello. ")
    stage.synthesis.take(Answer("s", "r", 2, "text", text="lost my way."))
    await _settle()
    assert stage.out[-1].error_code == "answer_torn"
    assert stage.synthesis.sessions() == 0


async def test_what_cannot_be_spoken_fails_only_its_answer(nursery):
    """The engine's words reach the client; others go on."""
    stage = Stage(nursery)
    stage.credit(99)
    stage.credit(99, "other")
    stage.say("r", "unspeakable. ", DONE)
    stage.say("other", "Fine.", DONE)
    stage.say("bad", "x", data="[1]")
    await _settle()
    assert (stage.rows()[-1].error_code, stage.rows()[-1].error) == (
        "speech_failed",
        "it sticks in the throat",
    )
    assert stage.text("other") == "Fine."
    assert stage.rows("bad")[0].error_code == "bad_answer"


async def test_an_abandoned_answer_is_given_up(nursery, autojump_clock):
    """Without rows or credit for five minutes its state goes."""
    stage = Stage(nursery)
    stage.say("r", "Hello")
    await trio.sleep(speaking.SILENCE_LIMIT + 1)
    assert stage.rows()[-1].error_code == "answer_stalled"
    assert stage.synthesis.sessions() == 0


async def test_an_endless_answer_is_cut(nursery):
    """What waits is bounded."""
    stage = Stage(nursery)
    stage.say("r", *["x" * 50_000] * 5)
    assert stage.rows()[-1].error_code == "answer_too_long"
    await _settle()
    assert stage.synthesis.sessions() == 0


async def _settle():
    """Until nothing moves, threads included: the engine's thread takes part through a trip
    of its own at the end of the queue."""
    for _ in range(50):
        await trio.to_thread.run_sync(lambda: None)
        await wait_all_tasks_blocked()


@settings(max_examples=25)
@given(
    st.lists(st.text("ab. ,!\n", min_size=1, max_size=60), min_size=1, max_size=4),
    st.lists(st.floats(0, 2) | st.just(math.nan), max_size=5),
)
def test_credit_is_never_exceeded(texts, grants):
    """Whatever is granted and when, what is sent stays within it and the text is whole."""
    trio.run(partial(_within_credit, texts, grants))


async def _within_credit(texts, grants):
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery)
        granted = 0.0
        stage.say("r", *texts, DONE)
        for seconds in grants:
            stage.credit(seconds)
            granted = max(granted, seconds) if seconds == seconds else granted
            for _ in range(4):
                await trio.to_thread.run_sync(lambda: None)
            assert stage.seconds() <= granted
        stage.credit(math.inf)
        while not any(row.event == "done" for row in stage.out):
            await trio.to_thread.run_sync(lambda: None)
        assert stage.text() == "".join(texts)
        assert stage.synthesis.sessions() == 0
        ends = [word[1:] for row in stage.out[:-1] for word in orjson.loads(row.words)]
        assert all(a[0] <= a[1] == b[0] for a, b in itertools.pairwise(ends))


def test_an_unknown_engine_is_refused():
    """The names that would do are said."""
    with pytest.raises(EngineError, match="espeak"):
        open_engine({"TTS_ENGINE": "parrot"})


@pytest.mark.parametrize("size", ["-1", "much", "1.5"])
def test_a_cache_of_no_size_is_refused(size):
    """What is misspelt is said."""
    with pytest.raises(EngineError, match="TTS_CACHE_MB"):
        open_cache({"TTS_CACHE_MB": size})
    assert open_cache({}).limit == 0
    assert open_cache({"TTS_CACHE_MB": "2"}).limit == 2 * 2**20


async def test_a_repeated_sentence_is_made_once(nursery):
    """The second answer has the same sound and word times, at its own place and credit."""
    stage = Stage(nursery, cache=10**6)
    for rid in ("r", "again"):
        stage.credit(99, rid)
        stage.say(rid, "One two. One two. ", DONE)
        await _settle()
    assert [text for text, *_ in stage.engine.spoken] == ["One two. "]
    assert stage.text("again") == "One two. One two. "
    first, second = (
        [(row.event, row.text, row.words) for row in stage.rows(rid)] for rid in ("r", "again")
    )
    assert first == second


async def test_without_a_cache_all_is_made_anew(nursery):
    """As it is by default."""
    stage = Stage(nursery)
    stage.credit(99)
    stage.say("r", "One two. One two. ", DONE)
    await _settle()
    assert len(stage.engine.spoken) == 2


async def test_on_the_real_engine(nursery):
    """espeak-ng in place: text whole, audio audible, credit kept."""
    stage = Stage(nursery, await trio.to_thread.run_sync(open_engine, {}))
    stage.credit(1.0)
    stage.say("r", "Dr. Smith has 1,234 apples. ", "That is **a lot**!", DONE)
    while sum(len(row.samples) for row in stage.out) < 22_049:
        await trio.to_thread.run_sync(lambda: None)
    assert sum(len(row.samples) for row in stage.out) <= 22_050
    stage.credit(99)
    while stage.out[-1].event != "done":
        await trio.to_thread.run_sync(lambda: None)
    assert stage.text() == "Dr. Smith has 1,234 apples. That is **a lot**!"
    assert max(np.abs(row.samples).max() for row in stage.out[:-1]) > 0.1
