"""How long a silence ends a turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.nodes.turn_silence import SHORTEST_MS, TurnSilence


@pytest.mark.parametrize(("given_ms", "ms"), [(200, 200), (None, 500), (0, SHORTEST_MS)])
def test_server_vad_waits_alike_after_all_words(given_ms: int | None, ms: int) -> None:
    turn_detection = {"type": "server_vad", "silence_duration_ms": given_ms}
    silence = TurnSilence.from_turn_detection(turn_detection)
    assert {silence.after(finished) for finished in (None, 0, 0.5, 1)} == {ms}


@pytest.mark.parametrize(
    ("eagerness", "soonest", "longest", "unjudged"),
    [
        ("low", 600, 8000, 800),
        ("medium", 400, 4000, 500),
        ("high", 250, 2000, 300),
        ("auto", 400, 4000, 500),
        (None, 400, 4000, 500),
    ],
)
def test_eagerness_sets_the_waits(
    eagerness: str | None, soonest: float, longest: float, unjudged: float
) -> None:
    silence = TurnSilence.from_turn_detection({"type": "semantic_vad", "eagerness": eagerness})
    assert [silence.after(finished) for finished in (1, 0, None)] == [
        soonest,
        longest,
        unjudged,
    ]


@given(
    st.sampled_from(["low", "medium", "high"]),
    st.floats(0, 1, allow_nan=False),
    st.floats(0, 1, allow_nan=False),
)
def test_the_more_finished_the_sooner(eagerness: str, one: float, other: float) -> None:
    silence = TurnSilence.from_turn_detection({"type": "semantic_vad", "eagerness": eagerness})
    assert silence.after(max(one, other)) <= silence.after(min(one, other))
    assert silence.soonest - 1e-6 <= silence.after(one) <= silence.longest + 1e-6
