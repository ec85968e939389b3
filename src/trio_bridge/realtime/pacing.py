"""When speech may leave: at most so far ahead of its listener.

A synthesiser makes nine seconds of speech in milliseconds. Sent at once, it could no longer
be interrupted, only thrown away by the client. So a response's audio leaves at most `lead`
seconds ahead of the moment it is played, and what lies beyond waits in the node, which is
granted credit in seconds of audio.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import takewhile

import numpy as np
from attrs import define, evolve, field, frozen, setters
from numpy.typing import NDArray

from trio_bridge.messages import Word

STEP = 0.1
"""Seconds of audio that leave together where more is waiting: ten wake-ups and ten messages
for a second of speech, far below what any client's playback buffer notices."""

GRANT_STEP = 0.25
"""Credit grows in steps of so many seconds: four messages for a second of speech."""

MARGIN = 0.5
"""The node is granted so many seconds more than may leave: one `GRANT_STEP`, which it may have
to wait for the next grant, and as much again for the grant's way to the node and the audio's
way back (milliseconds) and for synthesising the next sentence (tens of ms for a small engine,
some hundreds for a large one)."""

UNPACED_AHEAD = 20.0
"""Seconds that a node may be ahead of what has left, where speech leaves as it comes. Without
a bound a long answer would arrive at once, thousands of chunks, and overrun its session."""

HELD_LIMIT = 60.0
"""Seconds of audio that wait here, 8 MB at 32 kHz. A node that honours credit leaves at most
`MARGIN`; this much is for nodes that know no credit and hand over a whole answer."""

CHUNKS_LIMIT = 8192
"""Chunks that wait here: `HELD_LIMIT` in chunks of 10 ms, and some text in between."""

_EPSILON = 1e-6
"""Seconds that moments may be off by rounding; far less than a sample lasts."""


class Overrun(Exception):
    """More audio was sent than can wait here."""


@frozen
class Chunk:
    """Speech, and the text that begins in it. `samples`: mono float32, shape ``(n,)``."""

    samples: NDArray[np.float32] = field(eq=False)
    sample_rate: int
    text: str = ""
    words: tuple[Word, ...] = ()
    seconds: float = field(init=False)
    """How long it lasts."""

    @seconds.default
    def _seconds(self) -> float:
        return len(self.samples) / self.sample_rate

    def split(self, seconds: float) -> tuple[Chunk, Chunk]:
        """The first `seconds`, with the text, and the rest, without."""
        at = int((seconds + _EPSILON / 10) * self.sample_rate)
        rest = evolve(self, samples=self.samples[at:], text="", words=())
        return evolve(self, samples=self.samples[:at]), rest


def _at_least_a_step(seconds: float) -> float:
    return max(seconds, STEP)


# Without hooks on assignment: for the one converter there is, attrs would call two functions
# for every change of any attribute.
@define(on_setattr=setters.NO_OP)
class Pacer:
    """Holds one response's audio until it is due.

    Real time is counted from the first audio that leaves; when the node falls behind, it is
    counted anew, since playback has stood still.

    Args:
        lead: Seconds that audio may leave ahead of its playback, at least `STEP`; `math.inf`
            for no limit.
    """

    lead: float = field(converter=_at_least_a_step)
    _held: deque[Chunk] = field(factory=deque, init=False)
    _held_seconds: float = field(default=0.0, init=False)
    _released: float = field(default=0.0, init=False)
    _granted: float = field(default=0.0, init=False)
    _playing_since: float | None = field(default=None, init=False)
    _complete: bool = field(default=False, init=False)

    @property
    def drained(self) -> bool:
        """Everything that was put in has left."""
        return not self._held

    def heard_at(self, now: float) -> float:
        """When the last sample that has left is played; `now` if that is over."""
        if self._playing_since is None:
            return now
        return max(now, self._playing_since + self._released)

    def put(self, chunk: Chunk) -> None:
        """Take a chunk; one without samples leaves as soon as what came before it has.

        Raises:
            Overrun: More is held than `HELD_LIMIT` or `CHUNKS_LIMIT`.
        """
        if len(self._held) >= CHUNKS_LIMIT or (
            self._held_seconds + chunk.seconds > HELD_LIMIT and self.lead != math.inf
        ):
            raise Overrun
        self._held.append(chunk)
        self._held_seconds += chunk.seconds

    def complete(self) -> None:
        """No more audio comes: no more credit is needed."""
        self._complete = True

    def discard(self) -> float:
        """Throw away what has not left.

        Returns:
            How many seconds of it were still speaking the text that has left.
        """
        rest = sum(
            chunk.seconds for chunk in takewhile(lambda chunk: not chunk.text, self._held)
        )
        self._held.clear()
        self._held_seconds = 0.0
        self._complete = True
        return rest

    def take(self, now: float) -> list[Chunk]:
        """What is due at `now`, in order; it counts as gone."""
        due: list[Chunk] = []
        while self._held:
            chunk = self._held[0]
            room = self._allowed(now) - self._released + _EPSILON
            if chunk.seconds > room:
                if room < STEP:
                    break
                chunk, self._held[0] = chunk.split(room - _EPSILON)
            elif chunk.seconds and not due and room < STEP and room < self._held_seconds:
                break
            else:
                self._held.popleft()
            seconds = chunk.seconds
            if self._playing_since is None and seconds:
                self._playing_since = now
            self._held_seconds -= seconds
            self._released += seconds
            due.append(chunk)
        if not self._held:
            self._held_seconds = 0.0
        return due

    def grant(self, now: float) -> float | None:
        """The credit to give at `now`, in seconds from the response's start; None when what
        was granted is enough."""
        if self._complete:
            return None
        if self.lead == math.inf:
            credit, step = self._released + UNPACED_AHEAD, UNPACED_AHEAD / 2
        else:
            credit, step = self._allowed(now) + MARGIN, GRANT_STEP
        if credit - self._granted + _EPSILON < step:
            return None
        self._granted = credit
        return credit

    @property
    def deadline(self) -> float:
        """When `take` or `grant` will next have something, if nothing else comes."""
        if self._playing_since is None or self.lead == math.inf:
            return math.inf
        start = self._playing_since - self.lead
        moment = math.inf
        if self._held:
            moment = start + self._released + min(STEP, self._held_seconds)
        reachable = self.lead + self._released + MARGIN  # beyond it playback stands still
        if not self._complete and reachable + _EPSILON >= self._granted + GRANT_STEP:
            moment = min(moment, start + self._granted - MARGIN + GRANT_STEP)
        return moment

    def _allowed(self, now: float) -> float:
        if self._playing_since is None:
            return self.lead
        if now - self._playing_since > self._released:
            self._playing_since = now - self._released
        return self.lead + now - self._playing_since
