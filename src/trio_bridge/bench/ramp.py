"""The highest number of sessions that a server holds: more and more, then closer and closer."""

from __future__ import annotations

from typing import Any

from attrs import define

GROWTH = 1.5
"""How much more the next run tries while all has held."""

CLOSE = 0.05
"""The part of the number that held below which the gap to what did not is small enough."""


@define
class Ramp:
    """What has held so far, and what has not.

    Args:
        first: How many sessions the first run has.
    """

    first: int
    held: int = 0
    """The highest number that held."""
    not_held: int | None = None
    """The lowest number that did not."""

    def next(self) -> int | None:
        """How many sessions to try next; None when the answer is known well enough."""
        if self.not_held is None:
            return self.first if not self.held else max(self.held + 1, int(self.held * GROWTH))
        if self.not_held - self.held <= max(1, int(self.held * CLOSE)):
            return None
        return (self.held + self.not_held) // 2

    def tried(self, sessions: int, *, held: bool) -> None:
        """Note how a run ended."""
        if held:
            self.held = max(self.held, sessions)
        else:
            self.not_held = min(sessions, self.not_held or sessions)


def holds(found: dict[str, Any], bound_ms: float) -> bool:
    """Whether a run's figures are good enough: nothing lost, and p99 within the bound."""
    name = "added_delay_ms" if found["scenario"] == "echo" else "answer_beyond_silence_ms"
    times = found[name]
    return not found["failures"] and times is not None and times["p99"] <= bound_ms
