"""What a backend reports arrives once and in order, whoever is quicker."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, assert_no_checkpoints, wait_all_tasks_blocked

from trio_bridge.messages import BackendEvent, ResponseOpened
from trio_bridge.reports import Reports


def event(number: int) -> BackendEvent:
    return ResponseOpened(f"{number}")


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["go on", "rest", "work"]))),
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40)),
)
def test_all_arrive_once_and_in_order(
    bursts: list[tuple[int, str]], refused: set[int], fertile: set[int]
) -> None:
    """Also those that are not taken at once (`refused`), and those that bring another about
    while they are (`fertile`)."""
    reported: list[BackendEvent] = []
    came: list[BackendEvent] = []

    async def main() -> None:
        reports = Reports(1000)

        def report() -> None:
            reported.append(event(len(reported)))
            reports.report(reported[-1])

        def take(one: BackendEvent) -> bool:
            assert isinstance(one, ResponseOpened)
            number = int(one.response_id)
            if number in refused:
                return False
            came.append(one)
            if number in fertile:
                report()
            return True

        async def receive() -> None:
            while True:
                came.append(await reports.receive(take))
                await trio.sleep(0.5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for count, then in bursts:
                if then == "rest":
                    await trio.sleep(100)
                elif then == "work":
                    await trio.sleep(0.3)
                for _ in range(count):
                    report()
            await trio.sleep(1000)
            assert reports.waiting == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert came == reported


async def test_who_waits_takes_an_event_in_the_step_that_has_it(
    autojump_clock: MockClock,
) -> None:
    reports, taken = Reports(10), []

    def take(one: BackendEvent) -> bool:
        taken.append(one)
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.receive, take)
        await wait_all_tasks_blocked()
        with assert_no_checkpoints():
            reports.report(event(0))
        assert taken == [event(0)]
        nursery.cancel_scope.cancel()
    # Nobody waits any more.
    reports.report(event(1))
    assert taken == [event(0)]
    assert reports.receive_nowait() == event(1)


async def test_too_many_wait() -> None:
    reports = Reports(2)
    reports.report(event(0))
    reports.report(event(1))
    with pytest.raises(trio.WouldBlock):
        reports.report(event(2))
    assert [reports.receive_nowait(), reports.receive_nowait()] == [event(0), event(1)]
    assert reports.waiting == 0


async def test_who_may_wait_waits_for_room(autojump_clock: MockClock) -> None:
    """And is not counted any more when it gives up."""
    reports = Reports(1)
    await reports.report_in_time(event(0))
    with trio.move_on_after(1):
        await reports.report_in_time(event(1))
    assert reports.waiting == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.report_in_time, event(2))
        await wait_all_tasks_blocked()
        assert [await reports.receive(), await reports.receive()] == [event(0), event(2)]


async def test_both_ends_can_be_closed() -> None:
    reports = Reports(2)
    reports.report(event(0))
    reports.end()
    assert [one async for one in reports] == [event(0)]
    with pytest.raises(trio.ClosedResourceError):
        reports.report(event(1))
    reports = Reports(2)
    reports.close()
    with pytest.raises(trio.BrokenResourceError):
        reports.report(event(1))
    with pytest.raises(trio.ClosedResourceError):
        await reports.receive()
