"""How fast and how clean the resampler is, beside resampy and soxr.

    python benchmarks/resampler.py [--pair 24000:16000 ...] [--seconds 10] [--runs 7] [--json]

*Times real time* is seconds of audio per second of processor time (of all threads, so that
nothing is gained by a second core, or lost to a busy machine), the median of the runs: ours
and soxr (HQ) as streams in 20 ms chunks, resampy called for each chunk (which clicks at every
edge) and in one shot. The input is cut into chunks before the clock starts.

*SNR* is the power of a tone over everything else in the output, the worst of a few tones up
to 0.78 of the band both rates carry. *Alias* is the loudest that is left of tones the lower
rate cannot carry (going down), or the loudest image of tones near half the input rate
(going up), relative to the tone. For both, the input is float32, as in a session.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TypeAlias

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from trio_bridge.audio.resample import Quality, StreamResampler

Float32 = NDArray[np.float32]
Resample: TypeAlias = Callable[[list[Float32]], list[Float32]]
"""From a signal's chunks to an output for each, and perhaps one more for its end."""

PAIRS = [
    (24_000, 16_000),
    (16_000, 24_000),
    (32_000, 24_000),
    (24_000, 32_000),
    (22_050, 24_000),
    (24_000, 22_050),
    (48_000, 24_000),
    (24_000, 48_000),
]
CHUNKS_PER_SECOND = 50
SLOW_SECONDS = 1.0
"""Audio for what is far slower than the rest: resampy per chunk."""
TONE_SECONDS = 1.0


@frozen
class Row:
    """One way to resample, for one pair of rates; what was not measured is `None`."""

    rate_in: int
    rate_out: int
    method: str
    times_real_time: float
    spread: tuple[float, float]
    """The slowest and the fastest run."""
    microseconds_per_chunk: float | None
    snr_db: float
    alias_db: float
    delay_ms: float | None


@frozen
class Method:
    """A way to resample, one stream per run."""

    name: str
    run: Resample
    seconds: float
    """Audio per run."""
    chunked: bool = True

    def cut(self, samples: Float32, rate: int) -> list[Float32]:
        size = rate // CHUNKS_PER_SECOND if self.chunked else len(samples)
        return [samples[start : start + size] for start in range(0, len(samples), size)]

    def whole(self, samples: Float32, rate: int) -> Float32:
        return np.concatenate(self.run(self.cut(samples, rate)))


def optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: its rows are left out", file=sys.stderr)
        return None


def methods(
    rate_in: int,
    rate_out: int,
    seconds: float,
    resampy: ModuleType | None,
    soxr: ModuleType | None,
) -> Iterator[Method]:
    qualities: tuple[Quality, ...] = ("best", "fast")
    for quality in qualities:
        resampler = StreamResampler(rate_in, rate_out, quality)

        def ours(
            chunks: list[Float32], resampler: StreamResampler = resampler
        ) -> list[Float32]:
            return [*map(resampler.process, chunks), resampler.flush()]

        yield Method(f"ours, {quality}", ours, seconds)
    if soxr is not None:

        def soxr_stream(chunks: list[Float32]) -> list[Float32]:
            stream = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "HQ")
            end = np.zeros(0, dtype=np.float32)
            return [*map(stream.resample_chunk, chunks), stream.resample_chunk(end, last=True)]

        yield Method("soxr HQ", soxr_stream, seconds)
    if resampy is not None:

        def one_by_one(chunks: list[Float32]) -> list[Float32]:
            return [resampy.resample(chunk, rate_in, rate_out) for chunk in chunks]

        yield Method("resampy, per chunk", one_by_one, min(seconds, SLOW_SECONDS))
        yield Method("resampy, one shot", one_by_one, seconds, chunked=False)


def tone(rate: int, frequency: float) -> Float32:
    angle = 2 * np.pi * frequency * np.arange(round(rate * TONE_SECONDS)) / rate
    return np.sin(angle).astype(np.float32)


def decibels(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-30)))


