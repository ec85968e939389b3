"""What a pool's books hold: instances, their variants, places, and who waits in line."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Generic, Protocol, TypeVar

import trio
from attrs import define, field, frozen

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backoff import MOST, Backoff
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
        kept_since: Since when that keeps sessions of its own variant waiting.
        spared_until: When it may do so again.
        leaving: Whether it is being stopped.
        overdue: Whether it has broken, and been waited for long enough.
    """

    instance: InstanceT
    variant: Variant[InstanceT]
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    warm_since: float | None = field(default=None, init=False)
    idle_since: float = field(default=math.inf, init=False)
    set_aside: bool = field(default=False, init=False)
    kept_since: float = field(default=math.inf, init=False)
    spared_until: float = field(default=-math.inf, init=False)
    leaving: bool = field(default=False, init=False)
    overdue: bool = field(default=False, init=False)

    @property
    def starting(self) -> bool:
        return self.warm_since is None

    @property
    def ending(self) -> bool:
        """Whether its room is soon free."""
        return self.leaving or not (self.starting or self.instance.warm)

    @property
    def has_place(self) -> bool:
        """Whether it has a place, be it set aside or not."""
        return not (self.starting or self.leaving) and self.instance.takes_sessions

    @property
    def ready(self) -> bool:
        """Whether it has a place and gives it."""
        return self.has_place and not self.set_aside

    @property
    def used(self) -> bool:
        """Whether there are sessions on it that go on."""
        return self.instance.warm and self.instance.sessions > 0

    @property
    def draining(self) -> bool:
        """Whether it is set aside while there are sessions on it."""
        return self.set_aside and self.used

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
        missed_until: Until when it counts that a session has waited for it in vain.
    """

    choice: Choice
    warm: int = 0
    line: deque[Waiter[InstanceT]] = field(factory=deque, init=False)
    backoff: Backoff = field(factory=Backoff, init=False)
    problem: str | None = field(default=None, init=False)
    missed_until: float = field(default=-math.inf, init=False)

    @property
    def missed(self) -> bool:
        """Whether a session waits for it, or did lately, and in vain."""
        return bool(self.line) or self.missed_until > -math.inf

    def failed(self, problem: str, now: float) -> None:
        """An instance of it did not start, or broke before it was steady."""
        self.problem = problem
        self.backoff.failed(now)

    def forget(self, now: float) -> None:
        """Forget the failures, and who waited in vain, if it is time."""
        if now >= self.missed_until:
            self.missed_until = -math.inf
        self.backoff.forget(now)
        if not self.backoff.failures:
            self.problem = None

    @property
    def forgotten_at(self) -> float:
        """When it is itself forgotten, if nobody wants it until then: not at once after a
        failure, or it would be started as if there had been none."""
        failure = self.backoff.retry_at + MOST if self.backoff.failures else -math.inf
        return max(failure, self.missed_until)

    def status(self, now: float) -> dict[str, Any]:
        """How its starts went, as JSON for `GET /health`."""
        return {
            "failures": self.backoff.failures,
            "lastFailure": self.problem,
            "retryIn": round(max(self.backoff.retry_at - now, 0.0), 3),
        }
