"""Runtimes that die, one after the other, on a virtual clock."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing
from attrs import define
from trio.testing import MockClock

from trio_bridge.dora.backoff import FIRST, MOST, STEADY
from trio_bridge.dora.runtimes import supervision
from trio_bridge.dora.runtimes.supervision import Supervisor, open_supervisor
from trio_bridge.errors import RuntimeFailed


@define
class Mortal:
    """A runtime that lives so long."""

    seconds: float

    async def wait_failed(self) -> str:
        await trio.sleep(self.seconds)
        return "the dora daemon has died"


def lives(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[float]:
    """Have the runtimes live so long, in turn; 0: it does not come up, less: the disk is full.
    Gives their starts."""
    starts: list[float] = []
    left = list(seconds)

    @asynccontextmanager
    async def open_runtime() -> AsyncGenerator[Mortal, None]:
        starts.append(trio.current_time())
        each = left.pop(0)
        if not each:
            raise RuntimeFailed("the dora daemon did not come up")
        if each < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        yield Mortal(each)

    monkeypatch.setattr(supervision, "open_runtime", open_runtime)
    return starts


async def test_one_that_has_run_long_is_replaced_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = lives(monkeypatch, 100.0, 200.0, 1e9)
    async with open_supervisor() as supervisor:
        await trio.sleep(1000)
        assert starts == [0.0, 100.0, 300.0]
        status = supervisor.status()
        assert (status["state"], status["restarts"]) == ("running", 2)
        assert supervisor.failure is None


async def test_it_outlives_what_stands_on_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instances that are cancelled need it to stop; so its end is that of the context."""
    ends: list[float] = []

    @asynccontextmanager
    async def open_runtime() -> AsyncGenerator[Mortal, None]:
        try:
            yield Mortal(1e9)
        finally:
            ends.append(trio.current_time())

    monkeypatch.setattr(supervision, "open_runtime", open_runtime)
    with trio.move_on_after(1):
        async with open_supervisor(), trio.open_nursery():
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)
    assert ends == [3]


async def test_a_start_is_cancelled_in_the_moment_in_which_it_succeeds(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = trio.Event()

    @asynccontextmanager
    async def open_runtime() -> AsyncGenerator[Mortal, None]:
        await up.wait()
        yield Mortal(1e9)

    monkeypatch.setattr(supervision, "open_runtime", open_runtime)
    scope = trio.CancelScope()

    async def stand() -> None:
        with scope:
            async with open_supervisor():
                await trio.sleep_forever()

    with trio.fail_after(10, shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stand)
            await trio.testing.wait_all_tasks_blocked()
            up.set()
            scope.cancel()


async def test_those_that_die_soon_are_replaced_later_and_later(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they die or do not come up; one that has run long makes up for them all."""
    starts = lives(monkeypatch, 1.0, 0.0, 1.0, *[0.0] * 6, STEADY, 1e9)
    async with open_supervisor() as supervisor:
        await trio.sleep(1.5 * FIRST + 1)
        status = supervisor.status()
        assert (status["state"], status["restarts"]) == ("restarting", 0)
        assert status["lastFailure"] == "the dora daemon did not come up"
        assert supervisor.changing.locked()
        await trio.sleep(1000)
        pauses = [after - before for before, after in pairwise(starts)]
        lived = [1.0, 0.0, 1.0, *[0.0] * 6]
        wanted = [time + min(FIRST * 2**n, MOST) for n, time in enumerate(lived)]
        assert pauses == pytest.approx([*wanted, STEADY])
        assert supervisor.failure is None
        assert not supervisor.changing.locked()


async def test_nothing_starts_while_there_is_none(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was about to start something finishes first, and finds it dead."""
    lives(monkeypatch, 1.0, 1e9)
    async with open_supervisor() as supervisor:
        first = supervisor.ground
        async with supervisor.changing:
            await trio.sleep(5)
            assert supervisor.ground is first
            assert supervisor.status()["state"] == "restarting"
        async with supervisor.changing:
            assert supervisor.ground is not first
            assert supervisor.failure is None


async def test_the_first_must_come_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, 0.0)
    with pytest.raises(RuntimeFailed, match="did not come up"):
        async with open_supervisor():
            pass
    with pytest.raises(RuntimeError):
        _ = Supervisor().ground


async def test_a_machine_without_room_is_tried_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting one takes files and processes, which may be had later."""
    starts = lives(monkeypatch, 100.0, -1.0, -1.0, 1e9)
    async with open_supervisor() as supervisor:
        await trio.sleep(100 + FIRST / 2)
        assert "No space left on device" in supervisor.status()["lastFailure"]
        await trio.sleep(1000)
        assert starts == [0.0, 100.0, 100.0 + FIRST, 100.0 + 3 * FIRST]
        assert supervisor.failure is None
        assert not supervisor.changing.locked()