def powers(result: Float32, rate: int, frequency: float) -> tuple[float, float]:
    """The power of the tone in a result, and of everything else; the ends do not count."""
    kept = result[rate // 10 : -rate // 10].astype(np.float64)
    angle = 2 * np.pi * frequency * np.arange(len(kept)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, kept, rcond=None)
    return float(np.mean((basis @ fit) ** 2)), float(np.mean((kept - basis @ fit) ** 2))


def signal_to_noise(method: Method, rate_in: int, rate_out: int) -> float:
    edge = 0.78 * min(rate_in, rate_out) / 2
    worst = np.inf
    for frequency in (220.0, 1_000.0, 3_000.0, edge / 2, edge):
        result = method.whole(tone(rate_in, frequency), rate_in)
        signal, noise = powers(result, rate_out, frequency)
        worst = min(worst, decibels(signal) - decibels(noise))
    return worst


def alias(method: Method, rate_in: int, rate_out: int) -> float:
    tone_power = 0.5
    loudest = 0.0
    if rate_in > rate_out:
        for frequency in np.linspace(1.005 * rate_out / 2, 0.995 * rate_in / 2, 8):
            result = method.whole(tone(rate_in, float(frequency)), rate_in)
            kept = result[rate_out // 10 : -rate_out // 10].astype(np.float64)
            loudest = max(loudest, float(np.mean(kept**2)))
    else:
        for frequency in np.linspace(0.8, 0.995, 8) * rate_in / 2:
            result = method.whole(tone(rate_in, float(frequency)), rate_in)
            _, image = powers(result, rate_out, float(frequency))
            loudest = max(loudest, image)
    return decibels(loudest / tone_power)


def lag(given: list[Float32], taken: list[Float32], rate_in: int, rate_out: int) -> float:
    """How far, in seconds, the output was behind after any of the chunks."""
    times_in = np.cumsum([len(chunk) for chunk in given]) / rate_in
    times_out = np.cumsum([len(chunk) for chunk in taken])[: len(given)] / rate_out
    return float(np.max(times_in - times_out))


def measure(method: Method, rate_in: int, rate_out: int, runs: int) -> Row:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, round(rate_in * method.seconds)).astype(np.float32)
    chunks = method.cut(samples, rate_in)
    output = method.run(chunks)
    speeds = []
    for _ in range(runs):
        start = time.process_time()
        method.run(chunks)
        speeds.append(method.seconds / (time.process_time() - start))
    speed = statistics.median(speeds)
    return Row(
        rate_in=rate_in,
        rate_out=rate_out,
        method=method.name,
        times_real_time=speed,
        spread=(min(speeds), max(speeds)),
        microseconds_per_chunk=1e6 / CHUNKS_PER_SECOND / speed if method.chunked else None,
        snr_db=signal_to_noise(method, rate_in, rate_out),
        alias_db=alias(method, rate_in, rate_out),
        delay_ms=lag(chunks, output, rate_in, rate_out) * 1e3 if method.chunked else None,
    )


def shown(row: Row) -> str:
    chunk = f"{row.microseconds_per_chunk:.0f}" if row.microseconds_per_chunk else "-"
    delay = f"{row.delay_ms:.2f}" if row.delay_ms is not None else "-"
    low, high = row.spread
    return (
        f"{row.rate_in:>6} → {row.rate_out:<6} {row.method:<19}"
        f"{row.times_real_time:>8.1f} {f'{low:.1f}-{high:.1f}':>16}"
        f"{chunk:>10}{row.snr_db:>9.1f}{row.alias_db:>9.1f}{delay:>10}"
    )


def pair(text: str) -> tuple[int, int]:
    rate_in, _, rate_out = text.partition(":")
    return int(rate_in), int(rate_out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the resampler.")
    parser.add_argument("--pair", action="append", type=pair, metavar="IN:OUT")
    parser.add_argument("--seconds", type=float, default=10.0, help="audio per run")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    resampy, soxr = optional("resampy"), optional("soxr")
    rows = []
    if not options.json:
        print(
            f"python {platform.python_version()}, numpy {np.__version__}, {options.runs} runs"
        )
        print(
            f"{'rates':<16}{'method':<19}{'x real':>8} {'spread':>16}"
            f"{'µs/chunk':>10}{'SNR dB':>9}{'alias dB':>9}{'delay ms':>10}"
        )
    for rate_in, rate_out in options.pair or PAIRS:
        for method in methods(rate_in, rate_out, options.seconds, resampy, soxr):
            row = measure(method, rate_in, rate_out, options.runs)
            rows.append(row)
            if not options.json:
                print(shown(row), flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
