"""The sound that tells one session from all others, and the check of what comes back.

A session says a second of noise again and again, made from its number. Noise is unlike any
other noise, and unlike itself a sample later: one comparison with what was sent sees lost,
doubled and displaced samples as well as those of somebody else.
"""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.bench.plan import RATE

BAND = (300, 5_000)
"""Hz: what any filter on the way to 16 kHz and back lets through unchanged."""

LEVEL = 0.1
"""Of full scale, effective value: peaks stay within it."""

BLOCK = RATE // 2
"""Samples compared at a time."""

EDGE = RATE // 20
"""Samples at the beginning that are not compared: there the filters see the sound begin. What
is missing there displaces all that follows."""

TOLERANCE = 0.02
"""Of the marker's own effective value. The filters and 16 bits leave 0.0003; a sample too few
makes it 0.8, another session's marker 1.4."""

LENGTH_TOLERANCE = 4
"""Samples by which the whole may be longer or shorter, for the rounding of three rates."""


def marker(number: int) -> NDArray[np.float32]:
    """A session's marker: float32 at 24 kHz, shape ``(24000,)``, without a seam."""
    low, high = BAND
    spectrum = np.zeros(RATE // 2 + 1, np.complex128)
    phases = np.random.default_rng(number).random(high - low)
    spectrum[low:high] = np.exp(2j * np.pi * phases)
    sound = np.fft.irfft(spectrum)
    loudness = float(np.sqrt(np.mean(sound**2)))
    return np.asarray(sound * (LEVEL / loudness), np.float32)


def marker_pcm(number: int) -> bytes:
    """The same as PCM16."""
    return float32_to_pcm16(marker(number))


@define
class MarkerCheck:
    """Compares what a session hears with its marker, as it comes."""

    number: int
    heard: int = 0
    """Samples so far."""
    _waiting: bytearray = field(factory=bytearray, init=False)
    _compared: int = field(default=0, init=False)
    _marker: NDArray[np.float32] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._marker = np.frombuffer(marker_pcm(self.number), "<i2").astype(np.float32)

    def hear(self, pcm: bytes) -> str | None:
        """Take more PCM16; returns what is wrong with it, if anything is."""
        self._waiting += pcm
        self.heard += len(pcm) // 2
        return self._compare() if len(self._waiting) >= 2 * BLOCK else None

    def end(self, sent: int) -> str | None:
        """Everything has come that will; `sent` samples were said."""
        if abs(self.heard - sent) > LENGTH_TOLERANCE:
            return f"said {sent} samples, heard {self.heard}"
        # At the end the filters see the sound break off.
        del self._waiting[-2 * EDGE :]
        return self._compare()

    def _compare(self) -> str | None:
        heard = np.frombuffer(self._waiting, "<i2", len(self._waiting) // 2)
        at = self._compared
        skipped = max(0, min(EDGE - at, len(heard)))
        places = np.arange(at + skipped, at + len(heard)) % RATE
        expected = self._marker[places]
        wrong = expected - heard[skipped:]
        self._compared += len(heard)
        self._waiting = bytearray()
        if not len(wrong):
            return None
        residue = float(np.sqrt(np.dot(wrong, wrong) / np.dot(expected, expected)))
        if residue <= TOLERANCE:
            return None
        return f"heard something else after {at / RATE:.2f} s (residue {residue:.2f})"
