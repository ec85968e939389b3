"""What happens to an instance, and when it is given up for it."""

from __future__ import annotations

from trio_bridge.dora.instances.condition import MOST_LOST, Condition
from trio_bridge.dora.instances.liveness import Fault


async def test_the_first_fault_counts() -> None:
    told: list[Fault] = []
    condition = Condition("x", told.append)
    condition.warm = True
    condition.give_up(None)
    assert condition.warm
    assert condition.failure.code == "dataflow_stopped"
    condition.give_up(Fault("asr", "has ended"))
    condition.give_up(Fault("tts", "has ended"))
    assert told == [Fault("asr", "has ended")]
    assert (condition.broken.is_set(), condition.warm) == (True, False)
    assert condition.failure.code == "dataflow_broken"
    assert condition.failure.message == "the dataflow broke: node 'asr' has ended"


async def test_nodes_are_still_spoken_to_while_it_is_given_up() -> None:
    """They may have to be told that the sessions are over."""
    seen: list[bool] = []
    condition = Condition("x", lambda _: seen.append(condition.broken.is_set()))
    condition.give_up(Fault("", "it has ended"))
    assert seen == [False]


async def test_a_gap_is_a_loss_unless_it_is_absurd() -> None:
    condition = Condition("x", print)
    condition.gap(0, "asr", "segment")
    condition.gap(3, "asr", "segment")
    assert (condition.lost, condition.bad) == (3, 0)
    condition.gap(MOST_LOST + 1, "asr", "segment")
    assert (condition.lost, condition.bad) == (3, 1)


async def test_what_nodes_do_too_often_gives_it_up(autojump_clock: object) -> None:
    told: list[Fault] = []
    condition = Condition("x", told.append)
    while not told and condition.bad < 1000:
        condition.bad_message("asr", "no row")
    assert told[0].node == "asr"
    assert "again and again" in told[0].reason
