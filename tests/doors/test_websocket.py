import base64
import gc
import socket
import struct
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import evolve
from trio_websocket import ConnectionClosed, wrap_client_stream
from websockets.frames import Frame

from trio_bridge.doors.exchange import BadRequest, HttpRequest
from trio_bridge.doors.handshake import check_handshake
from trio_bridge.doors.websocket import MAX_MESSAGE, Timing

pytestmark = pytest.mark.e2e

KEY = base64.b64encode(bytes(16)).decode()
UPGRADE = {
    "Host": "x",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def handshake(line="GET /v1/realtime HTTP/1.1", **changed):
    headers = UPGRADE | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, "", ""]).encode()


def frame(opcode, payload=b"", length=None):
    """A masked client frame (mask 0); `length` lies about the payload's size."""
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + payload


@asynccontextmanager
async def connect(port, **kwargs):
    # Not the library's own `open_websocket`: it leaves the socket open when the server closes.
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    async with tcp, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(nursery, tcp, "x", "/v1/realtime?model=m", **kwargs)
        yield ws
        await ws.aclose()
        nursery.cancel_scope.cancel()


async def raw(port, data=b""):
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(handshake() + data)
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive_some()
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    return stream, rest


async def test_messages_go_both_ways(door, app):
    """Text comes back as it went, binary arrives as bytes, and the request is seen whole."""
    port = await door()
    async with connect(port) as ws:
        await ws.send_message("héllo")
        assert await ws.get_message() == "héllo"
        await ws.send_message(b"abc")
        assert await ws.get_message() == "3 bytes"
    await app.done.wait()
    assert app.requests[0].query == {"model": ["m"]}
    assert app.ended[0].code == 1000


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["realtime"], "realtime"),
        (["realtime", "openai-insecure-api-key.sk-secret"], "realtime"),
        (["openai-insecure-api-key.sk-secret", "other"], None),
    ],
)
async def test_subprotocol(door, offered, chosen):
    """`realtime` is picked when it is offered, and a key is never sent back."""
    port = await door()
    async with connect(port, subprotocols=offered) as ws:
        assert ws.subprotocol == chosen
        assert b"secret" not in repr(ws.handshake_headers).encode()


async def test_frames_sent_with_the_head_are_not_lost(door):
    """A client need not wait for the upgrade before it sends."""
    port = await door()
    stream, received = await raw(port, frame(1, b"first") + frame(1, b"second"))
    async with stream:
        with trio.fail_after(2):
            while b"second" not in received:
                received += await stream.receive_some()
    assert b"first" in received


async def test_refused_before_the_upgrade(door):
    """What `admit` refuses gets a plain response, and no WebSocket."""
    port = await door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(handshake("GET /full HTTP/1.1"))
        with trio.fail_after(2):
            answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    assert b'"code":"full"' in answer


async def test_who_comes_early_waits_and_loses_nothing(door, app):
    """Neither the upgrade nor what was sent ahead of it."""
    app.starting = True
    port = await door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(handshake())
        await stream.send_all(frame(1, b"early"))
        await trio.sleep(0.1)
        assert app.waiting == 1
        app.starting = False
        app.started.set()
        received = b""
        with trio.fail_after(2):
            while b"early" not in received:
                received += await stream.receive_some()
    assert received.startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_who_hangs_up_while_waiting_is_forgotten(door, app, reset):
    """The application never decides on it."""
    app.starting = True
    port = await door()
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(handshake())
    await trio.sleep(0.05)
    assert app.waiting == 1
    if reset:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()
    await trio.sleep(0.05)
    assert app.waiting == 0
    app.started.set()
    await trio.sleep(0.05)
    assert app.requests == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (handshake("POST /v1/realtime HTTP/1.1"), 405),
        (handshake(Connection="close"), 400),
        (handshake(Sec_WebSocket_Version="8"), 426),
        (handshake(Sec_WebSocket_Key=None), 400),
        (handshake(Sec_WebSocket_Key="short"), 400),
        (handshake(Sec_WebSocket_Key="été"), 400),
    ],
)
async def test_a_handshake_that_is_none(door, data, status):
    """Each fault of a handshake has its status, and never costs the server a task."""
    port = await door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        with trio.fail_after(2):
            assert (await stream.receive_some()).startswith(f"HTTP/1.1 {status}".encode())


async def test_a_client_that_leaves_in_mid_upgrade(door, app):
    """A reset right after the head ends this connection and nothing else."""
    port = await door()
    for _ in range(20):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.send_all(handshake())
        await stream.aclose()
    async with connect(port) as ws:
        await ws.send_message("still here")
        assert await ws.get_message() == "still here"


