import pytest

from trio_bridge.bench.playout import Playout


def test_audio_in_time_is_no_underrun():
    """As late as the buffer is long is still in time."""
    player = Playout(0.06)
    assert player.arrived(10.0, 0.04) == 0
    assert player.arrived(10.04, 0.04) == pytest.approx(0)
    assert player.arrived(10.13, 0.04) == pytest.approx(0.05)
    assert player.underruns == 0


def test_an_early_piece_is_negative():
    """Speech may come well ahead of its playback."""
    player = Playout(0.06)
    player.arrived(10.0, 2.0)
    assert player.arrived(10.5, 1.0) == pytest.approx(-1.5)


def test_an_underrun_stops_the_player_until_audio_comes():
    """What follows at the same pace is in time again: one gap is counted once."""
    player = Playout(0.06)
    player.arrived(10.0, 0.04)
    assert player.arrived(10.2, 0.04) == pytest.approx(0.16)
    assert player.arrived(10.24, 0.04) == pytest.approx(0.06)
    assert player.underruns == 1
    assert player.stalled == pytest.approx(0.1)


def test_it_ends_when_everything_has_been_played():
    """What it keeps in hand at first is played later."""
    player = Playout(0.06)
    assert player.ends == 0
    player.arrived(10.0, 2.0)
    assert player.ends == pytest.approx(12.06)
    player.arrived(13.0, 1.0)
    assert player.ends == pytest.approx(14.0)
