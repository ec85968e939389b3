"""The resampler: the same however it is cut, as clean as its filter, aligned in time."""

from __future__ import annotations

import subprocess
import sys
import warnings
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trio_bridge.audio import filterbank
from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import Quality, StreamResampler

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

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
"""The rates that the product promises figures for."""

OTHER_PAIRS = [
    (8_000, 24_000),
    (24_000, 8_000),
    (8_000, 44_100),
    (44_100, 8_000),
    (11_025, 24_000),
    (44_100, 48_000),
    (192_000, 11_025),  # too long a filter to keep
    (44_101, 24_000),  # 24,000 phases: too many to keep
    (10_100, 10_000),
    (10_000, 10_007),  # a prime number of phases
]

QUALITIES: list[Quality] = ["best", "fast"]


def all_at_once(resampler: StreamResampler, samples: Float32) -> Float32:
    return np.concatenate([resampler.process(samples), resampler.flush()])


def noise(count: int, seed: int = 0) -> Float32:
    """Noise at a third of full scale, with silence in it (plus and minus zero)."""
    rng = np.random.default_rng(seed)
    samples = np.clip(rng.standard_normal(count) * 0.3, -1, 1).astype(np.float32)
    samples[count // 3 : count // 2] = 0.0
    samples[count // 2 : count * 2 // 3] = -0.0
    return samples


def tone(rate: int, frequency: float, seconds: float = 0.5) -> Float32:
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(
        np.float32
    )


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio))


def rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def middle(samples: Float32, rate: int) -> Float64:
    """Without the 50 ms at both ends where a tone begins and ends."""
    return np.asarray(samples[rate // 20 : -rate // 20], dtype=np.float64)


def residue(samples: Float32, rate: int, frequency: float) -> Float64:
    """What is left of a tone's resampling when the best fitting tone is taken away."""
    kept = middle(samples, rate)
    angle = 2 * np.pi * frequency * np.arange(len(kept)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, kept, rcond=None)
    return np.asarray(kept - basis @ fit)


# --- any chunking gives the same samples -----------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS + OTHER_PAIRS[:-1], ids=lambda p: f"{p[0]}-{p[1]}")
@settings(max_examples=25)
@given(
    total=st.integers(0, 3_000),
    cuts=st.lists(st.integers(0, 3_000), max_size=30),
    quality=st.sampled_from(QUALITIES),
    seed=st.integers(0, 2**32 - 1),
)
@example(total=2_400, cuts=list(range(0, 2_400, 7)), quality="best", seed=0)
@example(total=300, cuts=list(range(300)), quality="best", seed=0)
def test_any_chunking_gives_the_same_samples(
    pair: tuple[int, int], total: int, cuts: list[int], quality: Quality, seed: int
) -> None:
    """Not only the PCM16 is byte-identical: the float32 is."""
    samples = noise(total, seed)
    resampler = StreamResampler(*pair, quality)
    whole = all_at_once(resampler, samples)

    edges = [0, *sorted(min(cut, total) for cut in cuts), total]
    pieces = [resampler.process(samples[a:b]) for a, b in pairwise(edges)]
    chunked = np.concatenate([*pieces, resampler.flush()])

    assert float32_to_pcm16(chunked) == float32_to_pcm16(whole)
    assert chunked.tobytes() == whole.tobytes()


@pytest.mark.parametrize("pair", [*PAIRS, *OTHER_PAIRS], ids=lambda p: f"{p[0]}-{p[1]}")
def test_a_long_stream_in_frames_is_the_same_as_in_one(pair: tuple[int, int]) -> None:
    """Half a second: the buffer has moved on many times."""
    rate = pair[0]
    samples = noise(rate // 2)
    resampler = StreamResampler(*pair)
    whole = all_at_once(resampler, samples)

    frame = rate // 50
    frames = [resampler.process(samples[i : i + frame]) for i in range(0, len(samples), frame)]

    assert np.concatenate([*frames, resampler.flush()]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("pair", [(24_000, 16_000), (32_000, 24_000), (48_000, 24_000)])
def test_the_sums_themselves_do_not_depend_on_the_chunking(pair: tuple[int, int]) -> None:
    """A tone at the top of the input's band cancels to almost nothing, so that what is left
    shows the last bits of the float64 sums, which rounding to float32 hides otherwise."""
    rate = pair[0]
    samples = np.resize(np.array([1.0, -1.0], dtype=np.float32), rate)
    resampler = StreamResampler(*pair)
    whole = all_at_once(resampler, samples)

    for frame in (rate // 50, 131, 17):
        starts = range(0, len(samples), frame)
        frames = [resampler.process(samples[i : i + frame]) for i in starts]
        assert np.concatenate([*frames, resampler.flush()]).tobytes() == whole.tobytes()


# --- how much comes out, and when ------------------------------------------------------------


@pytest.mark.parametrize("pair", [*PAIRS, *OTHER_PAIRS], ids=lambda p: f"{p[0]}-{p[1]}")
@pytest.mark.parametrize("count", [0, 1, 2, 3, 149, 150, 1_000])
def test_the_length_is_the_ratio_rounded_up(pair: tuple[int, int], count: int) -> None:
    rate_in, rate_out = pair

    result = all_at_once(StreamResampler(*pair), noise(count))

    assert len(result) == -(-count * rate_out // rate_in)
    assert result.dtype == np.float32


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0]}-{p[1]}")
def test_output_waits_for_the_look_ahead_and_no_longer(
    pair: tuple[int, int], quality: Quality
) -> None:
    """There is no block to fill: every sample whose look-ahead is in has been given."""
    rate_in, rate_out = pair
    resampler = StreamResampler(*pair, quality)
    half = round(resampler.delay * rate_in)
    given = 0
    for received in range(1, 600):
        given += len(resampler.process(np.zeros(1, dtype=np.float32)))
        assert given == max(0, ceil((received - half) * rate_out / rate_in))


@pytest.mark.parametrize(
    ("pair", "quality", "milliseconds"),
    [
        ((24_000, 16_000), "best", 3.125),
        ((24_000, 16_000), "fast", 1.5),
        ((32_000, 24_000), "fast", 1.0),
        ((16_000, 24_000), "best", 3.125),
        ((24_000, 24_000), "best", 0.0),
    ],
)
def test_the_look_ahead_is_half_the_filter(
    pair: tuple[int, int], quality: Quality, milliseconds: float
) -> None:
    assert StreamResampler(*pair, quality).delay == pytest.approx(milliseconds / 1e3)


@pytest.mark.parametrize("pair", [*PAIRS, *OTHER_PAIRS], ids=lambda p: f"{p[0]}-{p[1]}")
def test_output_stands_at_the_time_of_the_input(pair: tuple[int, int]) -> None:
    """Sample k is the tone's value at k / rate_out: neither early nor late, nor louder."""
    rate_in, rate_out = pair
    result = all_at_once(StreamResampler(*pair), tone(rate_in, 440))

    ideal = np.sin(2 * np.pi * 440 * np.arange(len(result)) / rate_out).astype(np.float32)

    error = rms(middle(result, rate_out) - middle(ideal, rate_out))
    assert decibels(error * np.sqrt(2)) < -120


def test_flush_ends_the_stream_and_begins_a_new_one() -> None:
    resampler = StreamResampler(24_000, 16_000)
    samples = noise(5_000)
    first = all_at_once(resampler, samples)

    assert resampler.flush().shape == (0,)
    assert all_at_once(resampler, samples).tobytes() == first.tobytes()


def test_reset_forgets_the_stream() -> None:
    resampler = StreamResampler(22_050, 24_000)
    samples = noise(3_000)
    fresh = all_at_once(resampler, samples)
    resampler.process(samples)

    resampler.reset()

    assert all_at_once(resampler, samples).tobytes() == fresh.tobytes()


# --- how clean it is -------------------------------------------------------------------------


@pytest.mark.parametrize(("quality", "floor"), [("best", 130.0), ("fast", 100.0)])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p[0]}-{p[1]}")
def test_tones_stay_clean(pair: tuple[int, int], quality: Quality, floor: float) -> None:
    """Signal to noise over the pass band; images of the input's spectrum count as noise."""
    rate_in, rate_out = pair
    edge = 0.78 * min(pair) / 2
    for frequency in (220.0, 1_000.0, 3_000.0, edge / 2, edge):
        result = all_at_once(StreamResampler(*pair, quality), tone(rate_in, frequency))
        noise_level = rms(residue(result, rate_out, frequency))
        assert decibels(np.sqrt(0.5) / noise_level) >= floor, frequency


@pytest.mark.parametrize(
    "pair", [p for p in PAIRS if p[0] > p[1]], ids=lambda p: f"{p[0]}-{p[1]}"
)
def test_what_the_lower_rate_cannot_carry_is_removed(pair: tuple[int, int]) -> None:
    """A tone above half the output rate leaves an alias of at most -120 dB."""
    rate_in, rate_out = pair
    for frequency in np.linspace(1.005 * rate_out / 2, 0.995 * rate_in / 2, 8):
        result = all_at_once(StreamResampler(*pair), tone(rate_in, frequency))
        assert decibels(rms(middle(result, rate_out)) * np.sqrt(2)) <= -120, frequency


@pytest.mark.parametrize(
    "pair", [p for p in PAIRS if p[0] < p[1]], ids=lambda p: f"{p[0]}-{p[1]}"
)
def test_images_above_the_input_band_are_removed(pair: tuple[int, int]) -> None:
    """Close to half the input rate, where an image lies closest, it has at most -120 dB."""
    rate_in, rate_out = pair
    for frequency in np.linspace(0.8, 0.995, 8) * rate_in / 2:
        result = all_at_once(StreamResampler(*pair), tone(rate_in, frequency))
        assert decibels(rms(residue(result, rate_out, frequency)) * np.sqrt(2)) <= -120, (
            frequency
        )


@pytest.mark.parametrize(("quality", "difference"), [("best", -120.0), ("fast", -95.0)])
def test_it_is_the_filter_of_resampy(quality: Quality, difference: float) -> None:
    """Where resampy steps through its table exactly (up, or down by a power of two), both
    agree but for the outermost tap, which resampy leaves out at most phases."""
    with warnings.catch_warnings():
        # numba may warn about the interpreter or numpy; it is only the reference here.
        warnings.simplefilter("ignore")
        import resampy

        samples = noise(6_000)
        for pair in ((16_000, 24_000), (22_050, 24_000), (48_000, 24_000)):
            reference = resampy.resample(
                samples.astype(np.float64), *pair, filter=filterbank.TABLES[quality]
            )
            ours = all_at_once(StreamResampler(*pair, quality), samples)[: len(reference)]
            assert decibels(rms(ours - reference) / rms(reference)) < difference, pair


# --- what it takes ---------------------------------------------------------------------------


def test_equal_rates_pass_through_as_a_copy() -> None:
    resampler = StreamResampler(24_000, 24_000)
    samples = noise(100)

    result = resampler.process(samples)

    assert result.tobytes() == samples.tobytes()
    assert not np.shares_memory(result, samples)
    assert resampler.flush().shape == (0,)


@pytest.mark.parametrize("pair", [(24_000, 16_000), (24_000, 24_000)])
def test_wrong_input_is_refused_and_changes_nothing(pair: tuple[int, int]) -> None:
    resampler = StreamResampler(*pair)
    samples = noise(2_000)
    expected = all_at_once(resampler, samples)
    first = resampler.process(samples[:1_000])

    with pytest.raises(TypeError, match="float64"):
        resampler.process(samples.astype(np.float64))
    with pytest.raises(TypeError, match="list"):
        resampler.process([0.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(1, 2000\)"):
        resampler.process(samples[None, :])
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            resampler.process(np.array([0.0, bad, -bad], dtype=np.float32))

    rest = resampler.process(samples[1_000:])
    assert np.concatenate([first, rest, resampler.flush()]).tobytes() == expected.tobytes()


def test_samples_of_any_finite_size_are_taken() -> None:
    """Far over full scale, where a sum of squares overflows float32."""
    loud = np.full(1_000, 1e37, dtype=np.float32)

    assert np.isfinite(all_at_once(StreamResampler(24_000, 16_000), loud)).all()


@pytest.mark.parametrize("quality", ["best", "fast"])
def test_samples_at_the_edge_of_float32_are_taken(quality: Quality) -> None:
    """Such as what stands in memory that a node has not filled."""
    largest = float(np.finfo(np.float32).max)
    signs = np.random.default_rng(5).choice([-1.0, 1.0], 2_000)
    loud = (signs * largest).astype(np.float32)

    resampled = all_at_once(StreamResampler(32_000, 24_000, quality), loud)

    assert np.isfinite(resampled).all()
    assert np.abs(resampled).max() > 1e36


def test_a_view_with_gaps_is_taken() -> None:
    samples = noise(2_000)
    resampler = StreamResampler(24_000, 16_000)

    spaced = all_at_once(resampler, samples[::2])

    assert spaced.tobytes() == all_at_once(resampler, samples[::2].copy()).tobytes()


@pytest.mark.parametrize("rate", [0, -1, 3_999, 192_001])
def test_rates_out_of_range_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="4000 to 192000"):
        StreamResampler(rate, 24_000)
    with pytest.raises(ValueError, match="4000 to 192000"):
        StreamResampler(24_000, rate)


def test_a_rate_is_an_integer_and_a_quality_has_a_name() -> None:
    with pytest.raises(TypeError):
        StreamResampler(24_000.0, 16_000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="best, fast"):
        StreamResampler(24_000, 16_000, "good")  # type: ignore[arg-type]


def test_no_bank_is_large() -> None:
    """Pairs of rates with thousands of phases are computed as they go."""
    for pair in PAIRS + OTHER_PAIRS:
        bank = filterbank.filter_bank(*pair, "best")
        kept = bank.weights(0) is bank.weights(1)
        assert kept == (pair not in {(192_000, 11_025), (44_101, 24_000), (10_000, 10_007)})
        assert bank.weights(0).size <= filterbank.BANK_COEFFICIENTS, pair


def test_banks_are_shared_by_ratio() -> None:
    assert filterbank.filter_bank(48_000, 24_000, "fast") is filterbank.filter_bank(
        32_000, 16_000, "fast"
    )


def test_numba_is_not_imported() -> None:
    """It costs a second and 110 MB that only the one-shot resampy needs."""
    program = (
        "import sys; from trio_bridge.audio import StreamResampler;"
        "StreamResampler(24000, 16000); StreamResampler(32000, 24000, 'fast');"
        "sys.exit(bool({'numba', 'resampy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
