"""G.711, the codec of telephony: one byte per sample at 8 kHz, by mu-law or by A-law.

Both laws spend their 256 codes on a logarithmic scale, in eight segments for each sign; the
tables here are computed from that definition (ITU-T G.711, tables 1 and 2). Samples are float32
in [-1, 1), with the full scale of 16 bits as in `audio.pcm`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trio_bridge.audio.pcm import FULL_SCALE, Buffer, Float32, float32_to_pcm16

UInt8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]

_MU_BIAS = 33
"""Of mu-law: added to a 14-bit magnitude, it makes every segment begin at a power of two."""

_MU_HIGHEST = 8158
"""The largest 14-bit magnitude that mu-law has a code for; what is louder gets the same."""

_A_HIGHEST = 4095
"""The largest 13-bit magnitude of A-law."""


def pcmu_to_float32(data: Buffer) -> Float32:
    """Decode mu-law: a new array of shape ``(len(data),)``."""
    return _MU_DECODED[np.frombuffer(data, np.uint8)]


def pcma_to_float32(data: Buffer) -> Float32:
    """Decode A-law: a new array of shape ``(len(data),)``."""
    return _A_DECODED[np.frombuffer(data, np.uint8)]


def float32_to_pcmu(samples: Float32) -> bytes:
    """Encode samples of shape ``(n,)`` by mu-law: n bytes.

    Raises:
        ValueError: A sample is NaN.
    """
    return _MU_ENCODED[_index(samples)].tobytes()


def float32_to_pcma(samples: Float32) -> bytes:
    """Encode samples of shape ``(n,)`` by A-law: n bytes.

    Raises:
        ValueError: A sample is NaN.
    """
    return _A_ENCODED[_index(samples)].tobytes()


def _index(samples: Float32) -> NDArray[np.uint16]:
    return np.frombuffer(float32_to_pcm16(samples), "<u2")


def _segment(magnitude: Int32, lowest: int) -> Int32:
    """How many of the powers of two from ``2 ** lowest`` on a magnitude reaches."""
    powers = 1 << np.arange(lowest, 16)
    return np.searchsorted(powers, magnitude, side="right").astype(np.int32)


def _mu_decoded() -> Float32:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    segment, step = code >> 4 & 7, code & 15
    magnitude = ((2 * step + _MU_BIAS) << segment) - _MU_BIAS
    return _scaled(np.where(code & 0x80, -magnitude, magnitude) * 4)


def _mu_encoded() -> UInt8:
    pcm = _every_sample()
    biased = np.minimum(np.abs(pcm) >> 2, _MU_HIGHEST) + _MU_BIAS
    segment = _segment(biased, 6)
    code = segment << 4 | biased >> segment + 1 & 15
    octets: UInt8 = (~np.where(pcm < 0, code | 0x80, code) & 0xFF).astype(np.uint8)
    return octets


def _a_decoded() -> Float32:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    linear = 2 * step + 1
    magnitude = np.where(segment, linear + 32 << np.maximum(segment - 1, 0), linear)
    return _scaled(np.where(code & 0x80, magnitude, -magnitude) * 8)


def _a_encoded() -> UInt8:
    pcm = _every_sample()
    magnitude = np.minimum(np.abs(pcm) >> 3, _A_HIGHEST)
    segment = _segment(magnitude, 5)
    code = segment << 4 | magnitude >> np.maximum(segment, 1) & 15
    octets: UInt8 = (np.where(pcm < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)
    return octets


def _every_sample() -> Int32:
    """Every 16-bit sample, at the index that its bits have without a sign."""
    return np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _scaled(pcm: Int32) -> Float32:
    return pcm.astype(np.float32) / FULL_SCALE


_MU_DECODED = _mu_decoded()
_A_DECODED = _a_decoded()
_MU_ENCODED = _mu_encoded()
_A_ENCODED = _a_encoded()
