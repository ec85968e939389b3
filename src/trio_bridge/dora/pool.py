"""The instances of one dataflow: who is placed where, and how many of them run.

`warm` instances that can take a session are kept; as they fill up, others are started in
advance, and those that nobody needs are stopped. A session that finds no place waits in line
while one may yet come. Instances start and stop one at a time on a machine, since each is a
second of work that is taken from the audio of the others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import structlog
import trio
from attrs import define, field, frozen

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backoff import STEADY, Backoff
from trio_bridge.dora.ground import Host
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendUnavailable, BridgeError, DataflowError, RuntimeFailed

RETRY_AFTER = 5.0
"""Seconds after which a client that found all places taken may try again."""

log = structlog.get_logger(__name__)


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
class _Member(Generic[InstanceT]):
    """An instance in the pool, from its start until nothing is left of it."""

    instance: InstanceT
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    warm_since: float | None = field(default=None, init=False)
    idle_since: float = field(default=math.inf, init=False)
    leaving: bool = field(default=False, init=False)

    @property
    def ready(self) -> bool:
        """Whether it has a place."""
        serves = self.warm_since is not None and not self.leaving
        return serves and self.instance.takes_sessions

    @property
    def full(self) -> bool:
        return self.instance.warm and not self.instance.takes_sessions

    @property
    def state(self) -> str:
        if self.warm_since is None:
            return "starting"
        return "warm" if self.instance.warm and not self.leaving else "stopping"


@frozen(eq=False)
class _Place(Generic[InstanceT]):
    member: _Member[InstanceT]
    session_id: str
    session: BackendSession


@define(eq=False)
class _Waiter(Generic[InstanceT]):
    """A session in line."""

    session_id: str
    told: trio.Event = field(factory=trio.Event, init=False)
    place: _Place[InstanceT] | None = field(default=None, init=False)
    refusal: BackendUnavailable | None = field(default=None, init=False)


@define(eq=False)
class Pool(Generic[InstanceT]):
    """Places sessions on instances, and has as many of them as that takes.

    Args:
        settings: How many, and how patient.
        make: A new instance, not yet running.
        host: Where they run.
        nursery: Where their tasks live; its cancellation stops them all.
    """

    _settings: DoraSettings
    _make: Callable[[], InstanceT]
    _host: Host
    _nursery: trio.Nursery
    _members: list[_Member[InstanceT]] = field(factory=list, init=False)
    """In the order of their starts."""

    _waiting: deque[_Waiter[InstanceT]] = field(factory=deque, init=False)
    _backoff: Backoff = field(factory=Backoff, init=False)
    _problem: str | None = field(default=None, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    # --- how it is --------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[InstanceT, ...]:
        """All instances, those that start and stop included, the oldest first."""
        return tuple(member.instance for member in self._members)

    @property
    def states(self) -> tuple[tuple[InstanceT, str], ...]:
        """All instances, each with what it does: `starting`, `warm` or `stopping`."""
        return tuple((member.instance, member.state) for member in self._members)

    @property
    def most(self) -> int:
        """How many instances there may be."""
        return max(self._settings.max_instances, self._settings.warm)

    @property
    def healthy(self) -> bool:
        """Whether an instance is warm, or none need be and none has failed."""
        if any(member.instance.warm for member in self._members):
            return True
        on_demand = self._settings.warm == 0 and self._backoff.failures == 0
        return on_demand and self._host.failure is None

    def status(self) -> dict[str, Any]:
        """Its figures, as JSON for `GET /health`."""
        until_retry = self._backoff.retry_at - trio.current_time()
        return {
            "instances": len(self._members),
            "maxInstances": self.most,
            "sessions": sum(member.instance.sessions for member in self._members),
            "waiting": len(self._waiting),
            "failures": self._backoff.failures,
            "lastFailure": self._problem,
            "retryIn": round(max(until_retry, 0.0), 3),
        }

    # --- sessions ---------------------------------------------------------------------------

    def refusal(self) -> BackendUnavailable | None:
        """Why a session would be refused now; None if it has a place or may yet get one."""
        if self._free() is not None:
            return None
        full = sum(member.full for member in self._members)
        if len(self._waiting) >= (self.most - full) * self._settings.sessions:
            return BackendUnavailable("all places are taken", retry_after=RETRY_AFTER)
        retry_at = max(self._backoff.retry_at, self._host.retry_at)
        until_retry = retry_at - trio.current_time()
        if until_retry > self._settings.wait_timeout:
            words = self._host.failure or f"the dataflow does not start: {self._problem}"
            return BackendUnavailable(words, retry_after=until_retry)
        return None

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
        """A place, at once or after a wait; leaving the context gives it back.

        Raises:
            BackendUnavailable: There is none, and none has come in time.
        """
        place = await self._place(session_id)
        try:
            yield place.session
        finally:
            self._give_back(place)

    async def _place(self, session_id: str) -> _Place[InstanceT]:
        member = self._free()
        if member is not None:
            return self._join(member, session_id)
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        waiter: _Waiter[InstanceT] = _Waiter(session_id)
        self._waiting.append(waiter)
        self._changed.set()
        try:
            with trio.move_on_after(self._settings.wait_timeout):
                await waiter.told.wait()
        except BaseException:
            # A place and the cancellation may come at the same moment.
            if waiter.place is not None:
                self._give_back(waiter.place)
            raise
        finally:
            if not waiter.told.is_set():
                self._waiting.remove(waiter)
        if waiter.place is not None:
            return waiter.place
        waited = self._settings.wait_timeout
        raise waiter.refusal or BackendUnavailable(
            f"no place came free in {waited:g} s", retry_after=RETRY_AFTER
        )

    def _free(self) -> _Member[InstanceT] | None:
        """Sessions are spread over the oldest, as many as are kept warm. Those beyond get what
        the oldest cannot take: so they are the ones that empty, and can be stopped."""
        ready = [member for member in self._members if member.ready]
        kept = ready[: max(self._settings.warm, 1)]
        return min(kept, key=lambda member: member.instance.sessions, default=None)

    def _join(self, member: _Member[InstanceT], session_id: str) -> _Place[InstanceT]:
        place = _Place(member, session_id, member.instance.join(session_id))
        member.idle_since = math.inf
        self._changed.set()
        return place

    def _give_back(self, place: _Place[InstanceT]) -> None:
        place.member.instance.leave(place.session_id)
        if not place.member.instance.sessions:
            place.member.idle_since = trio.current_time()
        self._hand_out()
        self._changed.set()

    def _hand_out(self) -> None:
        """Give those in line what places there are."""
        while self._waiting and (member := self._free()) is not None:
            waiter = self._waiting.popleft()
            try:
                waiter.place = self._join(member, waiter.session_id)
            except BackendUnavailable as exc:
                waiter.refusal = exc
            waiter.told.set()

    # --- instances --------------------------------------------------------------------------

    async def fill(self) -> None:
        """Start the instances that are kept warm.

        Raises:
            DataflowError: One did not come up.
            RuntimeFailed: The runtime died.
        """
        for _ in range(self._settings.warm):
            await self._start_one()

    async def tend(self) -> None:
        """Start, replace and stop instances as needed; runs until cancelled."""
        while True:
            # Renewed before the look, so that what happens during it is looked at again.
            self._changed = trio.Event()
            now = trio.current_time()
            self._backoff.forget(now)
            if not self._backoff.failures:
                self._problem = None
            if self._lacking and now >= self._backoff.retry_at:
                await self._try_one()
            elif (member := self._surplus(now)) is not None:
                await self._stop_one(member)
            else:
                with trio.move_on_at(self._due()):
                    await self._changed.wait()

    @property
    def _ready(self) -> int:
        return sum(member.ready for member in self._members)

    @property
    def _lacking(self) -> bool:
        """Whether one more instance is wanted and may be had."""
        wanted = self._ready < self._settings.warm or bool(self._waiting)
        return wanted and len(self._members) < self.most

    def _surplus(self, now: float) -> _Member[InstanceT] | None:
        """The youngest instance that nobody has needed for long."""
        if self._ready <= self._settings.warm:
            return None
        limit = self._settings.idle_stop
        idle = (m for m in reversed(self._members) if m.ready and now >= m.idle_since + limit)
        return next(idle, None)

    def _due(self) -> float:
        """When there is something to do, if nothing happens until then."""
        due = [self._backoff.steady_at]
        if self._lacking:
            due.append(self._backoff.retry_at)
        if self._ready > self._settings.warm:
            limit = self._settings.idle_stop
            due += [member.idle_since + limit for member in self._members if member.ready]
        return min(due)

    async def _try_one(self) -> None:
        try:
            await self._start_one()
        except RuntimeFailed as exc:
            # No fault of the dataflow: the host, once it runs again, lets it start.
            log.warning("an instance did not come up", error=str(exc))
        except BridgeError as exc:
            self._failed(str(exc))
            log.error(
                "an instance did not come up",
                error=str(exc),
                node=exc.node if isinstance(exc, DataflowError) else None,
                output=exc.log if isinstance(exc, DataflowError) else "",
                failures=self._backoff.failures,
                retry_in=round(self._backoff.retry_at - trio.current_time(), 1),
            )
        except Exception as exc:
            # A full disk, no more files or processes: those who are being served go on.
            self._failed(f"it could not be started: {exc!r}")
            log.exception("an instance did not come up")

    async def _start_one(self) -> None:
        async with self._host.changing:
            member = _Member(self._make())
            await self._nursery.start(self._run, member)
            if member.ended.is_set():
                self._failed("it broke as soon as it was warm")
                return
            member.warm_since = member.idle_since = trio.current_time()
            self._backoff.started(member.warm_since)
            self._hand_out()

    async def _stop_one(self, member: _Member[InstanceT]) -> None:
        async with self._host.changing:
            # It may have been needed while others had the turn.
            if self._surplus(trio.current_time()) is member:
                log.info("an idle instance is stopped", dataflow=member.instance.name)
                member.leaving = True
                member.scope.cancel()
                await member.ended.wait()

    async def _run(
        self,
        member: _Member[InstanceT],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._members.append(member)
        try:
            with member.scope:
                await member.instance.run(self._settings.startup_timeout, task_status)
        except Exception:
            if member.warm_since is None:
                raise
            # What nobody thought of ends this instance alone.
            log.exception("an instance failed", dataflow=member.instance.name)
        finally:
            self._members.remove(member)
            member.ended.set()
            if member.warm_since is not None and not member.leaving:
                self._broke(member.warm_since)
            self._changed.set()

    def _broke(self, warm_since: float) -> None:
        if trio.current_time() - warm_since < STEADY:
            self._failed("it broke soon after its start")

    def _failed(self, problem: str) -> None:
        self._problem = problem
        self._backoff.failed(trio.current_time())
