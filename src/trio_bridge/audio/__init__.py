"""Samples: their encodings, and their rates."""

from trio_bridge.audio.pcm import Pcm16Decoder, float32_to_pcm16, pcm16_to_float32
from trio_bridge.audio.resample import Quality, StreamResampler

__all__ = [
    "Pcm16Decoder",
    "Quality",
    "StreamResampler",
    "float32_to_pcm16",
    "pcm16_to_float32",
]
