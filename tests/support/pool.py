"""A pool over instances that are told what to do, for a virtual clock."""

from __future__ import annotations

import errno
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from trio_bridge.backend import BackendSession
from trio_bridge.dora.pool import Pool
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import Choice
from trio_bridge.errors import BackendUnavailable, DataflowError

START = 2.0
"""Seconds that a start takes."""

STOP = 0.5
"""Seconds that a stop takes."""


@define(eq=False)
class Machine:
    """Where the instances run. Notices when more than one starts or stops."""

    failure: str | None = None
    retry_at: float = -math.inf
    changing: trio.Lock = field(factory=trio.Lock)
    failing: int = 0
    """So many of the next starts fail."""

    full: int = 0
    """At so many of the next starts the disk is full."""

    fleeting: int = 0
    """So many of the next instances break the moment they are warm."""

    hopeless: set[Choice] = field(factory=set)
    """What can never be started."""

    made: list[FakeInstance] = field(factory=list)
    starts: list[float] = field(factory=list)
    busy: int = 0
    busiest: int = 0
    disturbed: set[str] = field(factory=set)
    """Sessions whose instance was stopped under them."""

    clearing: float = STOP
    """Seconds that the end of a broken one takes."""

    closing: bool = False
    running: int = 0
    most_running: int = 0

    def make(self, choice: Choice = ()) -> FakeInstance:
        instance = FakeInstance(f"i{len(self.made)}", self, choice)
        self.made.append(instance)
        return instance


@define(eq=False)
class FakeInstance:
    name: str
    _machine: Machine
    choice: Choice = ()
    capacity: int = 0
    warm: bool = False
    on: set[str] = field(factory=set)
    broken: trio.Event = field(factory=trio.Event)
    error: Exception | None = None
    gone: bool = False

    @property
    def sessions(self) -> int:
        return len(self.on)

    @property
    def takes_sessions(self) -> bool:
        return self.warm and self.sessions < self.capacity

    def join(self, session_id: str) -> BackendSession:
        assert self.takes_sessions
        assert session_id not in self.on
        self.on.add(session_id)
        return cast("BackendSession", self)

    def leave(self, session_id: str) -> None:
        self.on.remove(session_id)

    def fail(self, error: Exception | None = None) -> None:
        self.warm = False
        self.error = error
        self.broken.set()

    async def run(
        self, startup: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        machine = self._machine
        machine.starts.append(trio.current_time())
        if machine.full:
            machine.full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        machine.running += 1
        machine.most_running = max(machine.most_running, machine.running)
        try:
            await self._work(START)
            if machine.failing or self.choice in machine.hopeless:
                machine.failing = max(machine.failing - 1, 0)
                raise DataflowError("node 'x' failed", node="x")
            self.warm = True
            task_status.started()
            if machine.fleeting:
                machine.fleeting -= 1
                self.gone = True
                return
            await self.broken.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.warm = False
            with trio.CancelScope(shield=True):
                # What a broken one does to end is not the pool's to time.
                if self.gone:
                    pass
                elif self.broken.is_set():
                    await trio.sleep(machine.clearing)
                else:
                    if not machine.closing:
                        machine.disturbed |= self.on
                    await self._work(STOP)
            machine.running -= 1

    async def _work(self, seconds: float) -> None:
        machine = self._machine
        machine.busy += 1
        machine.busiest = max(machine.busiest, machine.busy)
        try:
            await trio.sleep(seconds)
        finally:
            machine.busy -= 1


@define(eq=False)
class House:
    """A pool, and sessions that come and go at a word."""

    machine: Machine
    pool: Pool[FakeInstance]
    nursery: trio.Nursery
    served: dict[str, float] = field(factory=dict)
    refused: dict[str, tuple[float, BackendUnavailable]] = field(factory=dict)
    came: dict[str, float] = field(factory=dict)
    scopes: dict[str, trio.CancelScope] = field(factory=dict)
    """Of those who are there, in the order in which they came."""

    wishes: dict[str, Choice] = field(factory=dict)

    async def come(self, name: str, choice: Choice = ()) -> None:
        self.rush_in(name, choice)
        await wait_all_tasks_blocked()

    def rush_in(self, name: str, choice: Choice = ()) -> None:
        """Come, before anybody else has heard of it."""
        self.came[name] = trio.current_time()
        self.wishes[name] = choice
        self.scopes[name] = trio.CancelScope()
        self.nursery.start_soon(self._visit, name)

    async def _visit(self, name: str) -> None:
        choice = self.wishes[name]
        with self.scopes[name]:
            try:
                async with self.pool.session(name, choice) as served_by:
                    assert cast("FakeInstance", served_by).choice == choice
                    self.served[name] = trio.current_time()
                    await trio.sleep_forever()
            except BackendUnavailable as exc:
                self.refused[name] = (trio.current_time(), exc)
        del self.scopes[name]

    async def go(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    @property
    def waiting(self) -> list[str]:
        """Who waits, in the order in which they came."""
        return [name for name in self.scopes if name not in self.served]

    def waited(self, name: str) -> float:
        return self.served[name] - self.came[name]

    @property
    def loads(self) -> list[int]:
        """Sessions on each warm instance, the oldest first."""
        return [i.sessions for i, state in self.pool.states if state == "warm"]


@asynccontextmanager
async def open_house(
    machine: Machine | None = None, default: Choice = (), **given_settings: float
) -> AsyncGenerator[House, None]:
    machine = machine or Machine()
    chosen = DoraSettings(**given_settings)  # type: ignore[arg-type]

    def make(choice: Choice) -> FakeInstance:
        instance = machine.make(choice)
        instance.capacity = chosen.sessions
        return instance

    async with trio.open_nursery() as nursery:
        pool = Pool(chosen, make, machine, nursery, default)
        await pool.fill()
        nursery.start_soon(pool.tend)
        await wait_all_tasks_blocked()
        yield House(machine, pool, nursery)
        machine.closing = True
        nursery.cancel_scope.cancel()
    assert not machine.disturbed
    assert not pool.instances
    assert not any(instance.on for instance in machine.made)
