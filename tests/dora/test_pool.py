"""The pool, over instances that are told what to do, on a virtual clock."""

from __future__ import annotations

import errno
import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import count, pairwise
from typing import cast

import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backoff import FIRST, MOST, STEADY, Backoff
from trio_bridge.dora.pool import RETRY_AFTER, Pool
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendUnavailable, DataflowError

START = 2.0
STOP = 0.5


@define(eq=False)
class Machine:
    """Where the instances run. Notices when more than one starts or stops."""

    failure: str | None = None
    retry_at: float = -math.inf
    changing: trio.Lock = field(factory=trio.Lock)
    failing: int = 0
    """So many of the next starts fail."""

    full: int = 0
    """At so many of the next starts the disk is full."""

    fleeting: int = 0
    """So many of the next instances break the moment they are warm."""

    made: list[FakeInstance] = field(factory=list)
    starts: list[float] = field(factory=list)
    busy: int = 0
    busiest: int = 0

    def make(self) -> FakeInstance:
        instance = FakeInstance(f"i{len(self.made)}", self)
        self.made.append(instance)
        return instance


@define(eq=False)
class FakeInstance:
    name: str
    _machine: Machine
    capacity: int = 0
    warm: bool = False
    on: set[str] = field(factory=set)
    broken: trio.Event = field(factory=trio.Event)
    error: Exception | None = None
    gone: bool = False

    @property
    def sessions(self) -> int:
        return len(self.on)

    @property
    def takes_sessions(self) -> bool:
        return self.warm and self.sessions < self.capacity

    def join(self, session_id: str) -> BackendSession:
        assert self.takes_sessions
        assert session_id not in self.on
        self.on.add(session_id)
        return cast("BackendSession", self)

    def leave(self, session_id: str) -> None:
        self.on.remove(session_id)

    def fail(self, error: Exception | None = None) -> None:
        self.warm = False
        self.error = error
        self.broken.set()

    async def run(
        self, startup: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        machine = self._machine
        machine.starts.append(trio.current_time())
        if machine.full:
            machine.full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        try:
            await self._work(START)
            if machine.failing:
                machine.failing -= 1
                raise DataflowError("node 'x' failed", node="x")
            self.warm = True
            task_status.started()
            if machine.fleeting:
                machine.fleeting -= 1
                self.gone = True
                return
            await self.broken.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.warm = False
            with trio.CancelScope(shield=True):
                # What a broken one does to end is not the pool's to time.
                if self.gone:
                    pass
                elif self.broken.is_set():
                    await trio.sleep(STOP)
                else:
                    await self._work(STOP)

    async def _work(self, seconds: float) -> None:
        machine = self._machine
        machine.busy += 1
        machine.busiest = max(machine.busiest, machine.busy)
        try:
            await trio.sleep(seconds)
        finally:
            machine.busy -= 1


@define(eq=False)
class House:
    """A pool, and sessions that come and go at a word."""

    machine: Machine
    pool: Pool[FakeInstance]
    nursery: trio.Nursery
    served: dict[str, float] = field(factory=dict)
    refused: dict[str, tuple[float, BackendUnavailable]] = field(factory=dict)
    came: dict[str, float] = field(factory=dict)
    scopes: dict[str, trio.CancelScope] = field(factory=dict)

    async def come(self, name: str) -> None:
        self.came[name] = trio.current_time()
        self.scopes[name] = trio.CancelScope()
        self.nursery.start_soon(self._visit, name)
        await wait_all_tasks_blocked()

    async def _visit(self, name: str) -> None:
        with self.scopes[name]:
            try:
                async with self.pool.session(name):
                    self.served[name] = trio.current_time()
                    await trio.sleep_forever()
            except BackendUnavailable as exc:
                self.refused[name] = (trio.current_time(), exc)
        del self.scopes[name]

    async def go(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    def waited(self, name: str) -> float:
        return self.served[name] - self.came[name]

    @property
    def loads(self) -> list[int]:
        """Sessions on each warm instance, the oldest first."""
        return [i.sessions for i, state in self.pool.states if state == "warm"]


@asynccontextmanager
async def open_house(
    machine: Machine | None = None, **given_settings: float
) -> AsyncGenerator[House, None]:
    machine = machine or Machine()
    chosen = DoraSettings(**given_settings)  # type: ignore[arg-type]

    def make() -> FakeInstance:
        instance = machine.make()
        instance.capacity = chosen.sessions
        return instance

    async with trio.open_nursery() as nursery:
        pool = Pool(chosen, make, machine, nursery)
        await pool.fill()
        nursery.start_soon(pool.tend)
        await wait_all_tasks_blocked()
        yield House(machine, pool, nursery)
        nursery.cancel_scope.cancel()
    assert not pool.instances
    assert not any(instance.on for instance in machine.made)


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


async def test_pools_of_one_machine_take_turns(autojump_clock: MockClock) -> None:
    machine = Machine()
    busy: dict[str, float] = {"sessions": 1, "warm": 1, "max_instances": 4, "idle_stop": 3}
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


# --- whatever happens ------------------------------------------------------------------------

STEPS = st.one_of(
    st.just(("come", 0)),
    st.just(("come", 0)),
    st.tuples(st.just("go"), st.integers(0, 9)),
    st.tuples(st.just("break"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 1.0, 2.0, 7.0, 30.0])),
)


RUSH = st.lists(
    st.tuples(st.sampled_from(["come", "go", "break"]), st.integers(0, 9)), max_size=8
)
"""What happens at one moment, before anybody has heard of any of it."""


@given(
    sessions=st.integers(1, 3),
    warm=st.integers(0, 2),
    max_instances=st.integers(1, 3),
    wait_timeout=st.sampled_from([0.0, 0.5, START, 10.0]),
    rushes=st.lists(st.tuples(RUSH, st.sampled_from([0.0, 0.5, 1.5, START, 7.0])), max_size=15),
)
def test_what_happens_at_one_moment_loses_no_place(
    sessions: int,
    warm: int,
    max_instances: int,
    wait_timeout: float,
    rushes: list[tuple[list[tuple[str, int]], float]],
) -> None:
    """A place may be handed out, its holder cancelled, its instance broken and the wait over,
    all at once and in any order: each place has one holder at most, and none is lost."""

    def happen(house: House, kind: str, number: int, names: Iterator[str]) -> None:
        match kind:
            case "come":
                name = next(names)
                house.came[name] = trio.current_time()
                house.scopes[name] = trio.CancelScope()
                house.nursery.start_soon(house._visit, name)
            case "go" if house.scopes:
                house.scopes[sorted(house.scopes)[number % len(house.scopes)]].cancel()
            case "break" if running := [i for i in house.pool.instances if i.warm]:
                running[number % len(running)].fail()

    def check(house: House) -> None:
        on = [name for instance in house.pool.instances for name in instance.on]
        assert len(on) == len(set(on))
        assert set(on) == set(house.scopes) & set(house.served)
        assert house.pool.status()["waiting"] == len(set(house.scopes) - set(house.served))
        free = [i for i, state in house.pool.states if state == "warm" and i.takes_sessions]
        assert not (free and house.pool.status()["waiting"])

    async def live() -> None:
        async with open_house(
            sessions=sessions, warm=warm, max_instances=max_instances, wait_timeout=wait_timeout
        ) as house:
            names = (f"s{number}" for number in count())
            for rush, pause in rushes:
                for kind, number in rush:
                    happen(house, kind, number, names)
                # To the very moment at which a start or a wait ends, and no further.
                await trio.sleep(pause)
                await wait_all_tasks_blocked()
                for name in [n for i in house.machine.made if i.broken.is_set() for n in i.on]:
                    house.scopes[name].cancel()  # as a session does that is told
                await wait_all_tasks_blocked()
                check(house)
            for scope in house.scopes.values():
                scope.cancel()
            await trio.sleep(200)
            assert not house.scopes
            assert sum(house.loads) == 0
            assert len(house.loads) == warm

    trio.run(live, clock=MockClock(autojump_threshold=0))


@given(
    sessions=st.integers(1, 3),
    warm=st.integers(0, 2),
    max_instances=st.integers(1, 3),
    idle_stop=st.sampled_from([0.0, 1.0, 10.0, math.inf]),
    wait_timeout=st.sampled_from([0.0, 3.0, 10.0]),
    steps=st.lists(STEPS, max_size=40),
)
def test_the_books_are_right(
    sessions: int,
    warm: int,
    max_instances: int,
    idle_stop: float,
    wait_timeout: float,
    steps: list[tuple[str, float]],
) -> None:
    """Nobody waits beside a free place or too long, no instance holds too many, there are not
    too many of them; and when all have gone the pool is as it began."""

    def check(house: House) -> None:
        status = house.pool.status()
        assert len(house.pool.instances) <= max(max_instances, warm)
        assert all(load <= sessions for load in house.loads)
        waiting = set(house.scopes) - set(house.served)
        assert status["waiting"] == len(waiting)
        states = house.pool.states
        free = [i for i, state in states if state == "warm" and i.takes_sessions]
        assert not (waiting and free)
        for name in waiting:
            assert trio.current_time() - house.came[name] <= wait_timeout
        for name, (at, refusal) in house.refused.items():
            assert at - house.came[name] <= wait_timeout
            assert refusal.retry_after > 0

    async def act(house: House, kind: str, number: float, order: int) -> None:
        match kind:
            case "come":
                free = any(i.takes_sessions for i, s in house.pool.states if s == "warm")
                await house.come(f"s{order}")
                assert not free or house.waited(f"s{order}") == 0
            case "go" if house.scopes:
                names = sorted(house.scopes)
                await house.go(names[int(number) % len(names)])
            case "break":
                running = [i for i in house.pool.instances if i.warm]
                if running:
                    running[int(number) % len(running)].fail()
            case "fail":
                house.machine.failing = int(number)
            case "pass":
                await trio.sleep(number)
        await wait_all_tasks_blocked()

    async def live() -> None:
        async with open_house(
            sessions=sessions,
            warm=warm,
            max_instances=max_instances,
            idle_stop=idle_stop,
            wait_timeout=wait_timeout,
        ) as house:
            for order, (kind, number) in enumerate(steps):
                await act(house, kind, number, order)
                check(house)
            house.machine.failing = 0
            for name in sorted(house.scopes):
                await house.go(name)
            await trio.sleep(200)
            check(house)
            assert sum(house.loads) == 0
            if idle_stop < math.inf:
                assert len(house.loads) == warm
            assert len(house.loads) >= warm
            assert house.machine.busiest <= 1

    trio.run(live, clock=MockClock(autojump_threshold=0))


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
