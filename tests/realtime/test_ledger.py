"""Input audio, counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.values import AudioFormat

PCM = AudioFormat()
PCMU = AudioFormat("pcmu")


@given(st.lists(st.binary(max_size=9)))
def test_odd_bytes_wait_for_their_other_half(appends: list[bytes]) -> None:
    """However the bytes are cut, the samples are the same."""
    ledger = InputLedger(PCM)
    passed = b"".join(ledger.append(each) for each in appends)
    whole = b"".join(appends)
    assert passed == whole[: len(whole) // 2 * 2]
    assert ledger.clock_ms == pytest.approx(len(passed) / 48)


def test_the_clock_never_goes_back() -> None:
    """Committing and clearing take from the buffer, not from the clock."""
    ledger = InputLedger(PCM)
    ledger.append(bytes(9_600))
    assert ledger.commit() == 200
    ledger.append(bytes(9_600))
    ledger.clear()
    assert (ledger.clock_ms, ledger.uncommitted_ms) == (400, 0)


def test_speech_takes_the_buffer_up_to_its_end() -> None:
    """What was appended after it is still to be committed; an impossible end is the end."""
    ledger = InputLedger(PCM)
    ledger.append(bytes(48_000))
    ledger.commit_until(700)
    assert ledger.uncommitted_ms == 300
    ledger.commit_until(600)
    assert ledger.uncommitted_ms == 300
    ledger.commit_until(5_000)
    assert ledger.uncommitted_ms == 0


def test_a_refused_commit_changes_nothing() -> None:
    """Too little, and half a sample: both may be mended by appending more."""
    ledger = InputLedger(PCM)
    ledger.append(bytes(4_799))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            ledger.commit()
    ledger.append(bytes(1))
    assert ledger.commit() == 100


def test_clearing_drops_half_a_sample() -> None:
    """The next append starts a sample of its own."""
    ledger = InputLedger(PCM)
    ledger.append(b"\1")
    ledger.clear()
    assert ledger.append(b"\2\3") == b"\2\3"


def test_a_byte_of_g711_is_a_sample() -> None:
    """800 of them are the 100 ms that a commit needs; none is odd."""
    ledger = InputLedger(PCMU)
    assert ledger.append(bytes(799)) == bytes(799)
    with pytest.raises(ProtocolError):
        ledger.commit()
    ledger.append(bytes(1))
    assert ledger.commit() == 100


def test_the_format_may_change_in_the_middle() -> None:
    """The clock goes on, in milliseconds; half a sample of the old format is dropped."""
    ledger = InputLedger(PCM)
    ledger.append(bytes(2_401))
    ledger.use(PCMU)
    assert ledger.append(b"\1") == b"\1"
    ledger.append(bytes(399))
    assert (ledger.clock_ms, ledger.uncommitted_ms) == (100, 100)
    ledger.use(PCM)
    ledger.append(bytes(4_800))
    assert ledger.commit() == 200


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 700)), max_size=60))
def test_time_is_counted_exactly(appends: list[tuple[bool, int]]) -> None:
    """However formats and sizes alternate, the clock is the sum of the samples' lengths."""
    ledger = InputLedger(PCM)
    ticks = 0
    for telephone, samples in appends:
        ledger.use(PCMU if telephone else PCM)
        ledger.append(bytes(samples if telephone else 2 * samples))
        ticks += 3 * samples if telephone else samples
    assert ledger.clock_ms == ticks / 24


def test_a_moment_before_all_that_is_remembered() -> None:
    """A report may be older than what the backend heard twice before last; it has a place
    all the same."""
    ledger = InputLedger(PCM)
    ledger.append(bytes(48 * 1000))
    for _ in range(3):
        ledger.backend_heard(200, 0)
    assert ledger.on_clock(100) == 0
    assert ledger.on_clock(1500) == 1100
