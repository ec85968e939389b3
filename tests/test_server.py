"""The server as a whole, in this process, with backends in plain Python."""

import random
import socket
from contextlib import asynccontextmanager, nullcontext
from functools import partial

import httpx2
import orjson
import pytest
import trio
import trio.testing
from attrs import evolve
from openai import BadRequestError, OpenAI
from trio_websocket import ConnectionClosed, wrap_client_stream

from trio_bridge import InProcessBackend, open_bridge
from trio_bridge.bridge import Bridge
from trio_bridge.doors.realtime import Handshake
from trio_bridge.errors import BackendUnavailable
from trio_bridge.models import Models
from trio_bridge.server import _house
from trio_bridge.settings import ServerSettings, Settings
from trio_bridge.transport import memory_transport_pair

pytestmark = pytest.mark.e2e

SETTINGS = Settings(server=ServerSettings(port=0))
PAGE = "http://127.0.0.1:5173"


async def idle(commands, emit):
    async for _ in commands:
        pass


@pytest.fixture
async def bridge():
    async with open_bridge(SETTINGS, backend=InProcessBackend(idle)) as running:
        yield running


@asynccontextmanager
async def connect(bridge, resource="/v1/realtime", *, headers=None, subprotocols=None):
    tcp = await trio.open_tcp_stream(*bridge.address)
    async with tcp, trio.open_nursery() as nursery:
        host, port = bridge.address
        ws = await wrap_client_stream(
            nursery,
            tcp,
            f"{host}:{port}",
            resource,
            subprotocols=subprotocols,
            extra_headers=[(name, value.encode()) for name, value in (headers or {}).items()],
        )
        yield ws
        await ws.aclose()
        nursery.cancel_scope.cancel()


async def hello(ws):
    """The session that the server says it has opened."""
    with trio.fail_after(5):
        event = orjson.loads(await ws.get_message())
    assert event["type"] == "session.created"
    return event["session"]


async def ask(bridge, method, path, **more):
    request = partial(httpx2.request, method, bridge.http_url + path, **more)
    return await trio.to_thread.run_sync(request)


READY = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Full(InProcessBackend):
    """It has no place, and says so beforehand or only when it is asked for one."""

    foreseen = True
    places = 0

    def refusal(self, ahead=()):
        if self.foreseen:
            return BackendUnavailable("all places are taken", retry_after=2.5)
        return None

    @asynccontextmanager
    async def session(self, session_id):
        if not self.places:
            raise BackendUnavailable("no place came free in 10 s")
        async with super().session(session_id) as line:
            yield line


@pytest.fixture
async def full():
    backend = Full(idle)
    async with open_bridge(SETTINGS, backend=backend) as running:
        yield backend, running


