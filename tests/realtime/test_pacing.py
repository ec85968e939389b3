"""Speech leaves when it is due, whole, in order, and in pieces worth sending."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.messages import Word
from trio_bridge.realtime.pacing import (
    CHUNKS_LIMIT,
    GRANT_STEP,
    HELD_LIMIT,
    MARGIN,
    STEP,
    UNPACED_AHEAD,
    Chunk,
    Overrun,
    Pacer,
)

RATE = 8_000


def chunk(seconds: float, text: str = "", *, first: int = 0) -> Chunk:
    count = round(seconds * RATE)
    return Chunk(np.arange(first, first + count, dtype=np.float32), RATE, text)


def seconds(chunks: list[Chunk]) -> float:
    return sum(each.seconds for each in chunks)


def run(pacer: Pacer, now: float, until: float) -> list[tuple[float, Chunk]]:
    """Everything that leaves until then, by waking when the pacer asks for it."""
    left = []
    for _ in range(10_000):
        left += [(now, each) for each in pacer.take(now)]
        pacer.grant(now)
        assert pacer.deadline > now, "it asks to be woken for nothing"
        if pacer.deadline > until:
            return left
        now = pacer.deadline
    raise AssertionError("it never rests")


def test_what_the_lead_covers_leaves_at_once() -> None:
    """A chunk within the lead is not touched."""
    pacer = Pacer(2.0)
    whole = chunk(2.0, "text")
    pacer.put(whole)
    assert pacer.take(5.0) == [whole]
    assert pacer.drained


def test_a_long_chunk_is_cut_and_keeps_its_words_at_its_head() -> None:
    """Text and timings go with the first sample; the rest follows step by step."""
    pacer = Pacer(2.0)
    words = (Word("a", 0, 100),)
    pacer.put(Chunk(chunk(3.0).samples, RATE, "a b", words))
    pacer.grant(0.0)
    (head,) = pacer.take(0.0)
    assert (head.text, head.words, head.seconds) == ("a b", words, 2.0)
    assert pacer.deadline == pytest.approx(STEP)
    left = run(pacer, 0.0, 10.0)
    assert [each.text for _, each in left] == [""] * 10
    assert {round(each.seconds, 3) for _, each in left} == {STEP}


def test_small_chunks_leave_together() -> None:
    """Chunks of 20 ms that had to wait leave five at a time."""
    pacer = Pacer(0.1)
    for _ in range(50):
        pacer.put(chunk(0.02))
    moments = [now for now, _ in run(pacer, 0.0, 10.0)]
    assert len(moments) == 50
    assert len(set(moments)) == 10


def test_live_speech_is_not_delayed() -> None:
    """What comes no faster than it is played leaves when it comes."""
    pacer = Pacer(0.1)
    for frame in range(100):
        pacer.put(chunk(0.02))
        assert seconds(pacer.take(frame * 0.02)) == pytest.approx(0.02)


def test_playback_that_stood_still_is_not_caught_up() -> None:
    """After a gap, speech again leaves at most the lead ahead of where playback stopped."""
    pacer = Pacer(1.0)
    pacer.put(chunk(1.0))
    pacer.take(0.0)
    pacer.put(chunk(5.0))
    assert seconds(pacer.take(10.0)) == pytest.approx(1.0)


def test_text_without_sound_keeps_its_place() -> None:
    """It leaves at once when nothing is held, otherwise after what came before it."""
    pacer = Pacer(1.0)
    pacer.put(chunk(0, "first"))
    assert [each.text for each in pacer.take(0.0)] == ["first"]
    pacer.put(chunk(2.0))
    pacer.put(chunk(0, "last"))
    assert "last" not in [each.text for each in pacer.take(0.0)]
    assert run(pacer, 0.0, 10.0)[-1][1].text == "last"


def test_credit_stays_ahead_of_what_may_leave() -> None:
    """First the lead and a margin, then a step whenever a step has been played."""
    pacer = Pacer(2.0)
    assert pacer.grant(0.0) == 2.0 + MARGIN
    assert pacer.grant(0.0) is None
    assert pacer.deadline == math.inf
    pacer.put(chunk(2.5))
    pacer.take(1.0)
    grants = [pacer.grant(1.0 + n * GRANT_STEP) for n in range(4)]
    assert grants == [None, 2.75, 3.0, 3.25]
    pacer.complete()
    assert pacer.grant(2.0) is None


def test_credit_does_not_grow_while_playback_stands_still() -> None:
    """A node that says nothing is not granted the rest of time."""
    pacer = Pacer(2.0)
    pacer.grant(0.0)
    pacer.put(chunk(1.0))
    run(pacer, 0.0, 1000.0)
    assert pacer.grant(1000.0) is None or pacer.deadline == math.inf


def test_without_a_limit_everything_leaves_and_more_is_granted_as_it_does() -> None:
    """No deadline and no bound on what is held; the node stays a stated part ahead."""
    pacer = Pacer(math.inf)
    assert pacer.grant(0.0) == UNPACED_AHEAD
    assert pacer.grant(0.0) is None
    pacer.put(chunk(HELD_LIMIT + 1))
    assert seconds(pacer.take(0.0)) == HELD_LIMIT + 1
    assert pacer.grant(0.0) == HELD_LIMIT + 1 + UNPACED_AHEAD
    assert pacer.deadline == math.inf


def test_what_waits_is_bounded() -> None:
    """In seconds, and in chunks."""
    pacer = Pacer(1.0)
    pacer.put(chunk(HELD_LIMIT))
    with pytest.raises(Overrun):
        pacer.put(chunk(0.1))
    pacer = Pacer(1.0)
    for _ in range(CHUNKS_LIMIT):
        pacer.put(chunk(0, "x"))
    with pytest.raises(Overrun):
        pacer.put(chunk(0, "x"))


def test_discarding_tells_how_much_was_still_to_be_said_of_what_was_told() -> None:
    """The rest of the sentence that is being spoken, not the next one."""
    pacer = Pacer(1.0)
    pacer.put(chunk(2.0, "one"))
    pacer.put(chunk(0.5))
    pacer.put(chunk(3.0, "two"))
    pacer.take(0.0)
    assert pacer.discard() == pytest.approx(1.5)
    assert pacer.drained
    assert pacer.deadline == math.inf


@given(
    lengths=st.lists(st.integers(0, 3 * RATE), max_size=12),
    gaps=st.lists(st.floats(0, 2), max_size=12),
    lead=st.floats(0.0, 5.0),
)
def test_nothing_is_lost_reordered_or_early(
    lengths: list[int], gaps: list[float], lead: float
) -> None:
    """However speech comes, it leaves as it was, and never further ahead than the lead."""
    pacer = Pacer(lead)
    now, first = 0.0, 0
    left: list[tuple[float, Chunk]] = []
    for index, length in enumerate(lengths):
        pacer.put(chunk(length / RATE, f"[{index}]", first=first))
        first += length
        later = now + (gaps[index] if index < len(gaps) else 0.0)
        left += run(pacer, now, later)
        now = later
    left += run(pacer, now, now + 1_000)
    assert pacer.drained
    told = np.concatenate([each.samples for _, each in left] or [np.zeros(0, dtype=np.float32)])
    assert told.tolist() == list(range(first))
    assert "".join(each.text for _, each in left) == "".join(
        f"[{index}]" for index in range(len(lengths))
    )
    sent, started = 0.0, math.inf
    for moment, each in left:
        sent += each.seconds
        if each.seconds:
            started = min(started, moment)
        assert sent - max(0.0, moment - started) <= max(lead, STEP) + 1e-4
