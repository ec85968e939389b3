"""What clients meet while the server starts, and when it never comes to serve."""

import socket
from contextlib import asynccontextmanager
from functools import partial

import httpx2
import pytest
import trio
import trio.testing
from attrs import evolve

from tests.support.client import connected
from tests.support.dora import free_port
from trio_bridge import InProcessBackend, open_bridge
from trio_bridge.dora.settings import DataflowSettings, DoraSettings
from trio_bridge.errors import BackendUnavailable, DataflowError
from trio_bridge.models import Models
from trio_bridge.settings import ServerSettings, Settings

pytestmark = pytest.mark.e2e


def upgrade(resource="/v1/realtime"):
    return (
        f"GET {resource} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


async def idle(commands, emit):
    async for _ in commands:
        pass


class Two(InProcessBackend):
    """It has two places, which sessions keep."""

    taken = 0

    def refusal(self, ahead=()):
        if self.taken + len(ahead) < 2:
            return None
        return BackendUnavailable("all places are taken", retry_after=5)

    @asynccontextmanager
    async def session(self, session_id):
        self.taken += 1
        async with super().session(session_id) as line:
            yield line


class Start:
    """A server whose dataflows come up, or fail, when the test says so."""

    def __init__(self, monkeypatch, nursery):
        self.nursery = nursery
        monkeypatch.setattr("trio_bridge.server.open_models", lambda _: self._models())
        self.settings = Settings(server=ServerSettings(port=free_port()))
        self.backend = InProcessBackend(idle)
        self.go = trio.Event()
        self.failure = None
        self.raised = None
        self.tidying = 0.0
        self.bridge = None
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    @asynccontextmanager
    async def _models(self):
        try:
            await self.go.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.tidying)
            raise
        if self.failure is not None:
            raise self.failure
        yield Models(self.backend)

    @property
    def serving(self):
        return self.bridge is not None

    @property
    def port(self):
        return self.settings.server.port

    async def run(self):
        try:
            with self.scope:
                async with open_bridge(self.settings) as self.bridge:
                    await self.bridge.wait_shutdown()
        except DataflowError as exc:
            self.raised = exc
        self.ended.set()

    async def listening(self):
        self.nursery.start_soon(self.run)
        await trio.testing.wait_all_tasks_blocked()

    async def ask(self, path):
        url = f"http://127.0.0.1:{self.port}{path}"
        return await trio.to_thread.run_sync(partial(httpx2.get, url))

    async def knock(self, resource="/v1/realtime"):
        """A connection that has asked for the upgrade and has no answer yet."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(upgrade(resource))
        return stream


@pytest.fixture
async def start(monkeypatch, nursery):
    start = Start(monkeypatch, nursery)
    yield start
    if start.bridge is not None:
        start.bridge.shutdown()
    else:
        start.scope.cancel()
    with trio.fail_after(5):
        await start.ended.wait()


async def answer(stream):
    with trio.fail_after(2):
        return (await stream.receive_some()).lower()


async def test_a_starting_server_says_so(start):
    """It is alive and not ready; what needs no dataflow is served."""
    await start.listening()
    health = await start.ask("/health")
    assert (health.status_code, health.json()["status"]) == (200, "starting")
    ready = await start.ask("/ready")
    assert (ready.status_code, ready.headers["retry-after"]) == (503, "5")
    assert ready.json() == {"ready": False, "reason": "the server is starting"}
    assert (await start.ask("/v1/models")).status_code == 200
    assert not start.serving
    start.go.set()
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert start.serving
    assert (await start.ask("/health")).json()["status"] == "healthy"
    assert (await start.ask("/ready")).status_code == 200


async def test_a_client_that_comes_early_waits_and_is_served(start):
    await start.listening()
    opened = trio.Event()

    async def client():
        async with connected(f"ws://127.0.0.1:{start.port}/v1/realtime", "mine") as mine:
            assert mine.events[0].event["session"]["model"] == "mine"
            opened.set()

    async with trio.open_nursery() as clients:
        clients.start_soon(client)
        await trio.sleep(0.2)
        assert not opened.is_set()
        start.go.set()
        with trio.fail_after(2):
            await opened.wait()


async def test_it_waits_as_long_as_for_a_place(start):
    """Then it is told when to come again: 503, which balancers understand. Of each dataflow its
    own time."""
    start.settings = evolve(
        start.settings,
        dora=DoraSettings(wait_timeout=30),
        models={"small*": "echo"},
        dataflows={"echo": DataflowSettings(wait_timeout=0.3)},
    )
    await start.listening()
    patient, brief = (
        await start.knock("/v1/realtime?model=x"),
        await start.knock("/v1/realtime?model=small-1"),
    )
    began = trio.current_time()
    refusal = await answer(brief)
    assert 0.2 < trio.current_time() - began < 1
    assert refusal.startswith(b"http/1.1 503")
    assert b"retry-after: 5" in refusal
    assert b"the server is starting" in refusal
    assert b"no_capacity" in refusal
    start.go.set()
    assert (await answer(patient)).startswith(b"http/1.1 101")
    await patient.aclose()
    await brief.aclose()


async def test_it_waits_no_longer_than_clients_do(start, monkeypatch):
    """Who has given up is not told anything."""
    monkeypatch.setattr("trio_bridge.bridge.WAIT_MOST", 0.3)
    await start.listening()
    early = await start.knock()
    assert (await answer(early)).startswith(b"http/1.1 503")
    await early.aclose()


@pytest.mark.parametrize("early", [b"", b"early frames"])
async def test_who_leaves_while_it_waits_is_let_go_of(start, early):
    """Also who has said something meanwhile."""
    await start.listening()
    stream = await start.knock()
    if early:
        await stream.send_all(early)
    await trio.testing.wait_all_tasks_blocked(0.05)
    await stream.send_eof()
    assert await answer(stream) == b""
    await stream.aclose()


async def test_of_many_that_wait_no_more_are_let_in_than_there_are_places(start):
    """All are let go on in the same turn of the loop."""
    start.backend = Two(idle)
    await start.listening()
    streams = [await start.knock() for _ in range(8)]
    await trio.testing.wait_all_tasks_blocked(0.05)
    start.go.set()
    answers = sorted([(await answer(stream))[:12] for stream in streams])
    assert answers == [b"http/1.1 101"] * 2 + [b"http/1.1 503"] * 6
    for stream in streams:
        await stream.aclose()


async def test_who_waits_for_a_start_that_fails_is_told(start):
    """And the failure is the caller's, as it was raised."""
    await start.listening()
    waiting = [await start.knock() for _ in range(3)]
    start.failure = DataflowError("node 'parrot' has died", node="parrot")
    start.go.set()
    for stream in waiting:
        refusal = await answer(stream)
        assert refusal.startswith(b"http/1.1 503")
        assert b"retry-after" in refusal
        await stream.aclose()
    with trio.fail_after(1):
        await start.ended.wait()
    assert start.raised is start.failure


async def test_a_server_stopped_while_it_starts_tells_who_waits_at_once(start):
    """Not when what has been started is gone; and nobody else can come."""
    start.tidying = 0.5
    await start.listening()
    waiting = await start.knock()
    await trio.testing.wait_all_tasks_blocked(0.05)
    began = trio.current_time()
    start.scope.cancel()
    refusal = await answer(waiting)
    assert trio.current_time() - began < 0.3
    assert refusal.startswith(b"http/1.1 503")
    assert b"the server is stopping" in refusal
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", start.port)
    assert not start.ended.is_set()
    await waiting.aclose()
    with trio.fail_after(2):
        await start.ended.wait()


async def test_who_says_nothing_does_not_keep_a_failed_start_up(start, monkeypatch):
    """A balancer's spare connections may stay for long; here they are cut off."""
    monkeypatch.setattr("trio_bridge.bridge.FAREWELL", 0.2)
    await start.listening()
    silent = [socket.create_connection(("127.0.0.1", start.port)) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked(0.05)
    start.failure = DataflowError("node 'parrot' has died", node="parrot")
    start.go.set()
    with trio.fail_after(1):
        await start.ended.wait()
    for each in silent:
        each.close()
