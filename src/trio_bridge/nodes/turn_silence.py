"""How long a silence ends a turn: fixed, or by how finished the words before it sounded."""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

USUAL_MS: Final = 500
"""Silence that ends a turn when the client names none. Recordings of fluent speech hold pauses
of 200 ms that the detector calls silence."""

SHORTEST_MS: Final = 20
"""No silence is shorter: one frame is the detector's own wavering."""


@frozen
class TurnSilence:
    """The silence that ends a turn, in milliseconds.

    Between `soonest` and `longest` the wait grows by equal factors, as people's own does: from
    half a second to one is a long way, from three and a half to four is not.

    Attributes:
        soonest: After a sentence that is finished.
        longest: After one that leads on.
        unjudged: Where nobody can tell.
    """

    soonest: float = USUAL_MS
    longest: float = USUAL_MS
    unjudged: float = USUAL_MS

    @classmethod
    def fixed(cls, ms: float) -> TurnSilence:
        """The same after all words."""
        ms = max(ms, SHORTEST_MS)
        return cls(ms, ms, ms)

    @classmethod
    def from_turn_detection(cls, turn_detection: dict[str, Any]) -> TurnSilence:
        """Read a session's `turn_detection` object; what is absent or null takes a default."""
        if turn_detection.get("type") == "semantic_vad":
            return _EAGERNESS.get(str(turn_detection.get("eagerness")), _EAGERNESS["auto"])
        ms = turn_detection.get("silence_duration_ms")
        return cls.fixed(USUAL_MS if ms is None else float(ms))

    def after(self, finished: float | None) -> float:
        """How long to wait after words that sounded so finished; see `how_finished`."""
        if finished is None:
            return self.unjudged
        return float(self.soonest * (self.longest / self.soonest) ** (1 - finished))


_MEDIUM: Final = TurnSilence(400, 4_000, 500)

_EAGERNESS: Final = {
    "low": TurnSilence(600, 8_000, 800),
    "medium": _MEDIUM,
    "auto": _MEDIUM,
    "high": TurnSilence(250, 2_000, 300),
}
"""The longest waits are the protocol's. The soonest leave a recogniser time for the last words:
it says what it has understood three times a second."""
