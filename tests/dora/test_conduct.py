"""How much of what they must not do nodes may do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.instances.conduct import (
    BAD_AT_ONCE,
    BAD_PER_SECOND,
    WEIGHT_AT_ONCE,
    WEIGHT_PER_SECOND,
    Conduct,
)


def test_what_is_allowed_may_go_on_for_ever() -> None:
    conduct = Conduct()
    for number in range(10_000):
        now = number / WEIGHT_PER_SECOND
        assert conduct.sent("node", 1, now) is None


def test_a_flood_is_known_by_its_node() -> None:
    """One node's does not count for another."""
    conduct = Conduct()
    for number in range(int(WEIGHT_AT_ONCE)):
        assert conduct.sent("one", 1, 0.0) is None
        assert conduct.sent("other", 1, float(number)) is None
    fault = conduct.sent("one", 1, 0.0)
    assert fault is not None
    assert fault.node == "one"


@given(st.lists(st.tuples(st.integers(1, 200), st.floats(0, 0.2)), max_size=200))
def test_no_more_passes_than_is_allowed(messages: list[tuple[int, float]]) -> None:
    """Whatever the sizes and the pauses, and without a limit on what may come later."""
    conduct, passed, now = Conduct(), 0.0, 0.0
    for weight, pause in messages:
        now += pause
        if conduct.sent("node", weight, now) is not None:
            break
        passed += weight
        assert passed <= WEIGHT_AT_ONCE + WEIGHT_PER_SECOND * now + 1e-6


def test_bad_messages_are_counted_and_too_many_are_a_fault() -> None:
    conduct = Conduct()
    for number in range(1000):
        assert conduct.broke("node", "it is bad", number / BAD_PER_SECOND) is None
    assert conduct.bad == 1000
    faults = [conduct.broke("node", "it is bad", 1000.0) for _ in range(int(BAD_AT_ONCE) + 1)]
    assert faults[0] is None
    last = faults[-1]
    assert last is not None
    assert "it is bad" in last.reason
