"""How much room is left in a channel, looked at rarely and never wrongly."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.headroom import Headroom

LIMIT = 3


@given(st.lists(st.booleans(), max_size=40))
def test_there_is_room_below_the_limit_and_nowhere_else(sends: list[bool]) -> None:
    """However sending and receiving alternate."""
    channel, receiving = trio.open_memory_channel[int](100)
    headroom = Headroom(channel, LIMIT)
    waiting = 0
    for send in sends:
        if send:
            headroom.send_nowait(waiting)
            waiting += 1
        elif waiting:
            receiving.receive_nowait()
            waiting -= 1
        assert headroom.left == (waiting < LIMIT)


async def test_what_was_sent_with_a_wait_counts_too() -> None:
    channel, receiving = trio.open_memory_channel[int](LIMIT + 1)
    headroom = Headroom(channel, LIMIT)
    for number in range(LIMIT):
        await headroom.send(number)
    before = headroom.left
    assert await receiving.receive() == 0
    assert (before, headroom.left) == (False, True)
    headroom.close()
    assert [number async for number in receiving] == [1, 2]
