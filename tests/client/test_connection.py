from functools import partial

import pytest
import trio
from attrs import define

from trio_bridge.client.connection import ClientError, connect
from trio_bridge.doors.exchange import error_response
from trio_bridge.doors.front import serve_connection
from trio_bridge.errors import TransportClosed

pytestmark = pytest.mark.e2e


async def echo(transport):
    while True:
        await transport.send((await transport.receive()).encode())


@define
class FakeApp:
    handler: object = echo
    starting: bool = False

    async def wait_started(self, request):
        pass

    async def http(self, request):
        return error_response(404, "Nothing here.", code="not_found")

    def admit(self, request):
        if request.path == "/full":
            return error_response(503, "All places are taken.", code="no_capacity")
        return None

    async def websocket(self, request, transport):
        try:
            await self.handler(transport)  # type: ignore[operator]
        except TransportClosed:
            return


@pytest.fixture
async def served(nursery):
    """`await served(handler)`: the address of a server that does as `handler` does."""

    async def start(handler=echo):
        serve = partial(serve_connection, app=FakeApp(handler))
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"

    return start


def words_of(caught):
    """What a user is shown, out of whatever nurseries it came through."""
    exc = caught.value
    while isinstance(exc, BaseExceptionGroup):
        assert len(exc.exceptions) == 1
        exc = exc.exceptions[0]
    assert isinstance(exc, ClientError)
    return str(exc)


async def test_events_go_both_ways(served):
    """Objects in, objects out."""
    async with connect(await served() + "/v1/realtime") as connection:
        await connection.send("response.create", response={"a": 1})
        event = await connection.receive()
    assert event == {"type": "response.create", "response": {"a": 1}}


async def test_a_close_by_the_server_is_told_with_its_reason(served):
    """And leaves no socket behind."""

    async def leave(transport):
        await transport.close(1013, "try again later")

    async with connect(await served(leave)) as connection:
        with pytest.raises(ClientError, match=r"1013.*try again later"):
            await connection.receive()


async def test_a_refusal_is_told(served):
    """A response in place of an upgrade is no surprise."""
    with pytest.raises((ClientError, BaseExceptionGroup)) as caught:
        async with connect(await served() + "/full"):
            pass
    assert "All places are taken. (HTTP 503)" in words_of(caught)


@pytest.mark.parametrize("message", ["not json", "[]", '{"a": 1}', '{"type": 1}'])
async def test_what_is_no_event_is_refused(served, message):
    """A server of another protocol is told apart from one that has a fault."""

    async def babble(transport):
        await transport.send(message.encode())
        await transport.receive()

    async with connect(await served(babble)) as connection:
        with pytest.raises(ClientError, match=r"not JSON|not an event"):
            await connection.receive()


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/", "http://127.0.0.1/", "ws://", "ws://h:x/"]
)
async def test_addresses_that_lead_nowhere(url):
    """Each ends in words, and not in a traceback."""
    with pytest.raises((ClientError, BaseExceptionGroup)) as caught:
        async with connect(url):
            pass
    assert url in words_of(caught)


async def test_a_server_without_tls_is_told_apart(served):
    """At a `wss://` address, in words."""
    url = (await served()).replace("ws:", "wss:")
    with pytest.raises(ClientError, match=r"cannot connect to wss://.*does not speak TLS"):
        async with connect(url):
            pass


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"hello", "not a certificate in PEM")]
)
async def test_a_file_to_trust_that_cannot_be_used(tmp_path, served, content, words):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    url = (await served()).replace("ws:", "wss:")
    with pytest.raises(ClientError, match=f"cannot use {path}: {words}"):
        async with connect(url, ca=path):
            pass
