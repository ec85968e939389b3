import errno
import resource
import socket
from contextlib import ExitStack

import pytest
import trio

from trio_bridge.doors.backlog import ACCEPTED_IN_A_ROW, Backlog

pytestmark = pytest.mark.e2e


@pytest.fixture
async def backlog():
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with Backlog.of(listener) as backlog:
        yield backlog


@pytest.fixture
def knock(backlog):
    """Connects so many clients; the kernel completes that without us."""
    with ExitStack() as stack:

        def connect(count):
            for _ in range(count):
                address = backlog.socket.getsockname()
                stack.enter_context(socket.create_connection(address, timeout=5))

        yield connect


@pytest.fixture
async def turns():
    """How many turns the loop has made."""
    made = [0]

    async def count():
        while True:
            await trio.lowlevel.checkpoint()
            made[0] += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        yield lambda: made[0]
        nursery.cancel_scope.cancel()


async def accept(backlog, count):
    with trio.fail_after(5):
        for _ in range(count):
            await (await backlog.accept()).aclose()


async def accepted_at(backlog, turns, count):
    streams, when = [], []
    with trio.fail_after(5):
        for _ in range(count):
            streams.append(await backlog.accept())
            when.append(turns())
    for stream in streams:
        await trio.aclose_forcefully(stream)
    return when


async def test_those_that_wait_are_accepted_in_one_turn(backlog, knock, turns):
    """Also when somebody came before."""
    knock(1)
    await accept(backlog, 1)
    knock(20)
    when = await accepted_at(backlog, turns, 20)
    assert len(set(when[1:])) == 1


async def test_a_flood_lets_others_run(backlog, knock, turns):
    knock(3 * ACCEPTED_IN_A_ROW)
    when = await accepted_at(backlog, turns, 3 * ACCEPTED_IN_A_ROW)
    # Who counts may be before us in one turn and after us in the next.
    assert max(map(when.count, when)) <= 2 * ACCEPTED_IN_A_ROW


async def test_it_waits_for_a_connection(backlog, knock):
    """And gives a stream that works."""

    async def come():
        await trio.sleep(0.05)
        knock(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        with trio.fail_after(5):
            stream = await backlog.accept()
        await stream.send_all(b"hello")
        await stream.aclose()


async def test_no_more_descriptors(backlog, knock):
    """It says so, and accepts who waited when there are some again."""
    knock(2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            await backlog.accept()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE
    await accept(backlog, 2)


class Denied:
    """A socket that loses the first connection."""

    def __init__(self, whole, code):
        self.whole, self.codes = whole, [code]

    def accept(self):
        if self.codes:
            raise OSError(self.codes.pop(), "lost")
        return self.whole.accept()

    def fileno(self):
        return self.whole.fileno()


@pytest.mark.parametrize("code", ["ECONNABORTED", "EPERM", "ENETUNREACH", "EPROTO"])
async def test_a_connection_that_is_lost_before_it_is_accepted_is_no_matter(
    backlog, knock, code
):
    """A firewall may say so, too; the server goes on."""
    knock(1)
    whole = backlog.socket
    backlog.socket = Denied(whole, getattr(errno, code))
    await accept(backlog, 1)
    backlog.socket = whole


async def test_closing_it_frees_the_address(backlog):
    """Who waits for a connection is told."""
    address = backlog.socket.getsockname()
    async with trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await backlog.accept()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await backlog.aclose()
    await backlog.aclose()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
