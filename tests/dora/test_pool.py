"""The pool, over instances that are told what to do, on a virtual clock."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import trio
from tests.support.pool import START, STOP, FakeInstance, Machine, open_house
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.dora.backoff import FIRST, MOST, STEADY, Backoff
from trio_bridge.dora.pool import CLEARED_WITHIN, RETRY_AFTER, Pool
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import DataflowError, RuntimeFailed

# --- places ----------------------------------------------------------------------------------


async def test_sessions_are_spread_over_what_is_kept_warm(autojump_clock: MockClock) -> None:
    """None of them waits; what is beyond gets only what the kept ones cannot take."""
    async with open_house(sessions=2, warm=2, max_instances=3) as house:
        for name in "abc":
            await house.come(name)
            assert house.waited(name) == 0
        assert house.loads == [2, 1]
        await trio.sleep(START + 0.1)  # one is full: another was started in advance
        assert house.loads == [2, 1, 0]
        await house.come("d")
        await house.come("e")
        assert house.loads == [2, 2, 1]
        await house.go("a")
        await house.come("f")
        assert house.loads == [2, 2, 1]


async def test_an_isolated_session_has_a_warm_instance_behind_it(
    autojump_clock: MockClock,
) -> None:
    """With one session per instance the next is started as soon as one is taken."""
    async with open_house(sessions=1, warm=1, max_instances=3) as house:
        await house.come("a")
        await trio.sleep(START + 0.1)
        await house.come("b")
        assert (house.waited("a"), house.waited("b")) == (0, 0)
        await trio.sleep(START + 0.1)
        assert house.loads == [1, 1, 0]


async def test_who_finds_no_place_waits_in_line(autojump_clock: MockClock) -> None:
    """Served in the order in which they came, as places come."""
    async with open_house(sessions=2, warm=1, max_instances=3) as house:
        for name in "abcde":
            await house.come(name)
        assert house.loads[0] == 2
        assert house.pool.status()["waiting"] == 3
        await trio.sleep(START + 0.1)
        assert (house.waited("c"), house.waited("d")) == (START, START)
        assert "e" not in house.served
        await house.go("a")
        assert "e" in house.served
        assert not house.refused


async def test_waiting_has_a_deadline(autojump_clock: MockClock) -> None:
    async with open_house(sessions=1, warm=0, max_instances=1, wait_timeout=1) as house:
        await house.come("a")
        await trio.sleep(5)
        at, refusal = house.refused["a"]
        assert at - house.came["a"] == 1
        assert str(refusal) == "no place came free in 1 s"
        assert refusal.retry_after == RETRY_AFTER
        assert house.pool.status()["waiting"] == 0


async def test_who_can_get_no_place_is_refused_at_once(autojump_clock: MockClock) -> None:
    """The line is no longer than what may still be started."""
    async with open_house(sessions=2, warm=1, max_instances=2) as house:
        for name in "abcd":
            await house.come(name)
        refusal = house.pool.refusal()
        assert refusal is not None
        assert refusal.retry_after == RETRY_AFTER
        await house.come("e")
        at, told = house.refused["e"]
        assert at == house.came["e"]
        assert str(told) == "all places are taken"
        await house.go("a")
        assert house.pool.refusal() is None


@pytest.mark.parametrize(("warm", "most"), [(1, 1), (1, 2), (2, 2)])
async def test_those_ahead_count_as_served(
    warm: int, most: int, autojump_clock: MockClock
) -> None:
    """Whoever is let in behind sessions that have yet to ask gets a place all the same."""
    async with open_house(sessions=3, warm=warm, max_instances=most) as house:
        await house.come("a")
        left = 3 * most - 1
        assert house.pool.refusal(ahead={(): left - 1}) is None
        assert house.pool.refusal(ahead={(): left}) is not None
        for number in range(left):
            await house.come(f"b{number}")
        await trio.sleep(2 * START)
        assert not house.refused


async def test_who_stops_waiting_leaves_the_line(autojump_clock: MockClock) -> None:
    async with open_house(sessions=1, warm=0, max_instances=2) as house:
        await house.come("a")
        await house.come("b")
        await house.go("a")
        assert house.pool.status()["waiting"] == 1
        await trio.sleep(START + 0.1)
        assert house.loads[0] == 1
        assert house.waited("b") == START


async def test_a_place_that_comes_with_the_cancellation_is_given_back(
    autojump_clock: MockClock,
) -> None:
    async with open_house(sessions=1, warm=1, max_instances=2, wait_timeout=math.inf) as house:
        await house.come("a")
        await house.come("b")
        await house.come("c")  # refused: one waits already for the one that may come
        house.scopes["a"].cancel()
        house.scopes["b"].cancel()
        await wait_all_tasks_blocked()
        assert house.loads[0] == 0
        await house.come("d")
        assert house.waited("d") == 0


# --- instances -------------------------------------------------------------------------------


async def test_what_nobody_needs_is_stopped(autojump_clock: MockClock) -> None:
    """The youngest, after its time; what is kept warm stays."""
    async with open_house(sessions=1, warm=1, max_instances=3, idle_stop=20) as house:
        await house.come("a")
        await trio.sleep(START + 0.1)
        await house.come("b")
        await trio.sleep(START + 0.1)
        assert house.loads == [1, 1, 0]
        await house.go("b")
        await trio.sleep(19)
        assert len(house.pool.instances) == 3
        await trio.sleep(2)
        assert house.loads == [1, 0]
        await house.go("a")
        await trio.sleep(21)
        assert house.loads == [0]
        await trio.sleep(1000)
        assert house.loads == [0]


async def test_without_warm_ones_instances_start_on_demand(autojump_clock: MockClock) -> None:
    async with open_house(sessions=1, warm=0, max_instances=1, idle_stop=20) as house:
        assert house.pool.healthy
        assert house.pool.refusal() is None
        await house.come("a")
        await trio.sleep(START + 0.1)
        assert house.waited("a") == START
        await house.go("a")
        await trio.sleep(21)
        assert not house.pool.instances
        assert house.pool.healthy


async def test_there_may_be_as_many_as_are_kept_warm(autojump_clock: MockClock) -> None:
    async with open_house(warm=5, max_instances=1) as house:
        assert len(house.pool.instances) == house.pool.most == 5


async def test_a_broken_one_is_replaced(autojump_clock: MockClock) -> None:
    """As soon as it has gone; who comes meanwhile waits for the new one."""
    async with open_house(max_instances=1) as house:
        await trio.sleep(STEADY)
        house.pool.instances[0].fail()
        assert not house.pool.healthy
        await house.come("a")
        assert house.pool.status()["waiting"] == 1
        await trio.sleep(STOP + START + 0.1)
        assert house.waited("a") == STOP + START
        assert house.pool.status()["failures"] == 0


@pytest.mark.parametrize(
    ("clearing", "waited"), [(0.3, 0.3), (2 * CLEARED_WITHIN, CLEARED_WITHIN)]
)
async def test_what_has_broken_is_cleared_away_before_another_starts(
    clearing: float, waited: float, autojump_clock: MockClock
) -> None:
    """It is not waited for very long."""
    async with open_house(sessions=1, warm=1, max_instances=4) as house:
        house.machine.clearing = clearing
        await house.come("a")
        await trio.sleep(START + STEADY + 1)
        assert len(house.machine.starts) == 2  # in advance
        broken_at = trio.current_time()
        house.machine.made[1].fail()
        await house.come("b")
        await trio.sleep(STEADY)
        assert house.machine.starts[2] == pytest.approx(broken_at + waited)


async def test_starts_that_fail_are_tried_again_less_and_less_often(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_instances=1) as house:
        await trio.sleep(STEADY)
        house.machine.failing = 8
        house.pool.instances[0].fail()
        await trio.sleep(200)
        tries = house.machine.starts[1:]
        pauses = [after - before for before, after in pairwise(tries)]
        wanted = [min(FIRST * 2**n, MOST) + START + STOP for n in range(8)]
        assert pauses == pytest.approx(wanted)
        assert house.pool.healthy
        assert house.pool.status()["failures"] == 0
        assert house.pool.status()["lastFailure"] is None


async def test_a_failure_is_shown_and_told(autojump_clock: MockClock) -> None:
    """Where the next try is later than anybody waits, sessions are told when to come again."""
    async with open_house(max_instances=1, wait_timeout=3) as house:
        await trio.sleep(STEADY)
        house.machine.failing = 100
        house.pool.instances[0].fail()
        await trio.sleep(STOP + START + STOP + 0.1)
        status = house.pool.status()
        assert (status["failures"], status["lastFailure"]) == (1, "node 'x' failed")
        assert house.pool.refusal() is None  # the next try is near
        await trio.sleep(3 * (START + STOP) + (1 + 2 + 4) * FIRST)
        refusal = house.pool.refusal()
        assert refusal is not None
        assert "node 'x' failed" in str(refusal)
        assert refusal.retry_after == pytest.approx(house.pool.status()["retryIn"], abs=0.001)


async def test_a_start_that_fails_for_want_of_room_disturbs_nobody(
    autojump_clock: MockClock,
) -> None:
    """No disk, no files, no processes: it is tried again, and those who are served go on."""
    async with open_house(sessions=1, warm=1, max_instances=3) as house:
        house.machine.full = 2
        await house.come("a")
        await trio.sleep(FIRST / 2)
        status = house.pool.status()
        assert "No space left on device" in status["lastFailure"]
        assert status["failures"] == 1
        await trio.sleep(3 * FIRST + START)
        assert house.loads == [1, 0]
        assert "a" in house.scopes


async def test_what_nobody_thought_of_ends_one_instance(autojump_clock: MockClock) -> None:
    async with open_house(sessions=1, warm=2, max_instances=3) as house:
        await trio.sleep(STEADY)
        first, second = house.pool.instances
        await house.come("a")
        (taken,) = (i for i in (first, second) if i.on)
        (other,) = (i for i in (first, second) if not i.on)
        other.fail(ZeroDivisionError())
        await trio.sleep(STOP + 2 * START + 0.1)
        assert taken.warm
        assert house.loads == [1, 0, 0]


async def test_one_that_breaks_the_moment_it_is_warm_has_failed(
    autojump_clock: MockClock,
) -> None:
    """It is gone before the pool has heard that it is there."""
    async with open_house(sessions=1, warm=1, max_instances=2) as house:
        house.machine.fleeting = 3
        await house.come("a")
        await trio.sleep(3 * START + 7 * FIRST)
        assert house.pool.status()["failures"] == 3
        await trio.sleep(START + 0.1)
        pauses = [after - before for before, after in pairwise(house.machine.starts[1:])]
        assert pauses == [START + FIRST, START + 2 * FIRST, START + 4 * FIRST]
        assert house.loads == [1, 0]


async def test_one_that_breaks_again_and_again_is_not_started_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_house(max_instances=1) as house:

        async def break_each() -> None:
            while True:
                for instance in house.pool.instances:
                    if instance.warm:
                        instance.fail()
                await trio.sleep(0.1)

        house.nursery.start_soon(break_each)
        await trio.sleep(600)
        assert len(house.machine.starts) < 30


async def test_the_first_start_must_succeed(autojump_clock: MockClock) -> None:
    """Who opens the pool is told what is wrong, as it was raised."""
    machine = Machine(failing=1)
    async with trio.open_nursery() as nursery:
        pool = Pool(DoraSettings(), machine.make, machine, nursery)
        with pytest.raises(DataflowError, match="node 'x' failed"):
            await pool.fill()


async def test_while_the_host_is_away_sessions_wait(autojump_clock: MockClock) -> None:
    """Those who come in the meantime too; no start is tried, and none counts as failed."""
    async with open_house(wait_timeout=10) as house:
        await house.come("a")
        await trio.sleep(STEADY)
        house.machine.failure = "the dora daemon has died"
        await house.machine.changing.acquire()
        house.pool.instances[0].fail()
        await house.come("b")
        assert not house.pool.healthy
        await trio.sleep(5)
        assert len(house.machine.starts) == 1
        house.machine.retry_at = trio.current_time() + 30
        await house.come("c")
        refused_at, refusal = house.refused["c"]
        assert (refused_at, str(refusal)) == (house.came["c"], "the dora daemon has died")
        assert refusal.retry_after == pytest.approx(30, abs=0.1)
        house.machine.failure, house.machine.retry_at = None, -math.inf
        house.machine.changing.release()
        await trio.sleep(START + 0.1)
        assert "b" in house.served
        assert house.pool.healthy


async def test_who_waits_in_vain_is_told_what_is_wrong(autojump_clock: MockClock) -> None:
    """With what carries the dataflows, before all else; with the dataflow, but not what was
    wrong with one that runs again."""
    async with open_house(sessions=1, max_instances=1, wait_timeout=10) as house:
        house.machine.failure = "there is no dora daemon"
        await house.machine.changing.acquire()
        house.pool.instances[0].fail()
        await house.come("a")
        await trio.sleep(10.1)
        at, refusal = house.refused["a"]
        assert (at - house.came["a"], str(refusal)) == (10, "there is no dora daemon")
        house.machine.failure = None
        house.machine.failing = 4
        house.machine.changing.release()
        await house.come("b")
        await trio.sleep(10.1)
        assert str(house.refused["b"][1]) == "the dataflow does not start: node 'x' failed"
        await trio.sleep(30)
        assert house.pool.healthy
        house.pool.instances[0].fail()
        await trio.sleep(10)
        await house.come("c")
        await house.come("d")
        assert str(house.refused["d"][1]) == "all places are taken"


async def test_a_host_that_runs_and_cannot_is_not_asked_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `dora` program does not start, for instance: it is tried later and later."""

    async def cannot(instance: FakeInstance, *_: object) -> None:
        instance._machine.starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise RuntimeFailed("`dora start` cannot be run")

    async with open_house(warm=0, wait_timeout=20) as house:
        monkeypatch.setattr(FakeInstance, "run", cannot)
        await house.come("a")
        await trio.sleep(10)
        starts = house.machine.starts
        assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.5, 1, 2, 4], abs=0.01)
        assert house.pool.status()["lastFailure"] == "`dora start` cannot be run"


async def test_pools_of_one_machine_take_turns(autojump_clock: MockClock) -> None:
    machine = Machine()
    busy: dict[str, Any] = {"sessions": 1, "warm": 1, "max_instances": 4, "idle_stop": 3}
    async with open_house(machine, **busy) as one, open_house(machine, **busy) as other:
        for name in "abc":
            await one.come(name)
            await other.come(name)
        await trio.sleep(20)
        for name in "abc":
            await one.go(name)
            await other.go(name)
        await trio.sleep(40)
        assert one.loads == other.loads == [0]
        assert machine.busiest == 1


def test_backoff_doubles_up_to_its_bound_and_forgets() -> None:
    backoff = Backoff()
    pauses = []
    for _ in range(10):
        backoff.failed(100.0)
        pauses.append(backoff.retry_at - 100.0)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    backoff.started(200.0)
    backoff.forget(200.0 + STEADY - 0.1)
    assert backoff.failures == 10
    backoff.forget(200.0 + STEADY)
    assert backoff.failures == 0
    backoff.failed(300.0)
    assert backoff.retry_at == 300.0 + FIRST
