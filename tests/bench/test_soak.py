import math

import trio
from benchmarks.soak import long_session
from trio.testing import MockClock


def test_a_session_of_two_minutes_gathers_nothing():
    """Its recordings have reached their cap after the first quarter, as those of an hour do."""
    clock = MockClock(autojump_threshold=0)
    found = trio.run(lambda: long_session(120.0, audio_limit=2**20), clock=clock)
    assert found.turns == 12
    assert math.isclose(found.answered, 12 * 5.5, abs_tol=0.2)
    assert found.seconds >= 119.9
    assert found.ended[0] == 1001
    # Kept sound would be 8 MB; what is left are the words of eight turns.
    assert found.growth[0] <= 1
