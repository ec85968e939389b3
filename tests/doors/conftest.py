"""A front door on a loopback port, with an application behind it that tests can look into."""

from functools import partial
from typing import Any

import pytest
import trio
from attrs import Factory, define

from trio_bridge.doors.exchange import error_response
from trio_bridge.doors.front import Limits, serve_connection
from trio_bridge.doors.http import Site, Status
from trio_bridge.doors.keys import Keys
from trio_bridge.doors.minting import Mint
from trio_bridge.doors.websocket import Timing
from trio_bridge.errors import TransportClosed

QUICK = Limits(
    request_timeout=0.3,
    response_timeout=0.3,
    linger_timeout=0.3,
    websocket=Timing(ping_interval=0.1, pong_timeout=0.2, send_timeout=0.3, close_timeout=0.3),
)

SITE = Site(
    lambda: Status(state="healthy", not_ready=None, active_sessions=0, uptime=0),
    Mint(Keys(), lambda: 1_800_000_000),
)


async def echo(transport):
    while True:
        message = await transport.receive()
        await transport.send(
            message.encode() if isinstance(message, str) else b"%d bytes" % len(message)
        )


@define
class FakeApp:
    handler: Any = echo
    requests: list[Any] = Factory(list)
    ended: list[TransportClosed] = Factory(list)
    done: trio.Event = Factory(trio.Event)
    starting: bool = False
    waiting: int = 0
    started: trio.Event = Factory(trio.Event)

    async def wait_started(self, request):
        self.waiting += 1
        try:
            await self.started.wait()
        finally:
            self.waiting -= 1

    async def http(self, request):
        self.requests.append(request)
        if request.path == "/fails":
            raise RuntimeError("as the test asked")
        return SITE.answer(request)

    def admit(self, request):
        self.requests.append(request)
        if request.path == "/full":
            return error_response(503, "No.", code="full", headers=(("retry-after", "1"),))
        return None

    async def websocket(self, request, transport):
        try:
            await self.handler(transport)
        except TransportClosed as exc:
            self.ended.append(exc)
        finally:
            self.done.set()


@pytest.fixture
def quick():
    """The door's limits, shortened so that the tests see them at work."""
    return QUICK


@pytest.fixture
def app():
    return FakeApp()


@pytest.fixture
async def door(nursery, app):
    """Starts a door: `port = await door(limits)`."""

    async def start(limits=QUICK):
        serve = partial(serve_connection, app=app, limits=limits)
        tcp = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        listeners = await nursery.start(tcp)
        return listeners[0].socket.getsockname()[1]

    return start