async def test_a_message_that_is_too_large_closes_1009(door, app, quick):
    """The client learns why, although it had not finished sending; the session is told."""
    port = await door(evolve(quick, websocket=Timing()))
    stream, received = await raw(port)
    async with stream:
        with trio.fail_after(20):
            await stream.send_all(frame(1, b"x" * (MAX_MESSAGE + 2**20)))
            while len(received) < 4:
                received += await stream.receive_some()
    assert received.startswith(bytes([0x88]))
    assert received[2:4] == struct.pack("!H", 1009)
    await app.done.wait()
    assert app.ended[0].code == 1009


async def test_the_largest_message_passes(door, app, quick):
    """Exactly at the bound is still a message."""

    async def measure(transport):
        await transport.send(b"%d" % len(await transport.receive()))
        await transport.receive()

    app.handler = measure
    slow = evolve(quick, websocket=Timing())
    port = await door(slow)
    async with connect(port) as ws:
        await ws.send_message("x" * MAX_MESSAGE)
        with trio.fail_after(20):
            assert await ws.get_message() == str(MAX_MESSAGE)


async def test_a_client_that_does_not_read_is_dropped(door, app, quick):
    """A send that finds no room misses its deadline, and the transport says so."""

    async def flood(transport):
        while True:
            await transport.send(b"x" * 100_000)

    app.handler = flood
    port = await door(evolve(quick, websocket=evolve(quick.websocket, ping_interval=60)))
    stream, _ = await raw(port)
    async with stream:
        with trio.fail_after(5):
            await app.done.wait()
    assert "did not read" in str(app.ended[0])


async def test_a_client_that_answers_no_ping_is_closed(door, app):
    """The peer gets 1011 with the reason, the session a TransportClosed with the same."""
    port = await door()
    stream, received = await raw(port)
    async with stream:
        with trio.fail_after(5):
            async for chunk in stream:
                received += chunk
            await app.done.wait()
    assert struct.pack("!H", 1011) + b"no answer to a ping" in received
    assert "no answer to a ping" in app.ended[0].reason


async def test_a_client_that_answers_pings_stays(door):
    """Quiet but alive is no reason to be closed."""
    port = await door()
    async with connect(port) as ws:
        await trio.sleep(0.8)
        await ws.send_message("hello")
        assert await ws.get_message() == "hello"


async def test_a_message_in_fragments_with_a_ping_between(door):
    """The fragments are one message, and the ping is answered before it."""
    port = await door()
    parts = (
        b"\x01\x83" + bytes(4) + b"one" + frame(9, b"ping") + b"\x80\x83" + bytes(4) + b"two"
    )
    stream, received = await raw(port, parts)
    async with stream:
        with trio.fail_after(2):
            while b"onetwo" not in received:
                received += await stream.receive_some()
    assert received == b"\x8a\x04ping" + b"\x81\x06onetwo"


async def test_empty_fragments_do_not_pile_up(door, app):
    """A message may have any number of them, and none is kept."""
    port = await door()
    stream, received = await raw(port, b"\x01\x81" + bytes(4) + b"a")
    async with stream:
        for _ in range(20):
            await stream.send_all((b"\x00\x80" + bytes(4)) * 1000)
        await stream.send_all(frame(9, b"read so far"))
        with trio.fail_after(5):
            while b"read so far" not in received:
                received += await stream.receive_some()
            # Not isinstance: there are proxies of what is gone, which it would ask.
            assert sum(type(each) is Frame for each in gc.get_objects()) < 100
            await stream.send_all(frame(0, b"z"))
            while b"\x81\x02az" not in received:
                received += await stream.receive_some()


async def test_a_ping_goes_out_each_interval(door, app):
    """A peer that answers is asked again after an interval; the pong's timeout adds nothing."""
    port = await door()
    pings = 0
    stream, received = await raw(port)
    async with stream:
        with trio.move_on_after(0.75):
            while True:
                pings += received.count(b"\x89\x00")
                if received:
                    await stream.send_all(frame(10))
                received = await stream.receive_some()
    assert 5 <= pings <= 8


async def test_pongs_for_a_peer_that_does_not_read_do_not_pile_up(door, app, quick):
    """While a message waits for room, pings are left unread."""
    transports = []

    async def talk_much(transport):
        transports.append(transport)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.receive)
            while True:
                await transport.send(b"x" * 1_000_000)

    app.handler = talk_much
    calm = evolve(quick.websocket, ping_interval=60, send_timeout=5)
    port = await door(evolve(quick, websocket=calm))
    stream, _ = await raw(port)
    async with stream:
        with trio.move_on_after(1.0):
            while True:
                await stream.send_all(frame(9, b"p" * 125) * 100)
        # One read's worth.
        assert len(transports[0]._protocol.writes) < 600


