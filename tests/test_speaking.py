"""What is said leaves once and in order, whether the socket takes it at once or not."""

from __future__ import annotations

from collections import deque

import orjson
import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.closing import Ending
from trio_bridge.errors import TransportClosed
from trio_bridge.mooring import Line, Mooring
from trio_bridge.outgoing import Outgoing, SpeechEncoder
from trio_bridge.realtime.events import ConversationItemDeleted
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.recordings import Recordings
from trio_bridge.realtime.step import Step
from trio_bridge.realtime.wire import Codec
from trio_bridge.speaking import MESSAGES_IN_A_ROW, Speaking
from trio_bridge.transport import Transport


@define(eq=False)
class Socket(Transport):
    """Takes messages at once, or after a while, or has gone; by turns as it is told."""

    turns: deque[str]
    heard: list[str] = field(factory=list)
    _begun: str | None = None
    _gone: bool = False

    async def receive(self) -> str | bytes:
        await trio.sleep_forever()
        raise AssertionError

    def send_now(self, message: bytes) -> bool:
        assert self._begun is None, "a message was begun while another was under way"
        turn = self.turns.popleft() if self.turns else "at once"
        self._gone = self._gone or turn == "gone"
        if self._gone:
            raise TransportClosed("gone")
        item: str = orjson.loads(message)["item_id"]
        if turn == "later":
            self._begun = item
            return False
        self.heard.append(item)
        return True

    async def drain(self) -> None:
        await trio.sleep(1)
        assert self._begun is not None
        self.heard.append(self._begun)
        self._begun = None

    async def close(self, code: int, reason: str) -> None:
        raise NotImplementedError


def step(*names: str) -> Step:
    return Step(tuple(ConversationItemDeleted("e", name) for name in names))


@define(eq=False)
class House:
    """What a session has for speaking, without the session."""

    ended: list[Ending] = field(factory=list)
    mooring: Mooring = field(factory=lambda: Mooring(1e9))
    speaking: Speaking = field(init=False)

    def __attrs_post_init__(self) -> None:
        encoder = SpeechEncoder(Ids().event, Recordings(0))
        outgoing = Outgoing(encoder, Codec())
        self.speaking = Speaking(self.mooring, self.attached, outgoing, self.ended.append)

    async def attached(self) -> Line:
        line = await self.mooring.attached()
        assert line is not None
        return line


SAYINGS = st.lists(
    st.tuples(
        st.integers(0, 3) | st.just(MESSAGES_IN_A_ROW + 3), st.sampled_from([0.0, 0.5, 5.0])
    ),
    max_size=12,
)
"""How many messages a step has, and seconds until the next."""


@given(
    SAYINGS,
    st.lists(st.sampled_from(["at once", "later", "gone"]), max_size=60),
    st.integers(0, 3),
)
def test_all_is_said_once_and_in_order(
    sayings: list[tuple[int, float]], turns: list[str], before: int
) -> None:
    """Over as many transports as it takes: what was lost on the way is said to the next.
    `before`: what is said before the task runs."""
    said: list[str] = []
    sockets: list[Socket] = []
    left = deque(turns)

    async def main() -> None:
        house = House()

        def attach() -> None:
            sockets.append(Socket(left))
            house.mooring.attach(sockets[-1])

        async def reattach() -> None:
            while True:
                await house.mooring.released(sockets[-1])
                await trio.sleep(0.3)
                attach()

        attach()
        house.speaking.begin()
        for _ in range(before):
            said.append(f"item{len(said)}")
            house.speaking.say(step(said[-1]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.speaking.run)
            nursery.start_soon(reattach)
            for count, pause in sayings:
                names = [f"item{len(said) + each}" for each in range(count)]
                said.extend(names)
                house.speaking.say(step(*names))
                await trio.sleep(pause)
            await trio.sleep(1000)
            house.speaking.say(Ending(1000, "done"))
            await trio.sleep(1)
            assert [ending.reason for ending in house.ended] == ["done"]
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [item for socket in sockets for item in socket.heard] == said


async def test_what_can_leave_leaves_in_the_step(
    autojump_clock: MockClock,
) -> None:
    """Nobody has to be woken for it."""
    house, socket = House(), Socket(deque())
    house.mooring.attach(socket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.speaking.run)
        await wait_all_tasks_blocked()
        house.speaking.say(step("a", "b"))
        assert socket.heard == ["a", "b"]
        house.speaking.say(step("c"))
        assert socket.heard == ["a", "b", "c"]
        nursery.cancel_scope.cancel()


async def test_what_is_said_first_waits_for_no_task() -> None:
    """To be woken means to wait for all others."""
    house, socket = House(), Socket(deque())
    house.mooring.attach(socket)
    house.speaking.begin()
    house.speaking.say(step("a"))
    assert socket.heard == ["a"]


async def test_a_message_that_left_in_part_is_said_again_elsewhere(
    autojump_clock: MockClock,
) -> None:
    """Also where its transport was taken away before the task ran."""
    house, first, second = House(), Socket(deque(["later"])), Socket(deque())
    house.mooring.attach(first)
    house.speaking.begin()
    house.speaking.say(step("a"))
    house.mooring.detach()
    house.mooring.attach(second)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.speaking.run)
        await wait_all_tasks_blocked()
        assert second.heard == ["a"]
        nursery.cancel_scope.cancel()


async def test_a_transport_that_was_taken_away_is_not_used(
    autojump_clock: MockClock,
) -> None:
    """Also before the task has noticed."""
    house, first, second = House(), Socket(deque()), Socket(deque())
    house.mooring.attach(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.speaking.run)
        await wait_all_tasks_blocked()
        house.mooring.detach()
        house.speaking.say(step("a"))
        house.mooring.attach(second)
        house.speaking.say(step("b"))
        await wait_all_tasks_blocked()
        assert (first.heard, second.heard) == ([], ["a", "b"])
        nursery.cancel_scope.cancel()


async def test_there_is_room_again_when_the_task_has_caught_up(
    autojump_clock: MockClock,
) -> None:
    house = House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.speaking.run)
        said = 0
        while house.speaking.has_room:
            house.speaking.say(step(f"item{said}"))
            said += 1
        with trio.move_on_after(10) as patience:
            await house.speaking.room()
        assert patience.cancelled_caught
        socket = Socket(deque(["later"] * 3))
        house.mooring.attach(socket)
        await house.speaking.room()
        await trio.sleep(10)
        assert socket.heard == [f"item{each}" for each in range(said)]
        nursery.cancel_scope.cancel()


async def test_nothing_is_said_after_the_end() -> None:
    house = House()
    house.speaking.close()
    with pytest.raises(trio.ClosedResourceError):
        house.speaking.say(step("a"))
