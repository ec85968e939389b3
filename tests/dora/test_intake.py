"""How much may be under way to the nodes, on a virtual clock."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from trio_bridge.dora.contract import SAMPLE_RATE, Listen
from trio_bridge.dora.instances.intake import (
    FORGOTTEN,
    LATE,
    NARROW,
    PACE,
    UNHEARD,
    WIDE,
    Intake,
    Pace,
)

LINK = ("vad", "listen")
TICK = 0.005
ACKNOWLEDGED_AFTER = 0.25


@define(eq=False)
class Instance:
    """Sessions, the outbox between them and a node, and that node: it hears so many times as
    fast as people speak, one message after the other."""

    speed: float
    intake: Intake = field(factory=lambda: Intake([LINK]))
    most: float = 0.0
    """Seconds of audio that were under way, at most."""
    _under_way: float = 0.0
    _leaving: float = 0.0
    _messages: list[float] = field(factory=list)

    async def upload(self, seconds: int, pace: Pace | None = None) -> float:
        """Send as fast as it goes; gives when all has left."""
        pace = pace or Pace()
        for _ in range(seconds):
            await self.say(1.0, pace)
        return trio.current_time()

    async def talk(self, seconds: float) -> float:
        """Send as people speak; gives the longest wait."""
        pace, began, longest = Pace(), trio.current_time(), 0.0
        for frame in range(round(seconds / 0.04)):
            due = began + frame * 0.04
            await trio.sleep_until(due)
            await self.say(0.04, pace)
            longest = max(longest, trio.current_time() - due)
        return longest

    async def say(self, seconds: float, pace: Pace) -> None:
        await self.intake.room(pace)
        samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        self.intake.said(Listen("s", 0, "audio", samples), pace, trio.current_time())
        self._leaving += seconds

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self._hear)

    async def _send(self) -> None:
        while True:
            await trio.sleep(TICK)
            if self._leaving:
                self._under_way += self._leaving
                self.most = max(self.most, self._under_way)
                self.intake.sent(len(self._messages), trio.current_time())
                self._messages.append(self._leaving)
                self._leaving = 0.0

    async def _hear(self) -> None:
        heard = 0
        while True:
            started = trio.current_time()
            while (
                heard < len(self._messages)
                and trio.current_time() < started + ACKNOWLEDGED_AFTER
            ):
                await trio.sleep(self._messages[heard] / self.speed)
                self._under_way -= self._messages[heard]
                heard += 1
            self.intake.acknowledged(*LINK, heard - 1, trio.current_time())
            await trio.sleep(max(started + ACKNOWLEDGED_AFTER - trio.current_time(), TICK))


async def test_an_hour_at_once_holds_up_itself_alone(autojump_clock: MockClock) -> None:
    instance = Instance(speed=500)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.run)
        with trio.move_on_after(120):
            async with trio.open_nursery() as uploads:
                uploads.start_soon(instance.upload, 3600)
                assert await instance.talk(20) < 0.01
        took = trio.current_time()
        nursery.cancel_scope.cancel()
    assert 3600 / took > 50
    assert instance.most < WIDE + 5


async def test_a_slow_node_is_given_less_and_shared_fairly(autojump_clock: MockClock) -> None:
    """Ten that upload, at twenty times the pace of speech for all."""
    instance = Instance(speed=20)
    ends: list[float] = []

    async def upload() -> None:
        ends.append(await instance.upload(60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.run)
        async with trio.open_nursery() as uploads:
            for _ in range(10):
                uploads.start_soon(upload)
            assert await instance.talk(20) < 1.0
        nursery.cancel_scope.cancel()
    assert min(ends) > 20
    assert max(ends) < 40
    assert max(ends) - min(ends) < 9
    # The head starts, NARROW ahead, and what a piece may be more.
    assert instance.most < 10 * 1.5 + 2 * NARROW + 10


async def test_nobody_sends_to_nodes_that_are_late(autojump_clock: MockClock) -> None:
    """Not even who speaks as people do; and all go on when they take something again."""
    intake, pace = Intake([LINK, ("other", "listen")]), Pace()
    intake.sent(0, trio.current_time())
    await trio.sleep(LATE)
    assert intake.has_room(pace, trio.current_time())
    await trio.sleep(0.1)
    assert not intake.has_room(pace, trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.room, pace)
        await trio.sleep(1)
        intake.acknowledged("vad", "listen", 0, trio.current_time())
        await trio.sleep(1)
        assert not intake.has_room(pace, trio.current_time())
        intake.acknowledged("other", "listen", 0, trio.current_time())
        began = trio.current_time()
    assert trio.current_time() == began


async def test_a_recogniser_that_lags_holds_its_own_session(autojump_clock: MockClock) -> None:
    """What was committed is waited for, but not for ever; the others go on."""
    instance, slow = Instance(speed=500), Pace()
    slow.transcribed = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.run)
        await instance.upload(int(UNHEARD), slow)
        slow.committed("item", trio.current_time())
        assert await instance.upload(100) < 15
        with trio.move_on_after(FORGOTTEN / 2):
            await instance.say(0.04, slow)
            pytest.fail("the transcript was not waited for")
        assert slow.heard("item")
        assert not slow.heard("item")
        began = trio.current_time()
        await instance.upload(int(UNHEARD), slow)
        assert trio.current_time() - began < 5
        slow.committed("lost", trio.current_time())
        began = trio.current_time()
        await instance.say(0.04, slow)
        assert trio.current_time() - began == pytest.approx(FORGOTTEN)
        nursery.cancel_scope.cancel()


async def test_a_long_utterance_goes_on_at_its_pace(autojump_clock: MockClock) -> None:
    """There is no telling how much of it was understood, and no transcript before its end."""
    instance, pace = Instance(speed=500), Pace()
    pace.transcribed = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.run)
        await instance.upload(100, pace)
        assert trio.current_time() == pytest.approx((100 - UNHEARD) / PACE, abs=3)
        pace.cleared()
        began = trio.current_time()
        await instance.upload(int(UNHEARD) - 1, pace)
        assert trio.current_time() - began < 5
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("later", "understood"), [(FORGOTTEN - 1, False), (FORGOTTEN + 1, True)]
)
def test_transcripts_that_never_come_are_forgotten(later: float, understood: bool) -> None:
    """They count neither against what is said later nor for ever."""
    pace = Pace()
    pace.transcribed = True
    for number in range(3):
        pace.hurried(UNHEARD)
        pace.committed(f"lost-{number}", 0.0)
    pace.hurried(UNHEARD / 2)
    pace.committed("new", later)
    assert pace.understood == understood
    pace.hurried(UNHEARD)
    pace.committed("newer", later)
    assert pace.free_at == (later if understood else 0.0) + FORGOTTEN
