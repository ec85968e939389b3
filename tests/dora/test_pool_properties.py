"""The pool, whatever happens: of one variant or of several, on a virtual clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.pool import START, House, open_house
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.dora.variants import Choice

CHOICES: list[Choice] = [(("language", each),) for each in ("en", "de", "fr")]
"""What sessions wish for; the first is the default."""

STEPS = st.one_of(
    st.tuples(st.just("come"), st.integers(0, 2)),
    st.tuples(st.just("come"), st.integers(0, 2)),
    st.tuples(st.just("go"), st.integers(0, 9)),
    st.tuples(st.just("break"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5, 1.0, 2.0, 7.0, 30.0])),
)

RUSH = st.lists(
    st.tuples(st.sampled_from(["come", "go", "break"]), st.integers(0, 9)), max_size=8
)
"""What happens at one moment, before anybody has heard of any of it."""


def check(house: House) -> None:
    """What holds whenever all that has happened has been heard of."""
    status = house.pool.status()
    on = [name for instance in house.pool.instances for name in instance.on]
    assert len(on) == len(set(on))
    assert status["waiting"] == len(house.waiting)
    assert len(house.pool.instances) <= house.pool.most
    assert house.machine.most_running <= house.pool.most
    capacity = house.pool.instances[0].capacity if house.pool.instances else 0
    assert all(load <= capacity for load in house.loads)
    ahead: set[Choice] = set()
    # Of those who rush in at one moment it is Trio that says who comes first.
    line = {w.session_id: w.number for v in house.pool._roster.variants for w in v.line}
    for name in sorted(house.waiting, key=line.__getitem__):
        choice = house.wishes[name]
        # A place is kept from the first in line only by one of another variant before it.
        assert not has_place(house, choice) or ahead - {choice}
        ahead.add(choice)


def check_waits(house: House, wait_timeout: float) -> None:
    """Everybody is served or refused by the deadline."""
    wait_timeout += 1e-6  # moments are sums of what has passed
    for name in house.waiting:
        assert trio.current_time() - house.came[name] <= wait_timeout
    for name, at in house.served.items():
        assert at - house.came[name] <= wait_timeout
    for name, (at, refusal) in house.refused.items():
        assert at - house.came[name] <= wait_timeout
        assert refusal.retry_after > 0


def check_as_it_began(house: House, warm: int) -> None:
    """What holds when all have gone: nothing is kept of what they wished for."""
    assert not house.scopes
    assert house.loads == [0] * warm
    assert {instance.choice for instance in house.pool.instances} <= {CHOICES[0]}
    (default,) = house.pool.status()["variants"]
    assert default["values"] == dict(CHOICES[0])
    assert len(house.nursery.child_tasks) == 1 + warm
    assert house.machine.running == warm
    assert house.machine.busiest <= 1


def has_place(house: House, choice: Choice) -> bool:
    return any(
        instance.choice == choice and instance.takes_sessions
        for instance, state in house.pool.states
        if state == "warm"
    )


@settings(max_examples=150)
@given(
    variants=st.integers(1, 3),
    sessions=st.integers(1, 3),
    warm=st.integers(0, 2),
    max_instances=st.integers(1, 3),
    wait_timeout=st.sampled_from([0.0, 0.5, START, 10.0]),
    rushes=st.lists(st.tuples(RUSH, st.sampled_from([0.0, 0.5, 1.5, START, 7.0])), max_size=15),
)
def test_what_happens_at_one_moment_loses_no_place(
    variants: int,
    sessions: int,
    warm: int,
    max_instances: int,
    wait_timeout: float,
    rushes: list[tuple[list[tuple[str, int]], float]],
) -> None:
    """A place may be handed out, its holder cancelled, its instance broken or set aside and the
    wait over, all at once and in any order: each place has one holder at most, and none is
    lost."""

    def happen(house: House, kind: str, number: int, names: Iterator[str]) -> None:
        match kind:
            case "come":
                house.rush_in(next(names), CHOICES[number % variants])
            case "go" if house.scopes:
                house.scopes[sorted(house.scopes)[number % len(house.scopes)]].cancel()
            case "break" if running := [i for i in house.pool.instances if i.warm]:
                running[number % len(running)].fail()

    async def live() -> None:
        async with open_house(
            default=CHOICES[0],
            sessions=sessions,
            warm=warm,
            max_instances=max_instances,
            wait_timeout=wait_timeout,
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
                check_waits(house, wait_timeout)
                on = {name for instance in house.pool.instances for name in instance.on}
                assert on == set(house.scopes) & set(house.served)
            for scope in house.scopes.values():
                scope.cancel()
            await trio.sleep(200)
            check_as_it_began(house, warm)

    trio.run(live, clock=MockClock(autojump_threshold=0))


@settings(max_examples=150)
@given(
    variants=st.integers(1, 3),
    sessions=st.integers(1, 3),
    warm=st.integers(0, 2),
    max_instances=st.integers(1, 3),
    idle_stop=st.sampled_from([0.0, 1.0, 10.0, math.inf]),
    wait_timeout=st.sampled_from([0.0, 3.0, 10.0]),
    steps=st.lists(STEPS, max_size=40),
)
def test_the_books_are_right(
    variants: int,
    sessions: int,
    warm: int,
    max_instances: int,
    idle_stop: float,
    wait_timeout: float,
    steps: list[tuple[str, float]],
) -> None:
    """Nobody waits beside a free place or too long, no instance holds too many, there are never
    too many of them; and when all have gone the pool is as it began."""

    async def act(house: House, kind: str, number: float, order: int) -> None:
        match kind:
            case "come":
                choice = CHOICES[int(number) % variants]
                at_once = has_place(house, choice) and not house.waiting
                await house.come(f"s{order}", choice)
                assert not at_once or house.waited(f"s{order}") == 0
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
            default=CHOICES[0],
            sessions=sessions,
            warm=warm,
            max_instances=max_instances,
            idle_stop=idle_stop,
            wait_timeout=wait_timeout,
        ) as house:
            for order, (kind, number) in enumerate(steps):
                await act(house, kind, number, order)
                check(house)
                check_waits(house, wait_timeout)
            house.machine.failing = 0
            for name in sorted(house.scopes):
                await house.go(name)
            await trio.sleep(200)
            check(house)
            if idle_stop < math.inf:
                check_as_it_began(house, warm)
            assert sum(house.loads) == 0
            assert len(house.loads) >= warm

    trio.run(live, clock=MockClock(autojump_threshold=0))