async def test_it_is_ready_while_a_session_may_come(full):
    """Full is ready: the answer to a session says when to come again, as no balancer could."""
    backend, bridge = full
    assert (await ask(bridge, "GET", "/ready")).status_code == 200
    backend.healthy = False
    answer = await ask(bridge, "GET", "/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reason": "no dataflow is warm"}
    answer = await ask(bridge, "GET", "/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


async def test_who_can_get_no_place_is_refused_before_the_upgrade(full):
    """With a status, and the time after which to come again."""
    _, bridge = full
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    answer = await ask(bridge, "GET", "/v1/realtime?model=x", headers=upgrade)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"]["code"] == "no_capacity"
    assert not bridge.sessions
    # A bad key is worse news than a full house.
    async with connect(bridge, headers={"Authorization": "Bearer ek_forged"}) as ws:
        assert orjson.loads(await ws.get_message())["error"]["code"] == "invalid_api_key"


async def test_who_gets_no_place_after_the_upgrade_is_told_so(full):
    """An error event, then close 1013: try again later."""
    backend, bridge = full
    backend.foreseen = False
    async with connect(bridge) as ws:
        error = orjson.loads(await ws.get_message())
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert error["error"]["code"] == "no_capacity"
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1013


async def test_a_session_from_before_the_end_is_told_of_it():
    """It was let in, and begins when the others have been told already."""
    near, far = memory_transport_pair()
    async with open_bridge(SETTINGS, backend=InProcessBackend(idle)) as bridge:
        bridge.shutdown()
        bridge.open_session(near)
    assert far.closed is not None
    assert far.closed[0] == 1001
    assert not bridge.sessions


class Two(InProcessBackend):
    """It has two places."""

    taken = 0

    def refusal(self, ahead=()):
        if self.taken + len(ahead) < 2:
            return None
        return BackendUnavailable("all places are taken", retry_after=5)

    @asynccontextmanager
    async def session(self, session_id):
        if refusal := self.refusal():
            raise refusal
        self.taken += 1
        async with super().session(session_id) as line:
            yield line


async def test_of_many_at_once_those_without_a_place_are_refused_before_the_upgrade():
    """Whoever comes first, none is let in and then sent away."""
    async with open_bridge(SETTINGS, backend=Two(idle)) as bridge:
        sockets = [socket.create_connection(bridge.address) for _ in range(8)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        # Without a turn of the loop between them: the server meets all of them in one.
        for each in sockets:
            each.sendall(UPGRADE)
        streams = [trio.SocketStream(trio.socket.from_stdlib_socket(s)) for s in sockets]
        answers = [(await stream.receive_some())[:12] for stream in streams]
        assert sorted(answers) == [b"HTTP/1.1 101"] * 2 + [b"HTTP/1.1 503"] * 6
        for stream in streams:
            await stream.aclose()


class Slow(InProcessBackend):
    """Its places come when nobody waits any more."""

    @asynccontextmanager
    async def session(self, session_id):
        await trio.sleep(60)
        async with super().session(session_id) as line:
            yield line


async def test_a_session_that_waits_for_a_place_does_not_delay_the_drain():
    async with open_bridge(SETTINGS, backend=Slow(idle)) as bridge, connect(bridge) as ws:
        began = trio.current_time()
        bridge.shutdown()
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
        assert trio.current_time() - began < 1
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1001


async def test_a_connection_from_before_gets_no_session_of_a_stopping_server():
    """It came through the door already; its request comes while others are drained."""
    async with open_bridge(SETTINGS, backend=InProcessBackend(idle)) as bridge:
        silent = await trio.open_tcp_stream(*bridge.address)
        await silent.send_all(UPGRADE)
        assert (await silent.receive_some()).startswith(b"HTTP/1.1 101")
        late = await trio.open_tcp_stream(*bridge.address)
        await trio.testing.wait_all_tasks_blocked(0.05)
        bridge.shutdown()
        for request in (READY, UPGRADE):
            await late.send_all(request)
            answer = await late.receive_some()
            assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answer.lower()
        await silent.aclose()
        await late.aclose()


async def test_the_model_is_echoed(bridge):
    async with connect(bridge, "/v1/realtime?model=gpt-realtime-2.1") as ws:
        assert (await hello(ws))["model"] == "gpt-realtime-2.1"


async def test_a_key_opens_the_session_it_was_made_for(bridge):
    """Again and again, until it expires; in a subprotocol as in a header."""
    session = {"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."}
    made = await ask(bridge, "POST", "/v1/realtime/client_secrets", json={"session": session})
    assert made.status_code == 200, made.text
    key = made.json()["value"]
    offered = ["realtime", f"openai-insecure-api-key.{key}"]
    async with connect(bridge, subprotocols=offered) as ws:
        assert ws.subprotocol == "realtime"
        opened = await hello(ws)
    assert (opened["model"], opened["instructions"]) == ("gpt-realtime", "Be brief.")
    async with connect(bridge, headers={"Authorization": f"Bearer {key}"}) as ws:
        assert (await hello(ws))["instructions"] == "Be brief."


async def test_the_longest_key_passes_the_door(bridge):
    """Beside the headers of a browser."""
    chat = random.Random(1).randbytes(4800).hex()  # noqa: S311
    session = {"type": "realtime", "instructions": chat}
    made = await ask(bridge, "POST", "/v1/realtime/client_secrets", json={"session": session})
    assert made.status_code == 200, made.text
    key = made.json()["value"]
    assert len(key) > 7_000
    headers = {"Authorization": f"Bearer {key}", "Cookie": "c" * 3000}
    async with connect(bridge, headers=headers) as ws:
        assert (await hello(ws))["instructions"] == chat


async def test_a_forged_key_is_told_so_after_the_upgrade(bridge):
    """An error event, then close 3000: a WebSocket client can read no HTTP status."""
    key = "openai-insecure-api-key.ek_forged"
    async with connect(bridge, subprotocols=["realtime", key]) as ws:
        error = orjson.loads(await ws.get_message())
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert error["type"] == "error"
    assert error["error"]["code"] == "invalid_api_key"
    assert error["error"]["type"] == "invalid_request_error"
    assert "forged" not in error["error"]["message"]
    reason = caught.value.reason
    assert reason is not None
    assert (reason.code, reason.reason) == (3000, "invalid_request_error.invalid_api_key")
    assert not bridge.sessions


async def test_replicas_share_keys_by_sharing_a_secret():
    secret = "a secret that replicas share"  # noqa: S105
    settings = evolve(SETTINGS, server=ServerSettings(port=0, secret=secret))
    backend = InProcessBackend(idle)
    async with (
        open_bridge(settings, backend=backend) as first,
        open_bridge(settings, backend=backend) as second,
    ):
        made = await ask(first, "POST", "/v1/realtime/client_secrets")
        headers = {"Authorization": f"Bearer {made.json()['value']}"}
        async with connect(second, headers=headers) as ws:
            await hello(ws)


async def test_pages_of_other_origins_are_kept_out_by_default(bridge):
    """Before the upgrade; the server's own pages may come."""
    with pytest.raises(ExceptionGroup) as caught:
        async with connect(bridge, headers={"Origin": PAGE}):
            pass
    assert "403" in repr(caught.value)
    refused = await ask(bridge, "GET", "/v1/models", headers={"Origin": PAGE})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    async with connect(bridge, headers={"Origin": bridge.http_url}) as ws:
        await hello(ws)


async def test_pages_that_are_allowed_may_come():
    server = ServerSettings(port=0, cors_origins=(PAGE,))
    settings = evolve(SETTINGS, server=server)
    async with open_bridge(settings, backend=InProcessBackend(idle)) as bridge:
        async with connect(bridge, headers={"Origin": PAGE}) as ws:
            await hello(ws)
        asked = {
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-os",
        }
        path = "/v1/realtime/client_secrets"
        preflight = await ask(bridge, "OPTIONS", path, headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == PAGE
        assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
        made = await ask(bridge, "POST", path, headers={"Origin": PAGE})
        assert made.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "resource", ["/v1/realtime/translations", "/v1/realtime?call_id=rtc_1"]
)
async def test_what_is_not_served_is_refused_before_the_upgrade(bridge, resource):
    with pytest.raises(ExceptionGroup) as caught:
        async with connect(bridge, resource):
            pass
    assert "501" in repr(caught.value)


async def test_the_model_chooses_who_answers(nursery):
    """By name and pattern; `/v1/models` lists what is configured."""
    opened = []

    def named(name):
        async def answer(commands, emit):
            opened.append(name)
            async for _ in commands:
                pass

        return InProcessBackend(answer)

    models = Models(named("default"), {"echo*": named("echo"), "gpt-4": named("four")})
    bridge = Bridge(SETTINGS, ("127.0.0.1", 0))
    bridge.begin(models, nursery)
    for model in ("echo-1", "gpt-4", "gpt-5"):
        near, far = memory_transport_pair()
        session = bridge.open_session(far, handshake=Handshake(model=model))
        assert orjson.loads(await near.receive())["session"]["model"] == model
        await near.close()
        await session.released(far)
    assert opened == ["echo", "four", "default"]


async def test_the_sdk_lists_models_and_makes_keys():
    """As a back end does it, unmodified, in both dialects."""
    settings = evolve(SETTINGS, models={"gpt-*": "voice"})

    def use(url):
        with OpenAI(api_key="sk-any", base_url=f"{url}/v1") as client:
            names = [model.id for model in client.models.list()]
            secret = client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 30},
                session={"type": "realtime", "instructions": "Be brief."},
            )
            beta = client.beta.realtime.sessions.create(modalities=["text"])
            heard = client.beta.realtime.transcription_sessions.create()
            with pytest.raises(BadRequestError) as caught:
                client.realtime.client_secrets.create(expires_after={"seconds": 1})
            return names, secret, beta, heard, caught.value

    backend = InProcessBackend(idle)
    async with trio.open_nursery() as nursery:
        listening = Models(backend, {"gpt-*": backend})
        bridge = await nursery.start(_house, settings, nullcontext(listening))
        called = await trio.to_thread.run_sync(use, bridge.http_url)
        names, secret, beta, heard, problem = called
        assert names == ["trio-bridge", "gpt-*"]
        assert problem.param == "expires_after.seconds"
        async with connect(bridge, headers={"Authorization": f"Bearer {secret.value}"}) as ws:
            opened = await hello(ws)
            assert (opened["type"], opened["instructions"]) == ("realtime", "Be brief.")
        key = {"Authorization": f"Bearer {beta.client_secret.value}"}
        async with connect(bridge, headers=key) as ws:
            opened = await hello(ws)
            assert opened["modalities"] == ["text"]
            assert "type" not in opened
        key = {"Authorization": f"Bearer {heard.client_secret.value}"}
        async with connect(bridge, headers=key) as ws:
            assert (await hello(ws))["object"] == "realtime.transcription_session"
        bridge.shutdown()
