"""What went missing, by the numbers on messages and by what nodes say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.instances.losses import Losses


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=50))
def test_what_is_counted_is_what_did_not_come_between_two_that_did(
    first: int, arrives: list[bool]
) -> None:
    losses = Losses()
    came = [first + i for i, each in enumerate(arrives) if each]
    counted = sum(losses.numbered("answer", number) for number in came)
    assert counted == (came[-1] - came[0] + 1 - len(came) if came else 0)


def test_inputs_are_counted_apart_and_what_has_no_number_not_at_all() -> None:
    losses = Losses()
    assert [losses.numbered("a", 0), losses.numbered("b", 7), losses.numbered("a", -1)] == [
        0,
        0,
        0,
    ]
    assert (losses.numbered("a", 3), losses.numbered("b", 8)) == (2, 0)


def test_a_count_that_begins_again_takes_the_next_number_as_it_is() -> None:
    losses = Losses()
    losses.numbered("a", 0)
    losses.begin()
    assert (losses.numbered("a", 9), losses.numbered("a", 11)) == (0, 1)


def test_what_a_node_says_is_new_once() -> None:
    losses = Losses()
    told = [losses.told("asr", "segment", lost) for lost in (2, 2, 5, 4, 6)]
    assert told == [2, 0, 3, 0, 1]
    assert losses.told("tts", "speak", 1) == 1
