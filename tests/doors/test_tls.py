import ssl
from functools import partial

import pytest
import trio
import trustme
from attrs import evolve
from cryptography.hazmat.primitives import serialization
from tests.support.quickest import quickest
from trio_websocket import ConnectionClosed, wrap_client_stream

from trio_bridge.doors.front import serve_connection
from trio_bridge.doors.tls import server_context
from trio_bridge.doors.websocket import Timing
from trio_bridge.errors import SettingsError

CA = trustme.CA()
CERTIFICATE = CA.issue_cert("127.0.0.1")


@pytest.fixture
def files(tmp_path):
    """Files with a certificate and its key, apart and together, and others that will not do."""
    key = serialization.load_pem_private_key(CERTIFICATE.private_key_pem.bytes(), None)
    contents = {
        "cert": CERTIFICATE.cert_chain_pems[0].bytes(),
        "key": CERTIFICATE.private_key_pem.bytes(),
        "both": CERTIFICATE.private_key_and_cert_chain_pem.bytes(),
        "other": CA.issue_cert("localhost").private_key_pem.bytes(),
        "junk": b"hello",
        "torn": CERTIFICATE.cert_chain_pems[0].bytes().replace(b"\nM", b"\n*"),
        "locked": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"password"),
        ),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return lambda name: str(tmp_path / name) if name else ""


@pytest.mark.parametrize(("cert", "key"), [("cert", "key"), ("both", ""), ("both", "key")])
def test_the_key_may_be_in_a_file_of_its_own(files, cert, key):
    assert isinstance(server_context(files(cert), files(key)), ssl.SSLContext)


def test_without_files_there_is_no_tls():
    assert server_context("", "") is None


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("", "key", "server.tls_key is set, and server.tls_cert is not"),
        ("none", "key", "none cannot be read: No such file"),
        ("cert", "none", "server.tls_key: "),
        ("junk", "key", "holds no certificate"),
        ("cert", "", "holds no private key in PEM (its file is set with server.tls_key)"),
        ("cert", "cert", "server.tls_key: "),
        ("cert", "other", "the key is not the certificate's"),
        ("torn", "key", "cannot be used"),
        ("cert", "locked", "is encrypted"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_line(files, cert, key, words):
    """The terminal is never asked for a password."""
    with pytest.raises(SettingsError) as caught:
        server_context(files(cert), files(key))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
async def secure_door(nursery, app, files, quick):
    async def start(limits=quick):
        tls = server_context(files("both"), "")
        serve = partial(serve_connection, app=app, limits=limits, tls=tls)
        tcp = partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        listeners = await nursery.start(tcp)
        return listeners[0].socket.getsockname()[1]

    return start


def client_context():
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


async def dial(port, context=None):
    return await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, https_compatible=True, ssl_context=context or client_context()
    )


async def upgraded(nursery, stream):
    return await wrap_client_stream(
        nursery, stream, "x", "/v1/realtime", receive_buffer_size=None
    )


@pytest.mark.e2e
async def test_pages_are_served_under_tls(secure_door):
    port = await secure_door()
    async with await dial(port) as stream:
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        with trio.fail_after(5):
            async for chunk in stream:
                answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.e2e
async def test_a_websocket_under_tls(secure_door, app, nursery, quick):
    """Small messages, one of many records, and the close handshake."""
    port = await secure_door(evolve(quick, websocket=Timing()))
    stream = await dial(port)
    ws = await upgraded(nursery, stream)
    with trio.fail_after(10):
        for message in ("hello", "x" * 900_000, "bye"):
            await ws.send_message(message)
            assert await ws.get_message() == message
        await ws.aclose(1000, "done")
        await app.done.wait()
    assert app.ended[0].code == 1000


@pytest.mark.e2e
async def test_both_sides_may_talk_at_once_under_tls(secure_door, app, nursery, quick):
    """What one sends never waits for what the other does."""
    count, size = 200, 20_000

    async def talk(transport):
        async def send():
            for _ in range(count):
                await transport.send(b"x" * size)

        async with trio.open_nursery() as inner:
            inner.start_soon(send)
            for _ in range(count):
                assert len(await transport.receive()) == size
        await transport.close(1000, "")

    app.handler = talk
    port = await secure_door(evolve(quick, websocket=Timing()))
    stream = await dial(port)
    ws = await upgraded(nursery, stream)

    async def speak():
        for _ in range(count):
            await ws.send_message("y" * size)

    with trio.fail_after(20):
        async with trio.open_nursery() as talking:
            talking.start_soon(speak)
            for _ in range(count):
                assert len(await ws.get_message()) == size
    await stream.aclose()


@pytest.mark.e2e
async def test_the_close_arrives_and_does_not_wait(secure_door, app, nursery):
    """A client that waits for the server to hang up is not kept waiting."""

    async def leave(transport):
        await transport.send(b"last words")
        await transport.close(1001, "going")

    app.handler = leave
    port = await secure_door()

    async def visit():
        stream = await dial(port)
        began = trio.current_time()
        ws = await upgraded(nursery, stream)
        assert await ws.get_message() == "last words"
        with pytest.raises(ConnectionClosed) as caught, trio.fail_after(5):
            await ws.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1001
        await stream.aclose()
        return trio.current_time() - began

    assert await quickest(visit, 0.25) < 0.25


@pytest.mark.e2e
@pytest.mark.parametrize(
    "data", [b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""]
)
async def test_who_speaks_no_tls_is_let_go_in_time(secure_door, app, data):
    """Plain HTTP, half a handshake, or silence: within the request's deadline, and nobody of
    the application hears of it."""
    port = await secure_door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        if data:
            await stream.send_all(data)
        with trio.fail_after(2):
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
    assert app.requests == []


@pytest.mark.e2e
async def test_a_client_that_does_not_trust_us_is_no_error_of_ours(secure_door, app):
    port = await secure_door()
    async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
        stranger = trio.SSLStream(
            tcp, ssl.create_default_context(), server_hostname="127.0.0.1"
        )
        with pytest.raises(trio.BrokenResourceError):
            await stranger.do_handshake()
    async with await dial(port) as stream:
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
