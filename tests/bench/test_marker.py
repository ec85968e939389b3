import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.bench.marker import BLOCK, MarkerCheck, marker, marker_pcm
from trio_bridge.bench.plan import RATE

SECOND = 2 * RATE


def heard(pcm, number=3, sent=None, chunk=1_920):
    """What a check says of a whole session."""
    check = MarkerCheck(number)
    for at in range(0, len(pcm), chunk):
        if wrong := check.hear(pcm[at : at + chunk]):
            return wrong
    return check.end(len(pcm) // 2 if sent is None else sent)


def test_markers_are_within_full_scale_and_unlike_each_other():
    """None is clipped, and none resembles another."""
    sounds = np.stack([marker(number) for number in range(20)])
    assert np.abs(sounds).max() < 1
    likeness = np.corrcoef(sounds)
    assert np.abs(likeness - np.eye(20)).max() < 0.1


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=30))
def test_any_chunks_of_the_marker_pass(sizes):
    """Servers cut audio where they like."""
    said = marker_pcm(5) * 60
    check = MarkerCheck(5)
    at = 0
    for size in sizes:
        assert check.hear(said[at : at + 2 * size]) is None
        at += 2 * size
    assert check.end(min(at, len(said)) // 2) is None


def test_the_marker_passes_through_the_filters_of_the_echo():
    """24 → 16 → 32 → 24 kHz leaves it as it is."""
    sound = np.tile(marker(3), 3)
    filters = (
        StreamResampler(24_000, 16_000, quality="best"),
        StreamResampler(16_000, 32_000, quality="fast"),
        StreamResampler(32_000, 24_000, quality="fast"),
    )
    for resampler in filters:
        sound = np.concatenate([resampler.process(sound), resampler.flush()])
    assert heard(float32_to_pcm16(sound), sent=3 * RATE) is None


@pytest.mark.parametrize("samples", [1, 960])
@pytest.mark.parametrize("at", [1_000, SECOND + BLOCK])
def test_lost_samples_are_seen(samples, at):
    """One is enough, at the beginning as well as later."""
    said = marker_pcm(3) * 4
    assert "something else" in heard(said[:at] + said[at + 2 * samples :], sent=4 * RATE)


def test_doubled_and_swapped_frames_are_seen():
    """Though the length may be right."""
    said = marker_pcm(3) * 4
    frame = 1_920
    doubled = said[: 10 * frame] + said[9 * frame :]
    swapped = (
        said[: 20 * frame]
        + said[21 * frame : 22 * frame]
        + said[20 * frame : 21 * frame]
        + said[22 * frame :]
    )
    assert "something else" in heard(doubled)
    assert "something else" in heard(swapped)


def test_somebody_elses_sound_is_seen():
    """One frame of it is enough."""
    said = bytearray(marker_pcm(3) * 4)
    said[SECOND : SECOND + 1_920] = marker_pcm(4)[:1_920]
    assert "something else" in heard(bytes(said))


def test_what_is_missing_at_the_end_is_seen():
    """By its length."""
    said = marker_pcm(3) * 2
    assert heard(said[:-1_920], sent=2 * RATE) == "said 48000 samples, heard 47040"
    assert heard(b"", sent=2 * RATE) == "said 48000 samples, heard 0"
