"""A change of sample rate for audio that arrives in pieces, the same however it is cut."""

from __future__ import annotations

import operator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from trio_bridge.audio.filterbank import (
    TABLES,
    FilterBank,
    Float32,
    Quality,
    aligned_zeros,
    filter_bank,
)

__all__ = ["MAX_RATE", "MIN_RATE", "Quality", "StreamResampler"]

FLOAT32 = np.dtype(np.float32)

MIN_RATE, MAX_RATE = 4_000, 192_000
"""Rates taken, in Hz: telephone speech at half its rate to the fastest sound cards. Beyond
them a filter of this kind needs thousands of products per sample."""

LOUDEST = np.float32(1e37)
"""Beyond it a sum of weighted float32 could overflow, to an infinity or to no number at all.
What is finite and louder is taken to be so loud: the output saturates long before."""

PIECE = 2048
"""Input samples taken in at once: 40 ms at 48 kHz in one go, and 16 kB of buffer. A frame cut
in two takes half as long again."""


class StreamResampler:
    """Takes mono audio from one sample rate to another, piece by piece.

    Any chunking gives the same samples, bit for bit. Output sample k stands at the time
    ``k / rate_out`` of the input. It is given as soon as the input up to `delay` after that
    time is there: no block has to fill. `flush` gives the rest, so that n inputs make
    ``ceil(n * rate_out / rate_in)`` outputs in all. Before its start and after its end a
    stream is taken to be silent. Equal rates pass through.

    One stream belongs to one task; resamplers share their filters and nothing else.

    Args:
        rate_in: Samples per second going in, `MIN_RATE` to `MAX_RATE`.
        rate_out: Samples per second coming out, in the same range.
        quality: ``"best"`` (50 zero crossings, aliases below -120 dB) or ``"fast"`` (24,
            half the look-ahead).

    Raises:
        ValueError: A rate is out of range, or there is no such quality.
        TypeError: A rate is not an integer.
    """

    def __init__(self, rate_in: int, rate_out: int, quality: Quality = "best") -> None:
        self._rate_in = _rate(rate_in)
        self._rate_out = _rate(rate_out)
        if quality not in TABLES:
            raise ValueError(f"quality is one of {', '.join(TABLES)}, not {quality!r}")
        self._stream = (
            _Stream(filter_bank(self._rate_in, self._rate_out, quality))
            if self._rate_in != self._rate_out
            else None
        )

    @property
    def rate_in(self) -> int:
        """Samples per second going in."""
        return self._rate_in

    @property
    def rate_out(self) -> int:
        """Samples per second coming out."""
        return self._rate_out

    @property
    def delay(self) -> float:
        """Look-ahead in seconds: half the filter's length; 0 where audio passes through."""
        return self._stream.bank.half / self._rate_in if self._stream else 0.0

    def process(self, samples: Float32) -> Float32:
        """Take more input, and give all the output that it completes.

        Args:
            samples: float32 of shape ``(n,)``, all finite; it may be empty.

        Returns:
            A new float32 array of shape ``(m,)``, perhaps empty.

        Raises:
            TypeError: It is not a float32 array.
            ValueError: It is not one-dimensional, or holds an infinity or a NaN. Nothing of
                it was taken then.
        """
        samples = _checked(samples)
        return self._stream.process(samples) if self._stream else samples.copy()

    def flush(self) -> Float32:
        """End the stream: give what still waited for look-ahead, and be as new.

        Returns:
            A new float32 array of shape ``(m,)``: `delay` seconds, or less if there was less.
        """
        return self._stream.flush() if self._stream else np.zeros(0, dtype=np.float32)

    def reset(self) -> None:
        """Forget the stream so far; the next sample is the first of a new one."""
        if self._stream:
            self._stream.reset()


