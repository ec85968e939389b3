"""How much of what sessions say is under way to the nodes of an instance.

A client may send an hour of audio in a second. What the nodes cannot take yet must not leave:
in their queues it would hold up the sessions that speak as people do. So a session that speaks
at the pace of speech is let through, and what is faster is let through as far as the nodes
acknowledge it in time; the rest waits with its client.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import trio
from attrs import define, field

from trio_bridge.dora.contract import SAMPLE_RATE, Listen

PACE = 1.25
"""Seconds of audio a second that a session may always send: clocks are not all alike."""

HEAD_START = 0.5
"""Seconds that a session may be ahead of its pace: large frames, and what a network held up."""

ROW_SECONDS = 0.02
"""What a row costs at least: one without audio is work, too."""

LATE = 1.0
"""Seconds that a message may be unacknowledged before all wait. Nodes that keep up take 0.25,
and those that take nothing for twice as long are given up."""

SLUGGISH = 0.4
"""Seconds after which an acknowledgement says that the nodes have enough to do."""

UNHEARD = 20.0
"""Seconds that a push-to-talk session may have sent without a transcript of it: as much as it
has committed, and of what it has not as much as was ahead of its pace. A third of what the
recogniser that ships keeps of one utterance."""

FORGOTTEN = 60.0
"""Seconds after which a transcript that was due is not waited for any more."""

NARROW, WIDE = 4.0, 32.0
"""Seconds of audio, of all sessions that are ahead of their pace, that may be under way: as
little and as much. A monitor that hears 500 times as fast as people speak takes the most in
0.06 s, and one that hears 30 times as fast the least in 0.13 s."""


@define(eq=False)
class Pace:
    """Whether one session speaks faster than people do, and than it is understood.

    Attributes:
        transcribed: Whether what it commits gets transcripts, and nothing else does.
    """

    transcribed: bool = field(default=False, init=False)
    _due: float = field(default=-math.inf, init=False)
    """When all that it has sent at its pace would have been said."""
    _spoken: float = field(default=0.0, init=False)
    """Seconds that it has sent since the last commit or clear."""
    _hurried: float = field(default=0.0, init=False)
    """How much of that was ahead of its pace."""
    _committed: dict[str, tuple[float, float]] = field(factory=dict, init=False)
    """Item without a transcript → its seconds, and when it was committed."""

    @property
    def free_at(self) -> float:
        """From when on it may send more at its pace, if nothing changes until then."""
        free_at = self._due - HEAD_START
        if self._committed and self._unheard >= UNHEARD:
            _, oldest = next(iter(self._committed.values()))
            return max(free_at, oldest + FORGOTTEN)
        return free_at

    @property
    def understood(self) -> bool:
        """Whether it may send ahead of its pace for all that was understood of it so far."""
        return self._hurried + self._unheard < UNHEARD

    @property
    def _unheard(self) -> float:
        return sum(seconds for seconds, _ in self._committed.values())

    def said(self, seconds: float, now: float) -> None:
        """It has sent so much at its pace."""
        self._due = max(self._due, now) + seconds / PACE
        self._spoken += seconds

    def hurried(self, seconds: float) -> None:
        """It has sent so much ahead of its pace."""
        self._spoken += seconds
        if self.transcribed:
            self._hurried += seconds

    def committed(self, item_id: str, now: float) -> None:
        """What it has sent becomes an item."""
        for forgotten in [i for i, (_, at) in self._committed.items() if now - at > FORGOTTEN]:
            del self._committed[forgotten]
        if self.transcribed:
            self._committed[item_id] = (self._spoken, now)
        self.cleared()

    def cleared(self) -> None:
        """What it has sent and not committed is taken back."""
        self._spoken = self._hurried = 0.0

    def heard(self, item_id: str) -> bool:
        """An item has its transcript, or will have none; whether that makes a difference."""
        return self._committed.pop(item_id, None) is not None


@define(eq=False)
class Intake:
    """What is under way on `listen`, of all sessions of an instance.

    Args:
        links: Node and input of each that reads it. What nobody reads, nobody waits for.
    """

    _links: Iterable[tuple[str, str]] = ()
    _received: dict[tuple[str, str], int] = field(init=False)
    _under_way: deque[tuple[int, float, float]] = field(factory=deque, init=False)
    """Number of each message, when it left, and what was ahead of its pace in it."""
    _ahead: float = field(default=0.0, init=False)
    """Seconds that are ahead of their pace, under way or about to leave."""
    _leaving: float = field(default=0.0, init=False)
    _room: float = field(default=NARROW, init=False)
    _line: dict[Pace, trio.Event] = field(factory=dict, init=False)
    """Who waits → what it is woken by, in turn: who has just sent stands behind the others."""

    def __attrs_post_init__(self) -> None:
        self._received = dict.fromkeys(self._links, -1)

    # --- what sessions ask ------------------------------------------------------------------

    def has_room(self, pace: Pace, now: float) -> bool:
        """Whether a session may send now."""
        if self._under_way and now - self._under_way[0][1] > LATE:
            return False
        if pace.free_at <= now:
            return True
        return self._ahead < self._room and pace.understood and self._first(pace) is pace

    async def room(self, pace: Pace) -> None:
        """Wait until a session may send. There is no checkpoint between that and the return."""
        if self.has_room(pace, trio.current_time()):
            return
        self._line[pace] = trio.Event()
        try:
            while not self.has_room(pace, now := trio.current_time()):
                with trio.move_on_at(pace.free_at if pace.free_at > now else math.inf):
                    await self._line[pace].wait()
                self._line[pace] = trio.Event()
        finally:
            del self._line[pace]
            # There may be room for another, who looks when this one has sent.
            first = self._first()
            if first is not None:
                self._line[first].set()

    def _first(self, otherwise: Pace | None = None) -> Pace | None:
        """Who may send ahead of its pace before all others."""
        return next((pace for pace in self._line if pace.understood), otherwise)

    def said(self, row: Listen, pace: Pace, now: float) -> None:
        """A session sends a row."""
        size = 0 if row.samples is None else len(row.samples)
        seconds = max(size / SAMPLE_RATE, ROW_SECONDS)
        if pace.free_at <= now:
            pace.said(seconds, now)
        elif self._received:
            pace.hurried(seconds)
            self._ahead += seconds
            self._leaving += seconds

    # --- what becomes of it -----------------------------------------------------------------

    def sent(self, number: int, now: float) -> None:
        """A message has left, with all that was said before."""
        if self._received:
            self._under_way.append((number, now, self._leaving))
            self._leaving = 0.0

    def acknowledged(self, node: str, input_id: str, received: int, now: float) -> None:
        """A node has received everything up to a number."""
        link = (node, input_id)
        if received <= self._received.get(link, received):
            return
        self._received[link] = received
        taken = min(self._received.values())
        while self._under_way and self._under_way[0][0] <= taken:
            _, left_at, ahead = self._under_way.popleft()
            if ahead:
                self._ahead = max(self._ahead - ahead, 0.0)
                self._adapt(ahead, now - left_at)
        self.stir()

    def stir(self) -> None:
        """Have those who wait look again."""
        for woken in self._line.values():
            woken.set()

    def _adapt(self, seconds: float, took: float) -> None:
        # More by a part of what went through in time, half as much where it did not.
        room = self._room + seconds / 4 if took < SLUGGISH else self._room / 2
        self._room = min(max(room, NARROW), WIDE)
