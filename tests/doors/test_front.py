import h11
import orjson
import pytest
import trio

from trio_bridge.doors.front import Limits

pytestmark = pytest.mark.e2e


async def read_all(stream):
    data = b""
    async for chunk in stream:
        data += chunk
    return data


async def exchange(port, data):
    """Send bytes, and return all that comes back until the server hangs up."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        with trio.fail_after(5):
            return await read_all(stream)


def parse(data, method="GET"):
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    return response, body


def request(line="GET /health HTTP/1.1", *headers, body=b""):
    return "\r\n".join([line, "Host: x", *headers, "", ""]).encode() + body


async def test_health_over_a_real_connection(door, app):
    """A plain GET is answered, and the application sees who asked."""
    port = await door()
    response, body = parse(await exchange(port, request("GET /health?a=1 HTTP/1.1", "X-Y: z")))
    assert response.status_code == 200
    assert orjson.loads(body)["status"] == "healthy"
    assert app.requests[0].peer[0] == "127.0.0.1"
    assert app.requests[0].query == {"a": ["1"]}
    assert app.requests[0].headers["x-y"] == ["z"]


async def test_a_connection_serves_many_requests(door, app):
    """Keep-alive: pipelined requests are answered in order on one connection."""
    port = await door()
    data = await exchange(
        port,
        request()
        + request("GET /nowhere HTTP/1.1")
        + request("GET / HTTP/1.1", "Connection: close"),
    )
    assert [r.path for r in app.requests] == ["/health", "/nowhere", "/"]
    assert data.count(b"HTTP/1.1 200") == 2
    assert data.count(b"HTTP/1.1 404") == 1


async def test_head_has_no_body(door):
    """HEAD is answered with GET's headers alone."""
    port = await door()
    data = await exchange(port, request("HEAD /health HTTP/1.1", "Connection: close"))
    response, body = parse(data, "HEAD")
    assert response.status_code == 200
    assert int(dict(response.headers)[b"content-length"]) > 0
    assert body == b""
    assert data.endswith(b"\r\n\r\n")


async def test_a_body_is_read_whole(door, app):
    """A chunked body reaches the application in one piece, after 100 Continue if asked for."""
    port = await door()
    headers = ["Transfer-Encoding: chunked", "Expect: 100-continue", "Connection: close"]
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request("POST /body HTTP/1.1", *headers))
        with trio.fail_after(5):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
            await stream.send_all(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            assert b" 404 " in await read_all(stream)
    assert app.requests[0].body == b"abcde"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"hello there\r\n\r\n", 400, "bad_request"),
        (request("GET /" + "a" * 40_000 + " HTTP/1.1"), 431, "head_too_large"),
        (request("GET / HTTP/1.1", *["A: " + "b" * 1000] * 60), 431, "head_too_large"),
        (
            request("POST / HTTP/1.1", "Content-Length: 70000", body=b"x" * 70_000),
            413,
            "body_too_large",
        ),
        (request("GET http://[::1 HTTP/1.1"), 400, "invalid_url"),
        (request("POST / HTTP/1.1", "Content-Length: 0"), 405, "method_not_allowed"),
        (request("GET /fails HTTP/1.1"), 500, "internal_error"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 408, "request_timeout"),
        (request("POST / HTTP/1.1", "Content-Length: 5", body=b"x"), 408, "request_timeout"),
    ],
    ids=[
        "tls",
        "garbage",
        "huge line",
        "huge head",
        "huge body",
        "no url",
        "method",
        "app fails",
        "unfinished head",
        "unfinished body",
    ],
)
async def test_bad_requests_are_told_what_is_wrong(door, data, status, code):
    """Each is answered in the API's error shape, even when it was still being sent."""
    port = await door()
    response, body = parse(await exchange(port, data))
    assert response.status_code == status
    assert orjson.loads(body)["error"]["code"] == code


async def test_a_connection_that_says_nothing_is_closed_in_silence(door):
    """Browsers open connections in advance: no response is due on those."""
    port = await door()
    assert await exchange(port, b"") == b""


async def test_a_client_that_trickles_its_head_meets_the_deadline(door):
    """The deadline is for the whole request: a byte now and then does not extend it."""
    port = await door()
    async with (
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
        trio.open_nursery() as nursery,
    ):

        async def trickle():
            with trio.move_on_after(5):
                for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 500:
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(0.02)

        nursery.start_soon(trickle)
        with trio.fail_after(2):
            assert b" 408 " in await stream.receive_some()
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_no_response_is_dropped(door, app):
    """Responses nobody reads fill the socket, and the connection ends within its deadline."""
    port = await door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:

        async def ask_for_ever():
            while True:
                await stream.send_all(request("GET /health HTTP/1.1") * 200)

        with trio.fail_after(20), pytest.raises(trio.BrokenResourceError):
            await ask_for_ever()


async def test_a_client_that_leaves_in_mid_head_leaves_nothing(door, app):
    """No answer, no request, no log of an error: the server goes on."""
    port = await door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /health HT")
    response, _ = parse(await exchange(port, request()))
    assert response.status_code == 200
    assert len(app.requests) == 1


async def test_the_defaults_are_the_documented_ones():
    """Ten seconds and 16 KiB for a head."""
    assert Limits().request_timeout == 10
    assert Limits().head_bytes == 16 * 1024
