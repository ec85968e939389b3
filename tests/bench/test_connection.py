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
        ("wss://127.0.0.1:1/", "not wss://"),
    ],
)
def test_an_address_it_cannot_call_is_refused(url, why):
    """Before anything is started."""
    with pytest.raises(ConnectionFailed, match=why):
        Address.of(url)
