import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from trio_bridge.bench.connection import Address, ConnectionFailed, text_frame


@pytest.mark.parametrize("size", [10, 2_600, 70_000])
def test_a_frame_is_what_a_server_expects(size):
    """Masked, whole, and of any length."""
    server = Protocol(Side.SERVER, state=State.OPEN)
    server.receive_data(text_frame(b"x" * size))
    assert server.events_received() == [Frame(Opcode.TEXT, b"x" * size)]


def test_frames_have_masks_of_their_own():
    """As the protocol demands."""
    assert text_frame(b"hello") != text_frame(b"hello")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/", "no WebSocket address"),
        ("ws://127.0.0.1:none/", "no WebSocket address"),
    ],
)
def test_an_address_it_cannot_call_is_refused(url, why):
    """Before anything is started."""
    with pytest.raises(ConnectionFailed, match=why):
        Address.of(url)


def test_certificates_that_are_none_are_refused(tmp_path):
    """Before anything is started, too."""
    nothing = tmp_path / "ca.pem"
    nothing.write_text("hello")
    for ca in (nothing, tmp_path / "missing.pem"):
        with pytest.raises(ConnectionFailed, match="no certificates in PEM"):
            Address.of("wss://127.0.0.1:1/", ca)


def test_a_key_is_not_shown():
    """In no message, and in no traceback."""
    assert "secret" not in repr(Address.of("ws://127.0.0.1:1/", key="secret"))