async def test_a_client_is_heard_while_it_does_not_read(door, app, quick):
    """One that says all it has to say before it reads anything waits for us, not for itself."""
    heard: list[str] = []

    async def talk_and_listen(transport):
        async def listen():
            while len(heard) < 50:
                heard.append(await transport.receive())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            while True:
                await transport.send(b"x" * 1_000_000)

    app.handler = talk_and_listen
    calm = evolve(quick.websocket, ping_interval=60, send_timeout=60)
    port = await door(evolve(quick, websocket=calm))
    stream, _ = await raw(port)
    async with stream:
        for number in range(50):
            await stream.send_all(frame(1, b"%d" % number))
            await trio.sleep(0.001)
        with trio.fail_after(5):
            await app.done.wait()
    assert heard == [str(number) for number in range(50)]


async def test_text_that_is_not_utf8_closes_1007(door, app):
    """Even when the bad byte is spread over fragments."""
    port = await door()
    stream, received = await raw(port, b"\x01\x81" + bytes(4) + b"\xc3" + frame(0, b"("))
    async with stream:
        with trio.fail_after(2):
            async for chunk in stream:
                received += chunk
    assert received[2:4] == struct.pack("!H", 1007)
    await app.done.wait()
    assert app.ended[0].code == 1007


async def test_a_session_that_lags_does_not_cost_the_client_its_connection(door, app):
    """While nobody reads the socket no pong can be seen; that is not the client's fault."""

    async def lag(transport):
        await trio.sleep(1.0)
        await transport.send((await transport.receive()).encode())
        await transport.receive()

    app.handler = lag
    port = await door()
    async with connect(port) as ws:
        await ws.send_message("still here")
        with trio.fail_after(3):
            assert await ws.get_message() == "still here"


async def test_close_says_code_and_reason(door, app):
    """The peer sees what the session closes with; a long reason is cut to fit."""

    async def leave(transport):
        await transport.send(b"last words")
        await transport.close(1001, "ü" * 100)
        await transport.close(1000, "again")
        await transport.receive()

    app.handler = leave
    port = await door()
    async with connect(port) as ws:
        assert await ws.get_message() == "last words"
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    reason = caught.value.reason
    assert reason is not None
    assert (reason.code, reason.reason) == (1001, "ü" * 61)
    await app.done.wait()
    assert app.ended[0].code == 1001


async def test_a_ping_during_the_close_handshake_does_no_harm(door, app):
    """The library cannot answer it and raises; the connection ends all the same."""

    async def leave(transport):
        await transport.close(1001, "bye")

    app.handler = leave
    port = await door()
    stream, received = await raw(port)
    async with stream:
        await stream.send_all(frame(9, b"ping"))
        with trio.fail_after(3):
            async for chunk in stream:
                received += chunk
    assert b"bye" in received


async def test_a_client_that_waits_for_our_end_gets_it_at_once(door, app, quick):
    """It answers the close frame, and leaves it to the server to hang up."""

    async def leave(transport):
        await transport.close(1001, "bye")

    app.handler = leave
    patient = evolve(quick.websocket, ping_interval=60, close_timeout=60)
    port = await door(evolve(quick, websocket=patient))
    stream, received = await raw(port)
    async with stream:
        while b"bye" not in received:
            received += await stream.receive_some()
        await stream.send_all(frame(8, struct.pack("!H", 1001)))
        with trio.fail_after(3):
            await app.done.wait()


async def test_an_app_that_fails_closes_1011(door, app):
    """A surprise behind the door ends that connection with a code, and no other."""

    async def fail(transport):
        raise RuntimeError("as the test asked")

    app.handler = fail
    port = await door()
    async with connect(port) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1011


async def test_a_send_cancelled_in_the_middle_leaves_no_torn_frame(door, app):
    """After a cancelled send the transport refuses to send, rather than tear a frame."""

    async def cancel_a_send(transport):
        with trio.move_on_after(0.1) as scope:
            while True:
                await transport.send(b"x" * 1_000_000)
        assert scope.cancelled_caught
        await transport.send(b"more")

    app.handler = cancel_a_send
    port = await door()
    stream, _ = await raw(port)
    async with stream:
        with trio.fail_after(5):
            await app.done.wait()
    assert len(app.ended) == 1


async def test_a_protocol_error_ends_the_connection(door, app):
    """An unmasked frame is answered with 1002."""
    port = await door()
    stream, received = await raw(port, b"\x81\x02hi")
    async with stream:
        with trio.fail_after(5):
            async for chunk in stream:
                received += chunk
            await app.done.wait()
    assert struct.pack("!H", 1002) in received


def test_check_handshake_accepts_a_good_one():
    """Header names and tokens in any case."""
    headers = {
        "connection": ["keep-alive, upgrade"],
        "upgrade": ["WebSocket"],
        "sec-websocket-version": ["13"],
        "sec-websocket-key": [KEY],
    }
    check_handshake(HttpRequest("GET", "/v1/realtime", headers=headers))
    with pytest.raises(BadRequest):
        check_handshake(
            HttpRequest("GET", "/v1/realtime", headers=headers | {"connection": []})
        )
