import socket

import trio
from trio.testing import assert_no_checkpoints, wait_all_tasks_blocked

from trio_bridge.doors.bytestream import PlainBytes


def pair():
    ours, theirs = socket.socketpair()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    return PlainBytes(stream), theirs


async def test_what_came_before_the_first_read_is_there_at_once():
    """Others may be many, and each turn of theirs a wait."""
    ours, theirs = pair()
    with theirs:
        theirs.send(b"GET")
        with assert_no_checkpoints():
            assert await ours.read() == b"GET"
        await ours.abort()


async def test_a_first_read_waits_where_nothing_came():
    ours, theirs = pair()
    heard = []

    async def read():
        heard.extend([await ours.read(), await ours.read()])

    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            theirs.send(b"GET")
            await wait_all_tasks_blocked(0.01)
            theirs.shutdown(socket.SHUT_WR)
        assert heard == [b"GET", b""]
        await ours.abort()
