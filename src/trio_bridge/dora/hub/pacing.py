"""How fast a session's audio goes to the speech monitor: no faster than it is spoken.

Monitors of the hub tell how long somebody has been silent by the clock on the wall. Audio that
comes faster than that is not understood better by being handed on at once: its pauses would be
over before they count. So it waits with its client, whatever the client sends in one go.

Nothing of the hub acknowledges what it is sent, but a monitor tells for each message how
probable it is that there is speech in it. Those answers are counted: a monitor that is behind
is given time, and one that gives none is given up.
"""

from __future__ import annotations

import math

from attrs import define, field

PACE = 1.05
"""Seconds of audio a second that a session may send: clocks are not all alike."""

HEAD_START = 0.5
"""Seconds that a session may be ahead of its pace: large frames, and what a network held up."""

MOST_UNDER_WAY = 64
"""Messages that may be unanswered before all wait: 2 s of audio."""

QUIET = 0.25
"""Seconds without an answer after which those that are missing are not waited for: some
monitors leave messages out, and one that hangs is no better served by waiting."""

UNANSWERED_LIMIT = 320
"""Messages in a row of which the monitor may answer none: 10 s. At 4,000 Dora would block the
bridge, interpreter lock in hand."""


@define
class Pacing:
    """What goes to one monitor; the clock is the caller's."""

    _due: float = field(default=-math.inf, init=False)
    """When all that the session has sent would have been said."""
    _under_way: int = field(default=0, init=False)
    """Messages of which the answer is still waited for."""
    _since: float = field(default=-math.inf, init=False)
    """Since when no answer has come, though one is waited for."""
    _unanswered: int = field(default=0, init=False)
    """Messages since the last answer."""

    def begin(self) -> None:
        """Another session begins."""
        self._due = -math.inf

    def room_at(self) -> float:
        """From when on the session may send more, if no answer comes until then."""
        free_at = self._due - HEAD_START
        if self._under_way < MOST_UNDER_WAY:
            return free_at
        return max(free_at, self._since + QUIET)

    def said(self, seconds: float, now: float) -> None:
        """The session sends so much."""
        self._due = max(self._due, now) + seconds / PACE

    def sent(self, now: float) -> str | None:
        """A message has left; tells what is wrong with the monitor, if something is."""
        if not self._under_way or now >= self._since + QUIET:
            self._under_way, self._since = 0, now
        self._under_way += 1
        self._unanswered += 1
        if self._unanswered <= UNANSWERED_LIMIT:
            return None
        return f"has left {self._unanswered} messages of audio unanswered"

    def answered(self, now: float) -> None:
        """The monitor has answered a message."""
        self._under_way = max(self._under_way - 1, 0)
        self._unanswered = 0
        self._since = now
