"""Input audio, counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.problems import ProtocolError


@given(st.lists(st.binary(max_size=9)))
def test_odd_bytes_wait_for_their_other_half(appends: list[bytes]) -> None:
    """However the bytes are cut, the samples are the same."""
    ledger = InputLedger(24_000)
    passed = b"".join(ledger.append(each) for each in appends)
    whole = b"".join(appends)
    assert passed == whole[: len(whole) // 2 * 2]
    assert ledger.clock_ms == pytest.approx(len(passed) / 48)


def test_the_clock_never_goes_back() -> None:
    """Committing and clearing take from the buffer, not from the clock."""
    ledger = InputLedger(24_000)
    ledger.append(bytes(9_600))
    assert ledger.commit() == 200
    ledger.append(bytes(9_600))
    ledger.clear()
    assert (ledger.clock_ms, ledger.uncommitted_ms) == (400, 0)


def test_speech_takes_the_buffer_up_to_its_end() -> None:
    """What was appended after it is still to be committed; an impossible end is the end."""
    ledger = InputLedger(24_000)
    ledger.append(bytes(48_000))
    ledger.commit_until(700)
    assert ledger.uncommitted_ms == 300
    ledger.commit_until(600)
    assert ledger.uncommitted_ms == 300
    ledger.commit_until(5_000)
    assert ledger.uncommitted_ms == 0


def test_a_refused_commit_changes_nothing() -> None:
    """Too little, and half a sample: both may be mended by appending more."""
    ledger = InputLedger(24_000)
    ledger.append(bytes(4_799))
    for _ in range(2):
        with pytest.raises(ProtocolError):
            ledger.commit()
    ledger.append(bytes(1))
    assert ledger.commit() == 100


def test_clearing_drops_half_a_sample() -> None:
    """The next append starts a sample of its own."""
    ledger = InputLedger(24_000)
    ledger.append(b"\1")
    ledger.clear()
    assert ledger.append(b"\2\3") == b"\2\3"
