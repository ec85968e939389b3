"""PCM16 to float32 and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trio_bridge.audio.pcm import Pcm16Decoder, float32_to_pcm16, pcm16_to_float32


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def test_full_scale_is_32768() -> None:
    """Little-endian int16 divided by 32768: -1 is reached, +1 is not."""
    decoded = pcm16_to_float32(b"\x00\x80\xff\xff\x00\x00\x01\x00\xff\x7f")

    assert decoded.dtype == np.float32
    assert decoded.tolist() == [-1.0, -1 / 32768, 0.0, 1 / 32768, 32767 / 32768]


def test_every_value_survives_the_round_trip() -> None:
    pcm = np.arange(-32768, 32768).astype("<i2").tobytes()

    assert float32_to_pcm16(pcm16_to_float32(pcm)) == pcm


def test_encoding_rounds_to_the_nearest() -> None:
    """Nothing is cut off towards zero, and a tie goes to the even neighbour."""
    samples = floats(0.4, 0.6, -0.4, -0.6, 0.5, 1.5, -1.5) / np.float32(32768)

    assert np.frombuffer(float32_to_pcm16(samples), "<i2").tolist() == [0, 1, 0, -1, 0, 2, -2]


def test_encoding_saturates() -> None:
    """Overdriven audio is clipped; it does not wrap around."""
    samples = floats(1.0, 1.5, -1.0, -1.5, 3e38, -3e38, np.inf, -np.inf)

    assert (
        np.frombuffer(float32_to_pcm16(samples), "<i2").tolist()
        == [32767, 32767, -32768, -32768] + [32767, -32768] * 2
    )


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        float32_to_pcm16(floats(0.0, np.nan))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        pcm16_to_float32(b"\x00\x00\x00")


def test_nothing_is_nothing() -> None:
    assert pcm16_to_float32(b"").shape == (0,)
    assert float32_to_pcm16(floats()) == b""


@given(st.lists(st.binary(max_size=7)))
def test_pieces_may_be_cut_inside_a_sample(pieces: list[bytes]) -> None:
    """The decoder's samples are those of the whole, and it knows of a byte left over."""
    decoder = Pcm16Decoder()

    decoded = [decoder.decode(piece) for piece in pieces]

    whole = b"".join(pieces)
    expected = pcm16_to_float32(whole[: len(whole) // 2 * 2])
    assert np.concatenate([floats(), *decoded]).tobytes() == expected.tobytes()
    assert decoder.pending == (len(whole) % 2 == 1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_decodes(kind: type[bytes | bytearray | memoryview]) -> None:
    decoder = Pcm16Decoder()

    first = decoder.decode(kind(b"\x00\x40\x00"))
    second = decoder.decode(kind(b"\xc0"))

    assert first.tolist() == [0.5]
    assert second.tolist() == [-0.5]


def test_a_byte_is_kept_though_the_buffer_is_used_again() -> None:
    decoder = Pcm16Decoder()
    buffer = bytearray(b"\x00\x00\x12")
    decoder.decode(buffer)
    buffer[:] = b"\xff\xff\xff"

    assert decoder.decode(b"\x40").tolist() == [0x4012 / 32768]


def test_reset_forgets_the_byte_left_over() -> None:
    decoder = Pcm16Decoder()
    decoder.decode(b"\x55")

    decoder.reset()

    assert not decoder.pending
    assert decoder.decode(b"\x00\x40").tolist() == [0.5]
