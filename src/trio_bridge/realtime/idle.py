"""How long nobody has said anything, once an answer has been played."""

from __future__ import annotations

import math

from attrs import define, field


@define
class IdleWatch:
    """Waits for the user to speak after an answer.

    The wait begins when the last answer has been heard to its end, and ends with the next word
    of either side. Before the first answer nobody is waited for.
    """

    _since: float = field(default=math.inf, init=False)

    @property
    def waiting(self) -> bool:
        """Whether an answer was given, and nothing has been said since."""
        return self._since != math.inf

    def answered(self, heard_at: float) -> None:
        """An answer is over; its last sample is played at `heard_at`."""
        self._since = heard_at

    def stirred(self) -> None:
        """Somebody says something: there is nothing to wait for until the next answer."""
        self._since = math.inf

    def deadline(self, timeout_ms: int | None) -> float:
        """When the wait has lasted `timeout_ms`; `math.inf` if nobody waits so."""
        return math.inf if timeout_ms is None else self._since + timeout_ms / 1000
