"""The backend that ships: a dataflow, of which a pool of instances serves the sessions."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import Any

import structlog
import trio
from attrs import evolve, field, frozen

from trio_bridge.backend import Backend, BackendSession
from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS
from trio_bridge.dora.descriptors.dataflow_file import find_dataflow, read_descriptor
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.validation import validate
from trio_bridge.dora.instances.instance import Instance
from trio_bridge.dora.pool import Pool
from trio_bridge.dora.runtimes.ground import Grounds
from trio_bridge.dora.runtimes.reachability import open_shared
from trio_bridge.dora.runtimes.supervision import open_supervisor
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import Choice, allowed_for, choose
from trio_bridge.errors import BackendUnavailable, BridgeError
from trio_bridge.messages import Capabilities

log = structlog.get_logger(__name__)


@frozen
class DoraBackend:
    """Answers sessions with one variant of a Dora dataflow; see `open_dora_backend`. It is only
    a view: what it stands for is in the dataflow's pool, for as long as somebody uses it.

    Attributes:
        pool: Its instances.
        choice: The values that its nodes are started with.
    """

    _descriptor: Descriptor = field(eq=False)
    pool: Pool[Instance]
    _grounds: Grounds = field(eq=False)
    _allowed: Mapping[str, Sequence[str]] = field(eq=False)
    choice: Choice

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend.capabilities`."""
        return self._descriptor.capabilities

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances that there are, of all variants, the oldest first."""
        return self.pool.instances

    @property
    def healthy(self) -> bool:
        """See `Backend.healthy`: whether the dataflow can serve as it is meant to."""
        return self.pool.healthy

    def status(self) -> dict[str, Any]:
        """See `Backend.status`: what carries the dataflow; its pool; every instance, its
        sessions, and what its nodes hold."""
        return {
            "runtime": self._grounds.status(),
            "pools": [{"dataflow": self._descriptor.name, **self.pool.status()}],
            "dataflows": [instance.status(state) for instance, state in self.pool.states],
        }

    def chosen(self, wishes: Mapping[str, str]) -> DoraBackend:
        """See `Backend.chosen`: the one whose nodes are started with these values. Nothing is
        started or kept before a session comes."""
        return evolve(self, choice=choose(self._allowed, wishes))

    async def start(self) -> None:
        """Have Dora check the dataflow, and start the instances that are kept warm.

        Raises:
            DataflowError: It does not pass, or one did not come up.
            RuntimeFailed: The runtime died.
        """
        ground = self._grounds.ground
        filled = self._descriptor.filled(dict(self.choice))
        await validate(filled, ground.directory, ground.validate)
        prepare(ROWS.values())
        await self.pool.fill()

    async def tend(self) -> None:
        """Start, replace and stop instances as needed; runs until cancelled."""
        await self.pool.tend()

    def refusal(self, ahead: Sequence[Backend] = ()) -> BackendUnavailable | None:
        """See `Backend.refusal`. Sessions with other values may want the same room."""
        views = (other for other in ahead if isinstance(other, DoraBackend))
        here = Counter(each.choice for each in views if each.pool is self.pool)
        return self.pool.refusal(self.choice, here)

    def session(self, session_id: str) -> AbstractAsyncContextManager[BackendSession]:
        """See `Backend.session`."""
        return self.pool.session(session_id, self.choice)


@asynccontextmanager
async def open_dora_backend(
    settings: DoraSettings,
    *,
    grounds: Grounds | None = None,
    session_values: Mapping[str, Sequence[str]] | None = None,
) -> AsyncGenerator[DoraBackend, None]:
    """Start the dataflow's instances; leaving the context stops them.

    An instance that breaks ends its own sessions and is replaced. When the runtime dies, that
    happens to all of them.

    Args:
        settings: Which dataflow, and how many of it.
        grounds: What carries it; stays the caller's. Default: a private runtime of its own, or
            the Dora that the settings name.
        session_values: What its nodes may be started with; see `Settings.session_values`.

    Raises:
        DataflowError: The dataflow is wrong, or did not come up; names the node.
        SettingsError: By the settings it could never serve a session.
        RuntimeFailed: The runtime did not come up.
    """
    descriptor = read_descriptor(find_dataflow(settings.dataflow))
    for doubt in descriptor.doubts:
        log.warning("a dataflow may be wrong", dataflow=descriptor.name, doubt=doubt)
    most = descriptor.contract.sessions or settings.sessions
    settings = evolve(settings, sessions=min(settings.sessions, most))
    allowed = allowed_for(descriptor.session_values, session_values or {})
    settings.check_served(math.prod(map(len, allowed.values())))
    failure: BridgeError | None = None
    opened = nullcontext(grounds) if grounds is not None else _open_grounds(settings)
    async with opened as grounds, trio.open_nursery() as nursery:

        def make(choice: Choice) -> Instance:
            ground = grounds.ground
            name = f"{ground.mark}-{secrets.token_hex(4)}"
            filled = descriptor.filled(dict(choice))
            return Instance(name, settings.sessions, filled, ground)

        choice = choose(allowed, {})
        pool = Pool(settings, make, grounds, nursery, choice)
        default = DoraBackend(descriptor, pool, grounds, allowed, choice)
        try:
            await default.start()
        except BridgeError as exc:
            # Raised outside the nurseries, which would wrap it.
            failure = exc
        else:
            nursery.start_soon(default.tend)
            yield default
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_dora_backends(
    wanted: Iterable[DoraSettings],
    *,
    session_values: Mapping[str, Sequence[str]] | None = None,
) -> AsyncGenerator[dict[str, DoraBackend], None]:
    """Start several dataflows on one Dora: a private runtime, or the one that is named. Leaving
    the context stops them all.

    Args:
        wanted: The settings of each; a dataflow that is named twice is started once. Which Dora
            it is, the first of them say.
        session_values: As for `open_dora_backend`.

    Yields:
        Each dataflow, as it was named → its backend.

    Raises:
        DataflowError, SettingsError: As for `open_dora_backend`. The files are read before
            anything starts.
        RuntimeFailed: The runtime did not come up.
    """
    distinct = {settings.dataflow: settings for settings in wanted}
    for name, settings in distinct.items():
        descriptor = read_descriptor(find_dataflow(name))
        allowed = allowed_for(descriptor.session_values, session_values or {})
        settings.check_served(math.prod(map(len, allowed.values())))
    backends: dict[str, DoraBackend] = {}
    async with AsyncExitStack() as stack:
        grounds = await stack.enter_async_context(_open_grounds(next(iter(distinct.values()))))
        for name, settings in distinct.items():
            opened = open_dora_backend(settings, grounds=grounds, session_values=session_values)
            backends[name] = await stack.enter_async_context(opened)
        yield backends


def _open_grounds(settings: DoraSettings) -> AbstractAsyncContextManager[Grounds]:
    if settings.coordinator:
        return open_shared(settings.coordinator, settings.daemon_port)
    return open_supervisor()
