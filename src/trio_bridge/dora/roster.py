"""Who is in a pool: its instances, the variants they are of, and who waits for which of them.

It decides who gets a place, what is started next, what is stopped; it starts and stops nothing.
All variants share one budget of instances. They take turns as their sessions came: where there
is no room for the next instance, one that nobody uses is set aside for it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

import trio
from attrs import define, field, frozen

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backoff import MOST, Backoff
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import Choice
from trio_bridge.errors import BackendUnavailable


class Served(Protocol):
    """What the pool asks of an instance; see `dora.instance.Instance`."""

    @property
    def name(self) -> str: ...
    @property
    def warm(self) -> bool: ...
    @property
    def sessions(self) -> int: ...
    @property
    def takes_sessions(self) -> bool: ...
    def join(self, session_id: str) -> BackendSession: ...
    def leave(self, session_id: str) -> None: ...
    async def run(self, startup: float, task_status: trio.TaskStatus[None] = ...) -> None: ...


InstanceT = TypeVar("InstanceT", bound=Served)


@define(eq=False)
class Member(Generic[InstanceT]):
    """An instance in the pool, from its start until nothing is left of it.

    Attributes:
        set_aside: Whether it takes nobody any more, since a session of another variant waits
            for its room. That session may leave; then it takes them again.
        leaving: Whether it is being stopped.
    """

    instance: InstanceT
    variant: Variant[InstanceT]
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    warm_since: float | None = field(default=None, init=False)
    idle_since: float = field(default=math.inf, init=False)
    set_aside: bool = field(default=False, init=False)
    leaving: bool = field(default=False, init=False)

    @property
    def starting(self) -> bool:
        return self.warm_since is None

    @property
    def ending(self) -> bool:
        """Whether its room is soon free."""
        return self.leaving or not (self.starting or self.instance.warm)

    @property
    def ready(self) -> bool:
        """Whether it has a place."""
        serves = not (self.starting or self.leaving or self.set_aside)
        return serves and self.instance.takes_sessions

    @property
    def used(self) -> bool:
        """Whether there are sessions on it that go on."""
        return self.instance.warm and self.instance.sessions > 0

    @property
    def full(self) -> bool:
        return self.instance.warm and not self.instance.takes_sessions

    @property
    def state(self) -> str:
        if self.starting:
            return "starting"
        return "warm" if self.instance.warm and not self.leaving else "stopping"


@frozen(eq=False)
class Place(Generic[InstanceT]):
    """A session's place on an instance."""

    member: Member[InstanceT]
    session_id: str
    session: BackendSession


@define(eq=False)
class Waiter(Generic[InstanceT]):
    """A session in line.

    Attributes:
        number: When it came, compared to others.
        told: Set with its place or its refusal.
    """

    session_id: str
    number: int
    told: trio.Event = field(factory=trio.Event, init=False)
    place: Place[InstanceT] | None = field(default=None, init=False)
    refusal: BackendUnavailable | None = field(default=None, init=False)


@define(eq=False)
class Variant(Generic[InstanceT]):
    """What instances are started with, those in line for them, and how their starts went.

    Attributes:
        choice: The values of a session that its nodes are started with.
        warm: Instances of it with a free place that are kept running.
        problem: What went wrong last, until it runs steadily.
    """

    choice: Choice
    warm: int = 0
    line: deque[Waiter[InstanceT]] = field(factory=deque, init=False)
    backoff: Backoff = field(factory=Backoff, init=False)
    problem: str | None = field(default=None, init=False)

    def failed(self, problem: str, now: float) -> None:
        """An instance of it did not start, or broke before it was steady."""
        self.problem = problem
        self.backoff.failed(now)

    def forget(self, now: float) -> None:
        """Forget the failures, if it is time."""
        self.backoff.forget(now)
        if not self.backoff.failures:
            self.problem = None

    @property
    def forgotten_at(self) -> float:
        """When it is itself forgotten, if nobody wants it until then: not at once after a
        failure, or it would be started as if there had been none."""
        return self.backoff.retry_at + MOST if self.backoff.failures else -math.inf

    def status(self, now: float) -> dict[str, Any]:
        """How its starts went, as JSON for `GET /health`."""
        return {
            "failures": self.backoff.failures,
            "lastFailure": self.problem,
            "retryIn": round(max(self.backoff.retry_at - now, 0.0), 3),
        }


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
        the oldest cannot take: so they are the ones that empty, and can be stopped."""
        kept = self._ready(variant)[: max(variant.warm, 1)]
        return min(kept, key=lambda member: member.instance.sessions, default=None)

    def places(self, variant: Variant[InstanceT]) -> int:
        """How many sessions its instances would take now."""
        each = self._settings.sessions
        return sum(each - member.instance.sessions for member in self._ready(variant))

    def may_wait(self, variant: Variant[InstanceT], now: float, also: int = 0) -> bool:
        """Whether one more place may come than there are sessions that wait for one, and
        `also` so many that will wait: all places that are free will be taken then.

        What others use or wait for is theirs, but for those whose instances do not start."""
        each = self._settings.sessions
        held = sum(
            m.ready or (m.used and m.full) if m.variant is variant else m.used
            for m in self.members
        )
        awaited = sum(
            math.ceil(len(other.line) / each)
            for other in self._variants.values()
            if other is not variant and now >= other.backoff.retry_at
        )
        return len(variant.line) + also < (self.most - held - awaited) * each

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
                else:
                    seen[variant] = len(variant.line)
                seen[variant] += self._settings.sessions
            if seen[variant] >= len(variant.line):
                del seen[variant]
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

    def _forget(self, now: float) -> None:
        used = {self.default, *(member.variant for member in self.members)}
        for variant in self.variants:
            variant.forget(now)
            if variant not in used and not variant.line and now >= variant.forgotten_at:
                del self._variants[variant.choice]

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
            if member.set_aside:
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
        return min((at for at in due if at > now), default=math.inf)

    def _ready(self, variant: Variant[InstanceT]) -> list[Member[InstanceT]]:
        return [member for member in self.members_of(variant) if member.ready]

    def _lacks_warm(self, variant: Variant[InstanceT]) -> bool:
        return len(self._ready(variant)) < variant.warm

    def _beyond_warm(self, member: Member[InstanceT]) -> bool:
        return member.ready and len(self._ready(member.variant)) > member.variant.warm
