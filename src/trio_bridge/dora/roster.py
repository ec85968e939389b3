"""Who is in a pool: its instances, the variants they are of, and who waits for which of them.

It decides who gets a place, what is started next, what is stopped; it starts and stops nothing.
All variants share one budget of instances. They take turns as their sessions came: where there
is no room for the next instance, one is set aside for it, so that it takes no more sessions and
is stopped when it has none. That is one that nobody uses, else one whose variant has places on
another, else, for a variant that has no instance at all and for a limited time, the emptiest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Generic

from attrs import define, field

from trio_bridge.dora.entries import InstanceT, Member, Place, Variant, Waiter
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import Choice
from trio_bridge.errors import BackendUnavailable

KEPT = 0.8
"""Of the time that a session waits at most, the part for which an instance takes nobody for the
sake of another variant: who came for it meanwhile is served in time if that was in vain."""

SPARED = 10
"""So many times as long as sessions were kept off an instance in vain, none are: of the time in
which others hope for its room, its own lose a small part."""

MISSED = 60.0
"""Seconds that a variant counts as missed after a session has waited for it in vain: a client
that was refused asks again by then."""


@define(eq=False)
class Roster(Generic[InstanceT]):
    """The books of a pool; the clock is the caller's.

    Attributes:
        default: The variant that is kept warm.
        members: In the order of their starts.
    """

    _settings: DoraSettings
    default: Variant[InstanceT]
    members: list[Member[InstanceT]] = field(factory=list, init=False)
    _variants: dict[Choice, Variant[InstanceT]] = field(init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    def __attrs_post_init__(self) -> None:
        self._variants = {self.default.choice: self.default}

    @property
    def most(self) -> int:
        """How many instances there may be, of all variants together."""
        return max(self._settings.max_instances, self._settings.warm)

    @property
    def _patience(self) -> float:
        return KEPT * self._settings.wait_timeout

    @property
    def variants(self) -> tuple[Variant[InstanceT], ...]:
        """Those that somebody uses or waits for, or that failed lately; and the default."""
        return tuple(self._variants.values())

    @property
    def waiting(self) -> int:
        return sum(len(variant.line) for variant in self._variants.values())

    def members_of(self, variant: Variant[InstanceT]) -> list[Member[InstanceT]]:
        return [member for member in self.members if member.variant is variant]

    def variant(self, choice: Choice) -> Variant[InstanceT]:
        """The variant of a choice; to ask for it does not keep it."""
        return self._variants.get(choice) or Variant(choice)

    # --- sessions ---------------------------------------------------------------------------

    def free(self, variant: Variant[InstanceT]) -> Member[InstanceT] | None:
        """Sessions are spread over the oldest, as many as are kept warm. Those beyond get what
        the oldest cannot take: so they are the ones that empty, and can be stopped. While
        another variant needs room, the fullest are filled first, so that all others do."""
        ready = self._ready(variant)
        if any(other.missed for other in self._variants.values() if other is not variant):
            return max(ready, key=lambda member: member.instance.sessions, default=None)
        kept = ready[: max(variant.warm, 1)]
        return min(kept, key=lambda member: member.instance.sessions, default=None)

    def places(self, variant: Variant[InstanceT]) -> int:
        """How many sessions its instances would take now."""
        each = self._settings.sessions
        return sum(each - member.instance.sessions for member in self._ready(variant))

    def may_wait(
        self, variant: Variant[InstanceT], now: float, ahead: Mapping[Choice, int]
    ) -> bool:
        """Whether one more place may come than there are sessions that wait for one, or will:
        those `ahead`, so many for each choice, take the places that are free before.

        What others use or wait for is theirs, but for those whose instances do not start, and
        for one instance that may be set aside."""
        each = self._settings.sessions
        held = sum(m.used or (m.ready and m.variant is variant) for m in self.members)
        coming = [self.variant(choice) for choice in ahead if choice not in self._variants]
        awaited = sum(
            math.ceil(max(self._in_line(other, ahead) - self._kept(other), 0) / each)
            for other in (*self._variants.values(), *coming)
            if other.choice != variant.choice and now >= other.backoff.retry_at
        )
        room = self.most - held - awaited
        if room < 1:
            drainable = [m for m in self.members if self._may_drain(m, variant, now)]
            room += sum(not self._filled_by(ahead, m.variant) for m in drainable)
            room = min(room, 1)
        return self._in_line(variant, ahead) < max(room, 0) * each + self._kept(variant)

    def _in_line(self, variant: Variant[InstanceT], ahead: Mapping[Choice, int]) -> int:
        without_place = ahead.get(variant.choice, 0) - self.places(variant)
        return len(variant.line) + max(without_place, 0)

    def _filled_by(self, ahead: Mapping[Choice, int], variant: Variant[InstanceT]) -> bool:
        return 0 < self.places(variant) <= ahead.get(variant.choice, 0)

    def _kept(self, variant: Variant[InstanceT]) -> int:
        """How many places it has again when those others have given up for whom its instances
        are set aside."""
        each = self._settings.sessions
        return sum(each - m.instance.sessions for m in self.members_of(variant) if m.draining)

    def join(self, member: Member[InstanceT], session_id: str) -> Place[InstanceT]:
        """Take a session in.

        Raises:
            BackendUnavailable: The instance does not take it.
        """
        place = Place(member, session_id, member.instance.join(session_id))
        member.idle_since = math.inf
        return place

    def leave(self, place: Place[InstanceT], now: float) -> None:
        """Let a session go."""
        place.member.instance.leave(place.session_id)
        if not place.member.instance.sessions:
            place.member.idle_since = now

    def enter(self, variant: Variant[InstanceT], session_id: str) -> Waiter[InstanceT]:
        """Put a session at the end of its line."""
        self._variants[variant.choice] = variant
        waiter: Waiter[InstanceT] = Waiter(session_id, next(self._numbers))
        variant.line.append(waiter)
        return waiter

    def settle(self, now: float) -> None:
        """Give those in line what places there are, who came first before the others, and set
        instances aside for those who have to wait for room. Forget who is of no use."""
        for member in self.members:
            member.set_aside = False
        room = self.most - sum(not member.ending for member in self.members)
        starting = Counter(member.variant for member in self.members if member.starting)
        # Of each line, how many have what they need: an instance that comes is for several.
        seen = {variant: 0 for variant in self._variants.values() if variant.line}
        while seen:
            variant = min(seen, key=lambda each: each.line[seen[each]].number)
            if not seen[variant] and (free := self.free(variant)) is not None:
                self._serve(variant.line.popleft(), free)
            else:
                if starting[variant]:
                    starting[variant] -= 1
                elif now < variant.backoff.retry_at:
                    seen[variant] = len(variant.line)  # not yet due, it takes no other's room
                elif room > 0:
                    room -= 1
                elif (idle := self._idle_beside(variant)) is not None:
                    idle.set_aside = True
                elif not seen[variant] and (used := self._drainable(variant, now)) is not None:
                    used.set_aside = True
                else:
                    seen[variant] = len(variant.line)
                seen[variant] += self._settings.sessions
            if seen[variant] >= len(variant.line):
                del seen[variant]
        self._count_kept(now)
        self._forget(now)

    def _serve(self, waiter: Waiter[InstanceT], member: Member[InstanceT]) -> None:
        try:
            waiter.place = self.join(member, waiter.session_id)
        except BackendUnavailable as exc:
            waiter.refusal = exc
        waiter.told.set()

    def _idle_beside(self, variant: Variant[InstanceT]) -> Member[InstanceT] | None:
        """The instance of another variant that is missed least: nobody waits for its kind, it
        is not one that is kept warm, it has been idle for the longest time."""
        idle = (m for m in self.members if m.ready and not m.used and m.variant is not variant)
        return min(
            idle,
            key=lambda m: (bool(m.variant.line), m.variant is self.default, m.idle_since),
            default=None,
        )

    def _drainable(self, variant: Variant[InstanceT], now: float) -> Member[InstanceT] | None:
        """The instance of another variant that is best kept from further sessions until it is
        empty: one beside which they find a place, and the emptiest."""
        return min(
            (member for member in self.members if self._may_drain(member, variant, now)),
            key=lambda m: (self._needed(m), m.instance.sessions, m.kept_since),
            default=None,
        )

    def _may_drain(
        self, member: Member[InstanceT], variant: Variant[InstanceT], now: float
    ) -> bool:
        if member.variant is variant or not (member.used and member.has_place):
            return False
        if not self._patience:
            return False  # nobody is there to see it empty
        if not self._needed(member):
            return True
        has_none = all(other.ending for other in self.members_of(variant))
        return has_none and member.spared_until <= now < member.kept_since + self._patience

    def _needed(self, member: Member[InstanceT]) -> bool:
        """Whether its variant has no place without it."""
        return not any(other is not member for other in self._ready(member.variant))

    def _count_kept(self, now: float) -> None:
        """Nobody is kept off an instance for longer than others wait for it, nor again soon."""
        for member in self.members:
            if member.draining and self._needed(member):
                member.kept_since = min(member.kept_since, now)
            elif member.kept_since < math.inf:
                member.spared_until = now + SPARED * (now - member.kept_since)
                member.kept_since = math.inf

    def _forget(self, now: float) -> None:
        used = {self.default, *(member.variant for member in self.members)}
        for variant in self.variants:
            variant.forget(now)
            if variant not in used and not variant.line and now >= variant.forgotten_at:
                del self._variants[variant.choice]

    def missed(self, variant: Variant[InstanceT], now: float) -> None:
        """A session has waited in vain. It is kept in mind also where nobody else waits."""
        variant = self._variants.setdefault(variant.choice, variant)
        variant.missed_until = now + MISSED

    # --- instances --------------------------------------------------------------------------

    def started(self, member: Member[InstanceT], now: float) -> None:
        """An instance is warm. It goes to those it was started for, before anybody who waits
        longer, but whose start was not yet due, can have it set aside."""
        variant = member.variant
        member.warm_since = member.idle_since = now
        variant.backoff.started(now)
        while variant.line and (free := self.free(variant)) is not None:
            self._serve(variant.line.popleft(), free)

    def failed(
        self, variant: Variant[InstanceT], problem: str, now: float
    ) -> Variant[InstanceT]:
        """An instance did not start, or broke before it was steady. It is held against the
        variant also where nobody waits for it any more, and it was forgotten meanwhile.

        Returns:
            The variant of that choice as it is now in the books.
        """
        variant = self._variants.setdefault(variant.choice, variant)
        variant.failed(problem, now)
        return variant

    def wanted(self, now: float) -> Variant[InstanceT] | None:
        """What an instance is to be started of, if one is wanted and may be had: for whoever
        waits longest, else ahead of the sessions to come."""
        if len(self.members) >= self.most:
            return None
        due = [each for each in self._variants.values() if now >= each.backoff.retry_at]
        waited_for = [variant for variant in due if variant.line]
        if waited_for:
            return min(waited_for, key=lambda variant: variant.line[0].number)
        return next((variant for variant in due if self._lacks_warm(variant)), None)

    def surplus(self, now: float) -> Member[InstanceT] | None:
        """What is to be stopped: an instance that was set aside, or the youngest that nobody
        has needed for long."""
        limit = self._settings.idle_stop
        for member in reversed(self.members):
            if member.set_aside and not member.used:
                return member
        for member in reversed(self.members):
            if self._beyond_warm(member) and now >= member.idle_since + limit:
                return member
        return None

    def due(self, now: float) -> float:
        """When there is something to do, if nothing happens until then."""
        due = [member.idle_since for member in self.members if self._beyond_warm(member)]
        due = [since + self._settings.idle_stop for since in due]
        room = len(self.members) < self.most
        for variant in self._variants.values():
            due.append(variant.backoff.steady_at)
            if variant.line or (room and self._lacks_warm(variant)):
                due.append(variant.backoff.retry_at)
            due.append(variant.forgotten_at)
            due.append(variant.missed_until)
        if self.waiting:
            due += [each.kept_since + self._patience for each in self.members]
            due += [each.spared_until for each in self.members]
        return min((at for at in due if at > now), default=math.inf)

    def _ready(self, variant: Variant[InstanceT]) -> list[Member[InstanceT]]:
        return [member for member in self.members_of(variant) if member.ready]

    def _lacks_warm(self, variant: Variant[InstanceT]) -> bool:
        return len(self._ready(variant)) < variant.warm

    def _beyond_warm(self, member: Member[InstanceT]) -> bool:
        return member.ready and len(self._ready(member.variant)) > member.variant.warm
