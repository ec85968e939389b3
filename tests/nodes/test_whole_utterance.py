"""Drafts: as many as can be afforded, and never in the way of the final transcript."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.nodes.recognition import Heard
from trio_bridge.nodes.whole_utterance import (
    DRAFT_LONGEST,
    DRAFT_SHARE,
    SAMPLE_RATE,
    SHORTEST,
    Float32,
    WholeUtterance,
    language_of,
)


@define
class Counter:
    """Says how many samples it was given; each decoding costs so many seconds."""

    cost: float
    per_second: float = 0.0
    now: float = 0.0
    decoded: list[tuple[int, bool]] = field(factory=list)
    spent: float = 0.0

    def decode(self, samples: Float32, settings: Mapping[str, Any], *, draft: bool) -> Heard:
        took = self.cost + self.per_second * len(samples) / SAMPLE_RATE
        self.now += took
        self.spent += took
        self.decoded.append((len(samples), draft))
        return Heard(f"{settings.get('language')} {len(samples)}")

    def clock(self) -> float:
        return self.now


def engine(model: Counter, grain: int = SAMPLE_RATE) -> WholeUtterance:
    made = WholeUtterance(model, grain, model.clock)
    model.decoded.clear()
    model.spent = 0.0
    return made


def second() -> bytes:
    return bytes(2 * SAMPLE_RATE)


def test_the_final_hears_all_and_nothing_of_the_last() -> None:
    model = Counter(0.1)
    made = engine(model)
    for language in ("en", "fr"):
        made.begin({"language": language})
        made.feed(second())
        made.feed(second())
        assert made.finish() == Heard(f"{language} 32000")
    assert model.decoded == [(32_000, False)] * 2


def test_what_is_dropped_leaves_nothing() -> None:
    made = engine(Counter(0.1))
    made.begin({"language": "en"})
    made.feed(second())
    assert made.partial() == "en 16000"
    made.drop()
    made.begin({})
    assert made.partial() == ""
    assert made.finish() == Heard("")


def test_too_little_is_not_decoded() -> None:
    model = Counter(0.1)
    made = engine(model)
    made.begin({})
    made.feed(bytes(2 * SHORTEST - 2))
    assert made.partial() == ""
    assert made.finish() == Heard("")
    assert model.decoded == []


def test_a_draft_is_followed_by_a_rest() -> None:
    """In between the last one stands."""
    model = Counter(0.1)
    made = engine(model)
    made.begin({})
    made.feed(second())
    first = made.partial()
    made.feed(second())
    assert made.partial() == first
    model.now += 0.101 * (1 / DRAFT_SHARE - 1)
    assert made.partial() == "None 32000"


@given(
    st.floats(0.001, 0.4),
    st.floats(0, 0.2),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
)
def test_drafts_take_their_share_and_no_more(
    cost: float, per_second: float, steps: list[float]
) -> None:
    """Whatever they cost: so live speech, which takes no time to feed, is kept pace with."""
    model = Counter(cost, per_second)
    made = engine(model)
    made.begin({})
    model.now += 10
    began = model.now
    for step in steps:
        model.now += step
        made.feed(bytes(2 * int(step * SAMPLE_RATE)))
        made.partial()
    last = model.decoded and model.cost + per_second * model.decoded[-1][0] / SAMPLE_RATE
    # The last draft's rest may still be to come.
    assert model.spent <= DRAFT_SHARE * (model.now - began) + (last or 0.0) + 1e-6


def test_a_model_too_slow_for_drafts_makes_none() -> None:
    model = Counter(DRAFT_LONGEST + 0.01)
    made = engine(model)
    made.begin({})
    made.feed(second())
    assert made.partial() == ""
    assert made.finish().text == "None 16000"
    assert model.decoded == [(16_000, False)]


def test_drafts_end_where_an_utterance_grows_too_long_for_them() -> None:
    model = Counter(0, per_second=0.1)
    made = engine(model)
    made.begin({})
    for _ in range(20):
        made.feed(second())
        model.now += 10
        made.partial()
    assert model.decoded == [(n * SAMPLE_RATE, True) for n in range(1, 6)]


def test_within_the_grain_length_costs_nothing() -> None:
    """Whisper hears thirty seconds, whatever there is."""
    model = Counter(0.4)
    made = engine(model, grain=30 * SAMPLE_RATE)
    made.begin({})
    for _ in range(20):
        made.feed(second())
        model.now += 10
        made.partial()
    assert len(model.decoded) == 20


@pytest.mark.parametrize(
    ("asked", "default", "got"),
    [("en", None, "en"), ("pt-BR", "en", "pt"), (None, "de_DE", "de"), (None, None, None)],
)
def test_a_language_loses_its_region(
    asked: str | None, default: str | None, got: str | None
) -> None:
    environment = {"ASR_LANGUAGE": default} if default else {}
    assert language_of({"language": asked}, environment) == got
