"""Utterances that wait for a recogniser, and whose turn it is when one is free.

**Sessions take turns.** Each is charged the audio that it gives to recognisers, and whoever has
been charged least is next: self-clocked fair queueing. Within a session the order stays as it
is. A session that comes back after a while begins where the others are: not in debt for what it
had while nobody else wanted it, nor with something saved up. So nobody starves: those who wait
get the same, up to an utterance each and twice `WEIGHED` seconds.

**Speech comes before what is uploaded.** Audio that comes faster than people speak is in a
*hurry*. Recognising it takes a whole processor, while speech that comes as it is spoken leaves
its recogniser idle most of the time. So at most half of the recognisers are given to it, which
is as much as the processors can do; the others remain for those who speak. What is in a hurry
comes after all others until it is complete, or long: with a recogniser it would only wait for
its own rest.

**Who has most waiting pays.** If more waits than can be kept, the session with most of it loses
its latest utterance.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import trio
from attrs import define, field

BYTES_PER_SECOND: Final = 32_000

WAITING_EACH: Final = 60 * BYTES_PER_SECOND
"""Audio that one utterance may have waiting: as long as the longest turn."""

WAITING_ALL: Final = 600 * BYTES_PER_SECOND
"""Audio that all utterances together may have waiting, 19 MB. Beyond that the machine is not
late but too small, and says so."""

WEIGHED: Final = 1.0
"""Seconds of an utterance that count for when its turn comes: of those who come at once the
shortest is first. No more, since nobody knows how long one that is being spoken will be; twice
as much of what is in a hurry, so that speech comes before it at any length."""

STEP: Final = 0.02
"""Seconds that each turn costs those who come later at the least. Otherwise sessions that come
with a word and go would be first for ever."""

PACE: Final = 1.25
"""Seconds of audio a second that are no hurry: clocks are not all alike."""

HURRY: Final = 2.0
"""Seconds ahead of its pace from which on audio is in a hurry. What a network or a busy machine
held up comes as fast, and is less."""

REMEMBERED: Final = 10.0
"""Seconds for which a session is in a hurry, at the most, after it was."""

LONG: Final = 10 * BYTES_PER_SECOND
"""Audio with which an utterance in a hurry takes its turn before it is complete."""


@define(eq=False)
class Talker:
    """One session: what it has had, and what of it waits."""

    charged: float = 0.0
    """Seconds that it has had, on a scale that begins where all others were when it came."""
    due: float = -math.inf
    """When all of its audio would have been said, at `PACE`."""
    waiting: int = 0
    """Bytes, with a recogniser or without."""
    utterances: list[Utterance] = field(factory=list)
    """Those that may have audio waiting, in the order in which they began."""
    queue: deque[Utterance] = field(factory=deque)
    """Those that have had no turn."""


@define(eq=False)
class Utterance:
    """Audio on its way to a transcript. Make one with `Turns.begin`."""

    session_id: str
    utterance_id: str
    settings: Mapping[str, Any]
    talker: Talker
    item_id: str | None = None
    ended: bool = False
    dropped: bool = False
    over: bool = False
    """Its transcript is there, or has failed: what still comes is ignored."""
    failure: tuple[str, str] | None = None
    """Code and message, kept until it ends: only then is it known whose item it is."""
    asked: float = math.inf
    """When there was something to recognise first."""
    waited: float = 0.0
    size: int = 0
    """Bytes that it has had so far."""
    hurried: bool = False
    pending: bytearray = field(factory=bytearray)
    changed: trio.Event = field(factory=trio.Event)

    def wake(self) -> None:
        """Have the task that feeds its recogniser look again."""
        self.changed.set()
        self.changed = trio.Event()

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self.size / BYTES_PER_SECOND

    @property
    def ready(self) -> bool:
        """Whether a recogniser would have something to do."""
        return self.ended or bool(self.pending)

    @property
    def postponed(self) -> bool:
        """Whether a recogniser had better wait until there is more."""
        return self.hurried and not self.ended and len(self.pending) < LONG


@define(eq=False)
class Turns:
    """All utterances without a transcript.

    Args:
        workers: The most recognisers that there will be.
    """

    workers: int
    waiting: int = field(default=0, init=False)
    """Bytes that wait, with a recogniser or without."""
    _talkers: dict[str, Talker] = field(factory=dict, init=False)
    _heard: set[Utterance] = field(factory=set, init=False)
    """Those that have a recogniser."""
    _charged: float = field(default=0.0, init=False)
    """Where a session begins that comes now."""

    @property
    def for_hurried(self) -> int:
        """The most recognisers for audio that comes faster than people speak."""
        return (self.workers + 1) // 2

    @property
    def queued(self) -> int:
        """Utterances that would take a recogniser if there were more of them."""
        most = self.for_hurried - self._hurried_now()
        heads = [u for talker in self._talkers.values() for u in talker.queue if u.ready]
        hurried = sum(utterance.hurried for utterance in heads)
        return len(heads) - max(hurried - max(most, 0), 0)

    # --- what sessions say ------------------------------------------------------------------

    def begin(
        self, session_id: str, utterance_id: str, settings: Mapping[str, Any]
    ) -> Utterance:
        """An utterance begins. It has no turn before there is something to recognise."""
        talker = self._talkers.setdefault(session_id, Talker())
        if not talker.utterances:
            talker.charged = max(talker.charged, self._charged)
        utterance = Utterance(session_id, utterance_id, settings, talker)
        talker.utterances.append(utterance)
        talker.queue.append(utterance)
        return utterance

    def refused(self, utterance: Utterance, size: int) -> Utterance | None:
        """Which utterance has to go before another can have so many bytes more: perhaps itself,
        None if there is room."""
        if len(utterance.pending) + size > WAITING_EACH:
            return utterance
        if self.waiting + size <= WAITING_ALL:
            return None
        mine = utterance.talker
        most = max(self._talkers.values(), key=lambda talker: talker.waiting)
        if mine.waiting + size >= most.waiting:
            return utterance
        return next(u for u in reversed(most.utterances) if u.pending)

    def add(self, utterance: Utterance, pcm: bytes, now: float) -> bool:
        """More audio of an utterance; whether it can have its turn from now on."""
        was_ready = utterance.ready
        talker, seconds = utterance.talker, len(pcm) / BYTES_PER_SECOND
        ahead = min(max(talker.due - now, 0.0), REMEMBERED) + seconds / PACE
        talker.due = now + ahead
        utterance.hurried |= ahead > HURRY
        utterance.pending += pcm
        utterance.size += len(pcm)
        self._count(utterance, len(pcm))
        utterance.asked = min(utterance.asked, now)
        if utterance in self._heard:
            talker.charged += seconds
            return False
        return utterance.ready and not was_ready

    def end(self, utterance: Utterance, now: float) -> bool:
        """All its audio is there; whether it can have its turn from now on."""
        was_ready = utterance.ready
        utterance.ended = True
        utterance.asked = min(utterance.asked, now)
        return utterance not in self._heard and not was_ready

    def close(self, session_id: str) -> list[Utterance]:
        """A session has ended; gives its utterances, which are to be dropped."""
        talker = self._talkers.pop(session_id, None)
        return [] if talker is None else list(talker.utterances)

    # --- what becomes of it -----------------------------------------------------------------

    def next(self, now: float) -> Utterance | None:
        """Whose turn it is; None if nobody may have the recogniser that is free."""
        may_hurry = self._hurried_now() < self.for_hurried
        heads = [talker.queue[0] for talker in self._talkers.values() if talker.queue]
        ready = [u for u in heads if u.ready and (may_hurry or not u.hurried)]
        utterance = min(ready, key=self._turn, default=None)
        if utterance is None:
            return None
        talker = utterance.talker
        passed = max(self._charged + STEP, talker.charged)
        self._charged = min(passed, talker.charged + WEIGHED)
        talker.charged += utterance.seconds
        talker.queue.popleft()
        self._heard.add(utterance)
        utterance.waited = now - utterance.asked
        return utterance

    def put_back(self, utterance: Utterance) -> None:
        """Its recogniser was lost before it began with it."""
        self._heard.discard(utterance)
        if not utterance.over:
            utterance.talker.charged -= utterance.seconds
            utterance.talker.queue.appendleft(utterance)

    def take(self, utterance: Utterance, most: int) -> bytes:
        """The next of its audio, for its recogniser."""
        chunk = bytes(utterance.pending[:most])
        del utterance.pending[:most]
        self._count(utterance, -len(chunk))
        return chunk

    def drop(self, utterance: Utterance) -> None:
        """Its audio is not wanted any more. A recogniser that it has it keeps until `done`."""
        self.take(utterance, len(utterance.pending))
        talker = utterance.talker
        for utterances in (talker.utterances, talker.queue):
            if utterance in utterances:
                utterances.remove(utterance)

    def done(self, utterance: Utterance) -> None:
        """Its recogniser has done with it."""
        self._heard.discard(utterance)
        self.drop(utterance)

    def _count(self, utterance: Utterance, size: int) -> None:
        utterance.talker.waiting += size
        self.waiting += size

    def _hurried_now(self) -> int:
        return sum(utterance.hurried for utterance in self._heard)

    def _turn(self, utterance: Utterance) -> tuple[bool, float, float]:
        most = 2 * WEIGHED if utterance.hurried else WEIGHED
        weighed = min(utterance.seconds, most)
        return utterance.postponed, utterance.talker.charged + weighed, utterance.asked