class _Stream:
    """The state of one stream between two different rates: counts, and the recent input."""

    def __init__(self, bank: FilterBank) -> None:
        self.bank = bank
        # What is kept between calls fits in the reach of a block, and blocks may go as far
        # past it.
        self._buffer = aligned_zeros(2 * bank.reach + PIECE)
        # The windows of a block, for each place of the buffer that it may begin at: a view,
        # made once because it takes numpy 40 µs.
        blocks = sliding_window_view(self._buffer, bank.reach)
        windows = sliding_window_view(blocks, bank.span, axis=1)
        self._windows = windows[:, :: max(1, bank.step), :, None]
        copied = 0 if bank.aligned else bank.run
        self._inputs = aligned_zeros(copied, bank.tiles, bank.span, 1)
        self._products = aligned_zeros(bank.run, bank.tiles, bank.rows, 1)
        self.reset()

    def reset(self) -> None:
        self._received = 0
        self._made = 0
        # The number, in the stream, of the sample that the buffer begins with: the first
        # output reaches back into the silence before the stream.
        self._origin = self.bank.lead
        self._buffer[: -self._origin] = 0.0

    def process(self, samples: Float32) -> Float32:
        parts = []
        for start in range(0, len(samples), PIECE):
            self._append(samples[start : start + PIECE])
            # Output k lies between the inputs floor(k M / L) and the next: the last one it
            # needs is `half` after the former, so it is complete if k M / L < reach.
            reach = self._received - self.bank.half
            complete = -(-reach * self.bank.ratio_out // self.bank.ratio_in)
            while self._made < complete:
                parts.append(self._make(complete))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def flush(self) -> Float32:
        # As much silence as the look-ahead: the reach is then all that was received.
        tail = self.process(np.zeros(self.bank.half, dtype=np.float32))
        self.reset()
        return tail

    def _append(self, piece: Float32) -> None:
        bank = self.bank
        end = self._received - self._origin
        if end + len(piece) + bank.reach > len(self._buffer):
            first = bank.begin(self._made // bank.block_out)
            kept = self._received - first
            self._buffer[:kept] = self._buffer[end - kept : end]
            self._origin, end = first, kept
        self._buffer[end : end + len(piece)] = piece
        self._received += len(piece)

    def _make(self, upto: int) -> Float32:
        """The next outputs, as many as one run of blocks gives, at most those before `upto`."""
        bank = self.bank
        block, begin = divmod(self._made, bank.block_out)
        end = upto - block * bank.block_out
        count = min(bank.run, -(-end // bank.block_out))

        # One product per tile, each of the same shape at the same alignment: within a larger
        # matrix product, the order of a sum depends on how many rows there are. All of them
        # are one call, over whole blocks, so that their weights are used again while they are
        # in the cache: tiles that are not asked for cost less than a second call. A block whose
        # last inputs are not there yet is made once for the outputs that are complete, and
        # again for the rest: the inputs they do not reach have weights of exactly zero, so
        # whatever finite values stand there do not matter.
        first = bank.begin(block) - self._origin
        inputs = self._windows[first : first + count * bank.block_in : bank.block_in]
        if not bank.aligned:
            self._inputs[:count] = inputs
            inputs = self._inputs[:count]
        products = self._products[:count]
        np.matmul(bank.weights(block), inputs, out=products)
        ready = products.reshape(-1)[begin:end]
        # A sum of nothing but zeros may take its sign from those values: zero is made plus.
        ready += 0.0
        self._made += len(ready)
        return ready.copy()


def _rate(rate: int) -> int:
    rate = operator.index(rate)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(f"a sample rate is {MIN_RATE} to {MAX_RATE} Hz, not {rate}")
    return rate


def _checked(samples: Float32) -> Float32:
    dtype = getattr(samples, "dtype", None)
    if dtype != FLOAT32:
        raise TypeError(f"samples are a float32 array, not {dtype or type(samples).__name__}")
    if samples.ndim != 1:
        raise ValueError(f"samples have shape (n,), not {samples.shape}")
    if samples.size and not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):
        if not np.isfinite(samples).all():
            raise ValueError("samples must be finite")
        return np.clip(samples, -LOUDEST, LOUDEST)
    return samples
