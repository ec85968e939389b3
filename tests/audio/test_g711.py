"""Both laws of G.711, held against the tables of the standard."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np
import pytest

from trio_bridge.audio.encodings import CODINGS, Encoding
from trio_bridge.audio.pcm import pcm16_to_float32

# Tables 1a to 2b of the standard: how many intervals there are of each size, from silence on,
# in units of 1/8192 of the full scale (mu-law) and 1/4096 (A-law).
MU_INTERVALS = [(1, 1), (15, 2), *((16, 2**n) for n in range(2, 9))]
A_INTERVALS = [(32, 2), *((16, 2**n) for n in range(2, 8))]
EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768)


def decision_values(intervals: list[tuple[int, int]]) -> list[int]:
    return [0, *accumulate(size for count, size in intervals for _ in range(count))]


MU_DECISIONS = decision_values(MU_INTERVALS)
A_DECISIONS = decision_values(A_INTERVALS)


def code_of(law: Encoding, interval: int, *, negative: bool) -> int:
    """The octet of the standard's signal number."""
    if law == "pcmu":
        return 0xFF - interval - (0x80 if negative else 0)
    return (interval + (0 if negative else 0x80)) ^ 0x55


def decisions(law: Encoding) -> tuple[list[int], int]:
    """The decision values, and how many 16-bit steps their unit is."""
    return (MU_DECISIONS, 4) if law == "pcmu" else (A_DECISIONS, 8)


def samples(pcm: np.ndarray) -> np.ndarray:
    return pcm16_to_float32(pcm.astype("<i2").tobytes())


def test_the_standards_ends() -> None:
    """The decision values end at the virtual ones that the tables give."""
    assert (len(MU_DECISIONS), MU_DECISIONS[-1]) == (129, 8159)
    assert (len(A_DECISIONS), A_DECISIONS[-1]) == (129, 4096)


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_every_sample_gets_the_code_of_its_interval(law: Encoding) -> None:
    """All 65,536 of them; what is beyond the last interval gets its code."""
    values, unit = decisions(law)
    expected = bytes(
        code_of(
            law,
            min(bisect_right(values, abs(sample) / unit) - 1, 127),
            negative=sample < 0,
        )
        for sample in EVERY_SAMPLE.tolist()
    )
    assert CODINGS[law].encode(samples(EVERY_SAMPLE)) == expected


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_every_code_is_the_middle_of_its_interval(law: Encoding) -> None:
    """Of mu-law's first interval it is zero."""
    values, unit = decisions(law)
    decoded = (CODINGS[law].decode(EVERY_CODE) * 32768).tolist()
    for interval in range(128):
        middle = unit * (values[interval] + values[interval + 1]) / 2
        if law == "pcmu" and interval == 0:
            middle = 0
        assert decoded[code_of(law, interval, negative=False)] == middle
        assert decoded[code_of(law, interval, negative=True)] == -middle


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
def test_codes_survive_the_round_trip(law: Encoding) -> None:
    """All but mu-law's negative zero, which a sample cannot be."""
    coding = CODINGS[law]
    again = coding.encode(coding.decode(EVERY_CODE))
    assert again == (EVERY_CODE.replace(b"\x7f", b"\xff") if law == "pcmu" else EVERY_CODE)


@pytest.mark.parametrize("encoding", ["pcm", "pcmu", "pcma"])
def test_each_encoding_saturates_and_refuses_nan(encoding: Encoding) -> None:
    """What is too loud is as loud as can be said; nothing is nothing."""
    coding = CODINGS[encoding]
    assert coding.encode(samples(np.zeros(0))) == b""
    assert coding.decode(b"").shape == (0,)
    loud = np.array([2.0, -2.0, np.inf], dtype=np.float32)
    high, low, higher = coding.decode(coding.encode(loud)).tolist()
    assert high == higher
    assert high == pytest.approx(-low, abs=1e-4)
    assert high > 0.97
    with pytest.raises(ValueError, match="NaN"):
        coding.encode(np.array([np.nan], dtype=np.float32))


def test_silence_and_full_scale_are_the_bytes_that_telephony_knows() -> None:
    """Fixed points of both laws."""
    known = samples(np.array([0, 32767, -32768]))
    assert CODINGS["pcmu"].encode(known) == b"\xff\x80\x00"
    assert CODINGS["pcma"].encode(known) == b"\xd5\xaa\x2a"
