"""A runtime that is always there: when coordinator or daemon dies, another takes its place.

All that ran on the old one has gone with it. The pools start their instances anew as soon as
they may, which is what `changing` says: the supervisor holds it while there is no runtime.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.backoff import STEADY, Backoff
from trio_bridge.dora.runtimes.runtime import Runtime, open_runtime
from trio_bridge.errors import RuntimeFailed

log = structlog.get_logger(__name__)


@define(eq=False)
class Supervisor:
    """The runtimes of a bridge, one after the other; see `Grounds`.

    The first that dies is replaced at once, others that died soon after their start later and
    later.

    Attributes:
        changing: Held while an instance starts or stops, one at a time whatever its dataflow,
            and while there is no runtime.
    """

    changing: trio.Lock = field(factory=trio.Lock, init=False)
    _runtime: Runtime | None = field(default=None, init=False)
    _failure: str | None = field(default=None, init=False)
    _last_failure: str | None = field(default=None, init=False)
    _restarts: int = field(default=0, init=False)
    _backoff: Backoff = field(factory=Backoff, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    @property
    def ground(self) -> Runtime:
        """The one that runs, or that has run last."""
        if self._runtime is None:
            raise RuntimeError("no runtime has been started")
        return self._runtime

    @property
    def failure(self) -> str | None:
        """Why there is none, while there is none."""
        return self._failure

    @property
    def retry_at(self) -> float:
        """When one is next started, while there is none."""
        return self._backoff.retry_at if self._failure is not None else -math.inf

    def status(self) -> dict[str, Any]:
        """How it is, as JSON for `GET /health`."""
        until_retry = self.retry_at - trio.current_time()
        return {
            "state": "running" if self._failure is None else "restarting",
            "restarts": self._restarts,
            "lastFailure": self._last_failure,
            "retryIn": round(max(until_retry, 0.0), 3),
        }

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start a runtime and replace it whenever it dies; runs until `close`. A cancellation
        from outside ends only the first start: instances that are cancelled stop on a runtime
        that runs.

        Raises:
            RuntimeFailed: The first one does not come up.
        """
        with self._scope:
            async with open_runtime() as self._runtime:
                # Who is cancelled at this very moment would wait for us, and never close us.
                await trio.lowlevel.checkpoint_if_cancelled()
                self._scope.shield = True
                task_status.started()
                await self._until_failed(self._runtime)
            await self._replace()

    def close(self) -> None:
        """End the runtime. Nobody stands on it any more."""
        self._scope.cancel()

    async def _replace(self) -> None:
        while True:
            try:
                await trio.sleep_until(self._backoff.retry_at)
                async with open_runtime() as self._runtime:
                    self._restarts += 1
                    self._failure = None
                    log.info("dora runs again", restarts=self._restarts)
                    self.changing.release()
                    await self._until_failed(self._runtime)
            except RuntimeFailed as exc:
                self._failed(str(exc))
            except OSError as exc:
                # A full disk, no more files or processes: it may be better later.
                self._failed(f"dora could not be started: {exc}")

    async def _until_failed(self, runtime: Runtime) -> None:
        """Wait for its end, and until nobody starts anything on it any more."""
        began = trio.current_time()
        reason = await runtime.wait_failed()
        now = trio.current_time()
        if now - began >= STEADY:
            self._backoff = Backoff()
            self._backoff.retry_at = now
            self._note(reason)
        else:
            self._failed(reason)
        await self.changing.acquire()

    def _failed(self, reason: str) -> None:
        self._backoff.failed(trio.current_time())
        self._note(reason)

    def _note(self, reason: str) -> None:
        self._failure = self._last_failure = reason
        retry_in = max(self.retry_at - trio.current_time(), 0.0)
        log.error("dora is restarted", reason=reason, retry_in=round(retry_in, 1))


@asynccontextmanager
async def open_supervisor() -> AsyncGenerator[Supervisor, None]:
    """Start a runtime and keep one running; leaving the context ends it.

    Raises:
        RuntimeFailed: There is no `dora` program, or the first runtime does not come up.
    """
    supervisor = Supervisor()
    failure: RuntimeFailed | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(supervisor.run)
        except RuntimeFailed as exc:
            # Raised outside the nursery, which would wrap it.
            failure = exc
        else:
            try:
                yield supervisor
            finally:
                supervisor.close()
    if failure is not None:
        raise failure
