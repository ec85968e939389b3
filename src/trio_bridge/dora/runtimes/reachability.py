"""A Dora of somebody else's as the ground of a bridge's dataflows: reached, or out of reach.

What runs goes on as long as it can: a daemon that has lost its coordinator serves for a moment
more, stands still then, and goes on where another coordinator is back within some two seconds.
So only starts have to wait, and the news is kept for those whose instance breaks meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from attrs import define, field

from trio_bridge.alongside import alongside
from trio_bridge.dora.runtimes.existing import ExistingDora, open_existing
from trio_bridge.errors import RuntimeFailed

LOOK_INTERVAL = 5.0
"""Seconds between looks at one that is well. Its death is seen at once, what is no death (a
process that hangs, a network that is gone) by them."""

RETRY_INTERVAL = 1.0
"""Seconds between looks at one that is out of reach."""

DYING = 0.05
"""Seconds in which a process that has closed its connections also lets go of its port."""

log = structlog.get_logger(__name__)


@define(eq=False)
class Reachability:
    """See `Grounds`: no other takes the place of this one.

    Attributes:
        ground: Where the dataflows run.
        changing: Held while an instance starts or stops, one at a time whatever its dataflow,
            and while coordinator or daemon cannot be reached.
        failure: Why none can start, while none can.
    """

    ground: ExistingDora
    changing: trio.Lock = field(factory=trio.Lock, init=False)
    failure: str | None = field(default=None, init=False)
    retry_at: float = field(default=-math.inf, init=False)
    _last_failure: str | None = field(default=None, init=False)
    _restarts: int = field(default=0, init=False)

    def status(self) -> dict[str, Any]:
        """How it is, as JSON for `GET /health`."""
        host, port = self.ground.address
        return {
            "state": "running" if self.failure is None else "unreachable",
            "coordinator": f"{host}:{port}",
            "restarts": self._restarts,
            "lastFailure": self._last_failure,
            "retryIn": round(max(self.retry_at - trio.current_time(), 0.0), 3),
        }

    async def watch(self) -> None:
        """Look whether it is there; runs until cancelled."""
        while True:
            await self._until_gone()
            # What starts now fails by itself, and those who come next wait.
            async with self.changing:
                await self._until_back()

    async def _until_gone(self) -> None:
        there = True
        while there:
            with trio.move_on_after(LOOK_INTERVAL) as interval:
                await self.ground.wait_cut_off()
            await trio.sleep(DYING)
            there = await self._look()
            if there and not interval.cancelled_caught:
                # Another is there already, or one that keeps no silent connections.
                await trio.sleep(RETRY_INTERVAL)

    async def _until_back(self) -> None:
        there = False
        while not there:
            self.retry_at = trio.current_time() + RETRY_INTERVAL
            await trio.sleep_until(self.retry_at)
            there = await self._look()
        self.retry_at = -math.inf
        self._restarts += 1
        log.info("dora can be reached again", restarts=self._restarts)

    async def _look(self) -> bool:
        problem = None
        try:
            await self.ground.check()
        except RuntimeFailed as exc:
            problem = str(exc)
            if self.failure is None:
                log.error("dora cannot be reached", reason=problem)
            self._last_failure = problem
        self.failure = problem
        # Without the advice: it may have to fit into the reason of a close.
        self.ground.trouble = problem and problem.partition(";")[0]
        return problem is None


@asynccontextmanager
async def open_shared(coordinator: str, daemon_port: int) -> AsyncGenerator[Reachability, None]:
    """Use a Dora that runs already; arguments and errors as for `open_existing`."""
    async with open_existing(coordinator, daemon_port) as dora:
        shared = Reachability(dora)
        async with alongside(dora.make_good), alongside(shared.watch):
            yield shared
