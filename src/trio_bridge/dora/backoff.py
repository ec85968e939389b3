"""How long to wait before what has failed is tried again; the clock is the caller's."""

from __future__ import annotations

import math

from attrs import define, field

FIRST = 0.5
"""Seconds after the first failure; each further one doubles them."""

MOST = 30.0
"""Seconds at most: a node whose model has been put in place is running half a minute later."""

STEADY = 10.0
"""Seconds that something must have run for its failures to be forgotten. What breaks sooner
has failed too: otherwise a node that dies at its first message would be started for ever."""

_DOUBLINGS = math.ceil(math.log2(MOST / FIRST))


@define
class Backoff:
    """Failures in a row, and when the next try is due.

    Attributes:
        failures: How many there were since something last ran steadily.
        retry_at: When to try again.
        steady_at: When the failures are forgotten, unless there is another before.
    """

    failures: int = field(default=0, init=False)
    retry_at: float = field(default=-math.inf, init=False)
    steady_at: float = field(default=math.inf, init=False)

    def failed(self, now: float) -> None:
        """It did not start, or broke before it was steady."""
        self.retry_at = now + min(FIRST * 2 ** min(self.failures, _DOUBLINGS), MOST)
        self.failures += 1
        self.steady_at = math.inf

    def started(self, now: float) -> None:
        """It runs."""
        self.steady_at = now + STEADY if self.failures else math.inf

    def forget(self, now: float) -> None:
        """Forget the failures, if it is time."""
        if now >= self.steady_at:
            self.failures = 0
            self.steady_at = math.inf
