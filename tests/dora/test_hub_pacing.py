"""How fast audio goes to the nodes of the hub, without any."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import trio
from attrs import define, field

from trio_bridge.dora.descriptors.ports import HUB
from trio_bridge.dora.hub.listening import TRANSCRIPT_PATIENCE, UNHEARD
from trio_bridge.dora.hub.messages import Message
from trio_bridge.dora.hub.pacing import MOST_UNDER_WAY, QUIET, UNANSWERED_LIMIT
from trio_bridge.dora.hub.session import HubConversation, HubLink
from trio_bridge.messages import Commit, Configure, InputAudio

SECOND = 16_000


@define
class Monitor:
    """A monitor, and the session that it hears."""

    sent: trio.Event = field(factory=trio.Event)
    waiting: list[Message] = field(factory=list)
    heard: list[np.ndarray] = field(factory=list)
    faults: list[str] = field(factory=list)
    conversation: HubConversation = field(init=False)
    session: HubLink = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.conversation = HubConversation(HUB.outputs, count(1), self._send)
        self.session = HubLink("s", self.conversation, lambda: None)
        self.session.open()

    def _send(self, message: Message) -> None:
        if message.port == "audio":
            self.waiting.append(message)
            self.sent.set()
            fault = self.conversation.pacing.sent(trio.current_time())
            self.faults += [fault] if fault else []

    async def run(
        self, seconds: float, answers: Callable[[int], bool] = lambda _: True
    ) -> None:
        """Hear, so many seconds for each message."""
        for number in count():
            while not self.waiting:
                self.sent = trio.Event()
                await self.sent.wait()
            await trio.sleep(seconds)
            samples = self.waiting.pop(0).samples
            assert samples is not None
            self.heard.append(samples)
            if answers(number):
                self.conversation.answered(trio.current_time())

    async def upload(self, seconds: int, frame: int = 320) -> None:
        for start in range(0, seconds * SECOND, frame):
            await self.session.room()
            self.session.send(InputAudio(np.arange(start, start + frame, dtype=np.float32)))


@pytest.mark.parametrize("frame", [320, 16_000])
async def test_an_upload_takes_as_long_as_to_say_it(
    autojump_clock: trio.testing.MockClock, frame: int
) -> None:
    """All of it is heard, in order, and never more than a little under way."""
    monitor = Monitor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run, 0.002)
        await monitor.upload(60, frame)
        assert 55 < trio.current_time() < 60
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert np.array_equal(np.concatenate(monitor.heard), np.arange(60 * SECOND))
    assert not monitor.faults


@pytest.mark.parametrize("answers", [lambda _: True, lambda n: n % 2 == 0], ids=["all", "half"])
async def test_who_speaks_as_people_do_hardly_waits(
    autojump_clock: trio.testing.MockClock, answers: Callable[[int], bool]
) -> None:
    """Not with a clock that is a little fast, nor with a network that hands over three frames
    at a time, nor with a monitor that leaves out every other answer."""
    monitor = Monitor()
    longest = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run, 0.005, answers)
        for number in range(1500):
            if number % 3 == 0:
                await trio.sleep_until(number * 0.0198)
            began = trio.current_time()
            await monitor.session.room()
            monitor.session.send(InputAudio(np.zeros(320, np.float32)))
            longest = max(longest, trio.current_time() - began)
        nursery.cancel_scope.cancel()
    assert longest <= (0 if answers(1) else QUIET)
    assert not monitor.faults


async def test_a_monitor_that_is_behind_is_given_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It takes twice as long as the speech itself, and has little more than 2 s to do."""
    monitor = Monitor()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run, 0.08)
        nursery.start_soon(monitor.upload, 60)
        for _ in range(300):
            await trio.sleep(0.1)
            assert len(monitor.waiting) <= MOST_UNDER_WAY
        nursery.cancel_scope.cancel()
    assert not monitor.faults
    assert sum(map(len, monitor.heard)) > 14 * SECOND


async def test_a_monitor_that_hangs_is_told_of(autojump_clock: trio.testing.MockClock) -> None:
    """As soon as it has answered none of 10 s of audio, no sooner where all came at once."""
    monitor = Monitor()
    with trio.move_on_after(9):
        await monitor.upload(60, 512)
    assert not monitor.faults
    with trio.move_on_after(2):
        await monitor.upload(60, 512)
    assert monitor.faults[0] == f"has left {UNANSWERED_LIMIT + 1} messages of audio unanswered"
    assert len(monitor.waiting) < UNANSWERED_LIMIT + 60


async def test_push_to_talk_waits_for_its_transcripts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is not looked at for speech may come as fast as it likes. What is committed waits
    for the recogniser, however much of it is understood."""
    monitor = Monitor()
    monitor.session.send(Configure(None, None))
    ahead = []
    for number in range(12):
        await monitor.upload(5)
        monitor.session.send(Commit(f"item-{number}"))
        ahead.append(trio.current_time())
        while not monitor.session.has_room:
            # The conversation's clock is in a task of the dialogue's.
            await trio.sleep_until(monitor.conversation.deadline)
            monitor.conversation.tick(trio.current_time())
    assert ahead[int(UNHEARD / 5) - 1] == 0
    assert ahead[int(UNHEARD / 5)] == pytest.approx(5 + TRANSCRIPT_PATIENCE)
    assert not monitor.waiting
    assert monitor.conversation.deadline < math.inf
