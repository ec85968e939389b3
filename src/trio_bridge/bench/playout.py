"""A listener's player, simulated: did each piece of audio come before it had to be played?"""

from __future__ import annotations

from typing import Final

from attrs import define, field

_ROUNDING: Final = 1e-6
"""Seconds; far less than a sample lasts."""


@define
class Playout:
    """Begins `buffer` seconds after the first audio came, and plays on without a break while
    there is any."""

    buffer: float
    underruns: int = field(default=0, init=False)
    stalled: float = field(default=0.0, init=False)
    """Seconds for which it has stood still."""
    _began: float | None = field(default=None, init=False)
    _received: float = field(default=0.0, init=False)

    @property
    def ends(self) -> float:
        """When everything that has come is played."""
        return 0.0 if self._began is None else self._began + self.buffer + self._received

    def arrived(self, at: float, seconds: float) -> float:
        """Take audio of so many seconds.

        Returns:
            How late it is for a player without a buffer; what is early is negative.
        """
        if self._began is None:
            self._began = at
        late = at - self._began - self._received
        if late > self.buffer + _ROUNDING:
            self.underruns += 1
            self.stalled += late - self.buffer
            self._began += late - self.buffer
        self._received += seconds
        return late
