"""How samples are written on the wire: the encodings, each with its rate and its width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from attrs import frozen

from trio_bridge.audio.g711 import (
    float32_to_pcma,
    float32_to_pcmu,
    pcma_to_float32,
    pcmu_to_float32,
)
from trio_bridge.audio.pcm import Buffer, Float32, float32_to_pcm16, pcm16_to_float32

Encoding: TypeAlias = Literal["pcm", "pcmu", "pcma"]
"""PCM16, or G.711 by mu-law or A-law."""


@frozen
class Coding:
    """What an encoding is.

    Attributes:
        sample_rate: The rate at which it is used, in Hz.
        width: Bytes per sample.
        decode: Whole samples to float32 of shape ``(n,)``.
        encode: And back.
    """

    sample_rate: int
    width: int
    decode: Callable[[Buffer], Float32]
    encode: Callable[[Float32], bytes]

    @property
    def bytes_per_second(self) -> int:
        """How much of it a second is."""
        return self.sample_rate * self.width


CODINGS: Final[dict[Encoding, Coding]] = {
    "pcm": Coding(24_000, 2, pcm16_to_float32, float32_to_pcm16),
    "pcmu": Coding(8_000, 1, pcmu_to_float32, float32_to_pcmu),
    "pcma": Coding(8_000, 1, pcma_to_float32, float32_to_pcma),
}
