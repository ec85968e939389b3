import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.bench.ramp import CLOSE, Ramp, holds


@given(st.integers(1, 50), st.integers(0, 1000))
def test_it_finds_what_holds_and_what_does_not(first, limit):
    """Within a twentieth, and in few runs."""
    ramp = Ramp(first)
    runs = 0
    while (sessions := ramp.next()) is not None:
        assert sessions >= 1
        ramp.tried(sessions, held=sessions <= limit)
        runs += 1
    assert ramp.not_held is not None
    assert ramp.held <= limit < ramp.not_held
    assert ramp.not_held - ramp.held <= max(1, int(ramp.held * CLOSE))
    assert runs < 30


def test_more_and_more_sessions_then_closer():
    """As people would look for it."""
    ramp = Ramp(10)
    tried = []
    while (sessions := ramp.next()) is not None:
        tried.append(sessions)
        ramp.tried(sessions, held=sessions < 25)
    assert tried == [10, 15, 22, 33, 27, 24, 25]
    assert ramp.held == 24


@pytest.mark.parametrize(
    ("scenario", "name"), [("echo", "added_delay_ms"), ("voice", "answer_beyond_silence_ms")]
)
def test_what_holds(scenario, name):
    """Within the bound, with nothing lost, and with something measured."""
    good = {"scenario": scenario, "failures": [], name: {"p50": 5.0, "p99": 20.0}}
    assert holds(good, 20)
    assert not holds(good, 19)
    assert not holds(good | {"failures": [{"session": 1, "why": "lost"}]}, 20)
    assert not holds(good | {name: None}, 20)
