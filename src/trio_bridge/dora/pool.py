"""The instances of one dataflow: who is placed where, and how many of them run.

`warm` instances of the default variant that can take a session are kept; as they fill up,
others are started in advance, and those that nobody needs are stopped. A session that finds no
place waits in line while one may yet come. What is decided is in `roster.py`; here it is done,
by one task whatever the number of variants. Instances start and stop one at a time on a
machine, since each is a second of work that is taken from the audio of the others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, Generic

import structlog
import trio
from attrs import define, field

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backoff import STEADY
from trio_bridge.dora.entries import InstanceT, Member, Place, Variant
from trio_bridge.dora.roster import Roster
from trio_bridge.dora.runtimes.ground import Host
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import Choice
from trio_bridge.errors import BackendUnavailable, BridgeError, DataflowError, RuntimeFailed

RETRY_AFTER = 5.0
"""Seconds after which a client that found all places taken may try again."""

_NOBODY: Final[Mapping[Choice, int]] = MappingProxyType({})

CLEARED_WITHIN = 2.0
"""Seconds that a start waits for instances that have broken; 0.3 s are usual."""

log = structlog.get_logger(__name__)


@define(eq=False)
class Pool(Generic[InstanceT]):
    """Places sessions on instances, and has as many of them as that takes.

    Args:
        settings: How many, and how patient.
        make: A new instance of a variant, not yet running.
        host: Where they run.
        nursery: Where their tasks live; its cancellation stops them all.
        default: The variant that is kept warm.
    """

    _settings: DoraSettings
    _make: Callable[[Choice], InstanceT]
    _host: Host
    _nursery: trio.Nursery
    _default: Choice = ()
    _roster: Roster[InstanceT] = field(init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)
    _stopped_one: bool = field(default=False, init=False)
    """Whether one was stopped as it should be, and none has become warm since."""

    def __attrs_post_init__(self) -> None:
        default: Variant[InstanceT] = Variant(self._default, self._settings.warm)
        self._roster = Roster(self._settings, default)

    # --- how it is --------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[InstanceT, ...]:
        """All instances, those that start and stop included, the oldest first."""
        return tuple(member.instance for member in self._roster.members)

    @property
    def states(self) -> tuple[tuple[InstanceT, str], ...]:
        """All instances, each with what it does: `starting`, `warm` or `stopping`."""
        return tuple((member.instance, member.state) for member in self._roster.members)

    @property
    def most(self) -> int:
        """How many instances there may be."""
        return self._roster.most

    @property
    def healthy(self) -> bool:
        """Whether an instance is warm, or none need be and the default has not failed."""
        if any(member.instance.warm for member in self._roster.members):
            return True
        need_not_be = self._settings.warm == 0 or self._stopped_one
        failed = self._roster.default.backoff.failures > 0 or self._host.failure is not None
        return need_not_be and not failed

    def status(self) -> dict[str, Any]:
        """Its figures, as JSON for `GET /health`. Failures are those of the variant that has
        most; where there may be several variants, each has its own figures as well."""
        now, roster = trio.current_time(), self._roster
        worst = max(roster.variants, key=lambda variant: variant.backoff.failures)
        status: dict[str, Any] = {
            "instances": len(roster.members),
            "maxInstances": self.most,
            "sessions": sum(member.instance.sessions for member in roster.members),
            "waiting": roster.waiting,
            **worst.status(now),
        }
        if self._default:
            status["variants"] = [self._of(variant, now) for variant in roster.variants]
        return status

    def _of(self, variant: Variant[InstanceT], now: float) -> dict[str, Any]:
        members = self._roster.members_of(variant)
        return {
            "values": dict(variant.choice),
            "instances": len(members),
            "sessions": sum(member.instance.sessions for member in members),
            "waiting": len(variant.line),
            **variant.status(now),
        }

    # --- sessions ---------------------------------------------------------------------------

    def refusal(
        self, choice: Choice = (), ahead: Mapping[Choice, int] = _NOBODY
    ) -> BackendUnavailable | None:
        """Why a session would be refused now, behind those `ahead` of it that have not asked
        yet, so many for each choice; None if it has a place or may yet get one."""
        variant = self._roster.variant(choice)
        if ahead.get(choice, 0) < self._roster.places(variant):
            return None
        now = trio.current_time()
        if not self._roster.may_wait(variant, now, ahead):
            words = f"all places are taken{self._by_others(variant)}"
            return BackendUnavailable(words, retry_after=RETRY_AFTER)
        until_retry = max(variant.backoff.retry_at, self._host.retry_at) - now
        if until_retry > self._settings.wait_timeout:
            words = self._host.failure or f"the dataflow does not start: {variant.problem}"
            return BackendUnavailable(words, retry_after=until_retry)
        return None

    def _why_in_vain(self, variant: Variant[InstanceT]) -> str:
        if self._host.failure is not None:
            return self._host.failure
        warm = any(member.instance.warm for member in self._roster.members_of(variant))
        if variant.problem is not None and not warm:
            return f"the dataflow does not start: {variant.problem}"
        waited = f"no place came free in {self._settings.wait_timeout:g} s"
        return f"{waited}{self._by_others(variant)}"

    def _by_others(self, variant: Variant[InstanceT]) -> str:
        """Words on how many instances other variants have, where they have some."""
        others = len(self._roster.members) - len(self._roster.members_of(variant))
        if not others:
            return ""
        values = ", ".join(f"{name}={value}" for name, value in variant.choice)
        return f": {others} of {self.most} instances serve others than {values}"

    @asynccontextmanager
    async def session(
        self, session_id: str, choice: Choice = ()
    ) -> AsyncGenerator[BackendSession, None]:
        """A place, at once or after a wait; leaving the context gives it back.

        Raises:
            BackendUnavailable: There is none, and none has come in time.
        """
        place = await self._place(session_id, choice)
        try:
            yield place.session
        finally:
            self._give_back(place)

    async def _place(self, session_id: str, choice: Choice) -> Place[InstanceT]:
        variant = self._roster.variant(choice)
        member = self._roster.free(variant)
        if member is not None:
            place = self._roster.join(member, session_id)
            self._changed.set()
            return place
        refusal = self.refusal(choice)
        if refusal is not None:
            raise refusal
        waiter = self._roster.enter(variant, session_id)
        self._settle()
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
                variant.line.remove(waiter)
                self._settle()
        if waiter.place is not None:
            return waiter.place
        self._roster.missed(variant, trio.current_time())
        raise waiter.refusal or BackendUnavailable(
            self._why_in_vain(variant), retry_after=RETRY_AFTER
        )

    def _give_back(self, place: Place[InstanceT]) -> None:
        self._roster.leave(place, trio.current_time())
        self._settle()

    def _settle(self) -> None:
        """In the step in which something happens, so that no place is ever beside the line."""
        self._roster.settle(trio.current_time())
        self._changed.set()

    # --- instances --------------------------------------------------------------------------

    async def fill(self) -> None:
        """Start the instances that are kept warm.

        Raises:
            DataflowError: One did not come up.
            RuntimeFailed: The runtime died.
        """
        for _ in range(self._settings.warm):
            async with self._host.changing:
                await self._start(self._roster.default)

    async def tend(self) -> None:
        """Start, replace and stop instances as needed; runs until cancelled."""
        roster = self._roster
        while True:
            # Renewed before the look, so that what happens during it is looked at again.
            self._changed = trio.Event()
            now = trio.current_time()
            roster.settle(now)
            if roster.wanted(now) is None and roster.surplus(now) is None:
                with trio.move_on_at(roster.due(now)):
                    await self._changed.wait()
            else:
                await self._cleared()
                async with self._host.changing:
                    await self._change()

    async def _cleared(self) -> None:
        """Wait until what has broken is cleared away, or the machine would have that to do and
        a start at once. One that takes long is not waited for again."""
        slow = [each for each in self._roster.members if each.ending and not each.overdue]
        with trio.move_on_after(CLEARED_WITHIN):
            for broken in slow:
                await broken.ended.wait()
        for broken in slow:
            broken.overdue = True

    async def _change(self) -> None:
        """Start or stop what is wanted now: it may be another, or none, than before others had
        their turn."""
        now = trio.current_time()
        self._roster.settle(now)
        if (variant := self._roster.wanted(now)) is not None:
            await self._try(variant)
        elif (member := self._roster.surplus(now)) is not None:
            await self._stop(member)

    async def _try(self, variant: Variant[InstanceT]) -> None:
        try:
            await self._start(variant)
        except RuntimeFailed as exc:
            # A host that is down lets it start once it runs again. One that is not, and could
            # not do it all the same, is not to be asked at once, over and over.
            if self._host.failure is None:
                self._roster.failed(variant, str(exc), trio.current_time())
            log.warning("an instance did not come up", error=str(exc))
        except BridgeError as exc:
            variant = self._roster.failed(variant, str(exc), trio.current_time())
            log.error(
                "an instance did not come up",
                error=str(exc),
                node=exc.node if isinstance(exc, DataflowError) else None,
                output=exc.log if isinstance(exc, DataflowError) else "",
                failures=variant.backoff.failures,
                retry_in=round(variant.backoff.retry_at - trio.current_time(), 1),
                **dict(variant.choice),
            )
        except Exception as exc:
            # A full disk, no more files or processes: those who are being served go on.
            words = f"it could not be started: {exc!r}"
            self._roster.failed(variant, words, trio.current_time())
            log.exception("an instance did not come up")

    async def _start(self, variant: Variant[InstanceT]) -> None:
        member = Member(self._make(variant.choice), variant)
        # Before its task runs: from now on it has its part of the budget.
        self._roster.members.append(member)
        await self._nursery.start(self._run, member)
        now = trio.current_time()
        if member.ended.is_set():
            self._roster.failed(variant, "it broke as soon as it was warm", now)
            return
        self._roster.started(member, now)
        self._stopped_one = False
        self._settle()

    async def _stop(self, member: Member[InstanceT]) -> None:
        log.info("an idle instance is stopped", dataflow=member.instance.name)
        member.leaving = self._stopped_one = True
        member.scope.cancel()
        await member.ended.wait()

    async def _run(
        self,
        member: Member[InstanceT],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with member.scope:
                await member.instance.run(self._settings.startup_timeout, task_status)
        except Exception:
            if member.starting:
                raise
            # What nobody thought of ends this instance alone.
            log.exception("an instance failed", dataflow=member.instance.name)
        finally:
            self._roster.members.remove(member)
            member.ended.set()
            if member.warm_since is not None and not member.leaving:
                self._broke(member.variant, member.warm_since)
            self._settle()

    def _broke(self, variant: Variant[InstanceT], warm_since: float) -> None:
        now = trio.current_time()
        if now - warm_since < STEADY:
            self._roster.failed(variant, "it broke soon after its start", now)
