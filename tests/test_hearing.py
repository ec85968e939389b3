"""What a session hears waits for room in its backend, and so does its client."""

from __future__ import annotations

import math

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.backend import BackendSession
from trio_bridge.hearing import BYTES_WAITING, Hearing
from trio_bridge.messages import Command, Commit, InputAudio, MicrophoneAudio
from trio_bridge.reports import Reports

SECOND = MicrophoneAudio(bytes(48_000))
FRAME = MicrophoneAudio(bytes(1920))


@define(eq=False)
class Slow:
    """Takes so many commands, until it is given more room."""

    left: float = 0
    taken: list[Command] = field(factory=list)
    _opened: trio.Event = field(factory=trio.Event)
    events: Reports = field(factory=lambda: Reports(0))

    @property
    def has_room(self) -> bool:
        return self.left > 0

    async def room(self) -> None:
        while not self.has_room:
            await self._opened.wait()

    def send(self, command: Command) -> None:
        self.left -= 1
        self.taken.append(command)

    def give(self, count: float) -> None:
        self.left = count
        self._opened.set()
        self._opened = trio.Event()


def hearing(backend: Slow) -> Hearing:
    link: BackendSession = backend
    return Hearing(backend.send, lambda: link)


async def test_without_room_nothing_is_heard_at_once(autojump_clock: MockClock) -> None:
    backend = Slow()
    ear = hearing(backend)
    assert not ear.hear_now([FRAME])
    assert ear.hear_now([])
    backend.give(1)
    assert ear.hear_now([FRAME])
    assert len(backend.taken) == 1


async def test_a_client_waits_for_what_the_backend_has_no_room_for(
    autojump_clock: MockClock,
) -> None:
    """A minute and a commit: what there is room for is sent, and no more than
    the limit waits in between. All arrives, in order."""
    backend = Slow()
    ear = hearing(backend)
    read = 0

    async def reader() -> None:
        nonlocal read
        for _ in range(60):
            await ear.hear([SECOND])
            read += 1
        await ear.hear([Commit("item")])
        read += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ear.run)
        nursery.start_soon(reader)
        await wait_all_tasks_blocked()
        assert (read, backend.taken) == (math.ceil(BYTES_WAITING / 48_000), [])
        backend.give(5)
        await wait_all_tasks_blocked()
        assert len(backend.taken) == 5
        assert read == math.ceil(BYTES_WAITING / 48_000) + 5
        backend.give(math.inf)
        await wait_all_tasks_blocked()
        assert read == 61
        assert not ear.behind
        nursery.cancel_scope.cancel()
    assert backend.taken[-1] == Commit("item")
    samples = sum(len(each.samples) for each in backend.taken if isinstance(each, InputAudio))
    assert samples == 60 * 16_000
