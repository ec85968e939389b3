"""The backend that ships: a dataflow, of which a pool of instances serves the sessions."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from typing import Any

import trio
from attrs import define, evolve

from trio_bridge.backend import BackendSession
from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS
from trio_bridge.dora.descriptor import Descriptor, find_dataflow, read_descriptor
from trio_bridge.dora.existing import open_existing
from trio_bridge.dora.ground import Grounds
from trio_bridge.dora.instance import Instance
from trio_bridge.dora.pool import Pool
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.supervision import open_supervisor
from trio_bridge.dora.template import Values
from trio_bridge.dora.variants import Variants, allowed_for
from trio_bridge.errors import BackendUnavailable, BridgeError
from trio_bridge.messages import Capabilities


@define(eq=False)
class DoraBackend:
    """Answers sessions with Dora dataflows; see `open_dora_backend`.

    Attributes:
        capabilities: What the dataflow offers.
    """

    _descriptor: Descriptor
    _pool: Pool[Instance]
    _grounds: Grounds
    _values: Values
    _variants: Variants[DoraBackend]

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend.capabilities`."""
        return self._descriptor.capabilities

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances that there are, the oldest first."""
        return self._pool.instances

    @property
    def healthy(self) -> bool:
        """See `Backend.healthy`: whether it can serve as it is meant to."""
        return self._pool.healthy

    def status(self) -> dict[str, Any]:
        """See `Backend.status`: what carries it; its pools; every instance, its sessions, and
        what its nodes hold."""
        variants = self._variants.made
        return {
            "runtime": self._grounds.status(),
            "pools": [each.pool_status() for each in variants],
            "dataflows": [status for each in variants for status in each.instances_status()],
        }

    def pool_status(self) -> dict[str, Any]:
        """Its own pool, without the other variants'."""
        values = {"values": dict(self._values)} if self._values else {}
        return {"dataflow": self._descriptor.name, **values, **self._pool.status()}

    def instances_status(self) -> Iterator[dict[str, Any]]:
        """Its own instances, without the other variants'."""
        for instance, state in self._pool.states:
            yield instance.status(state)

    def chosen(self, wishes: Mapping[str, str]) -> DoraBackend:
        """See `Backend.chosen`: the one whose nodes are started with these values. Beyond the
        default it has instances only when they are needed."""
        return self._variants.chosen(wishes)

    async def start(self) -> None:
        """Have Dora check the dataflow, and start the instances that are kept warm.

        Raises:
            DataflowError: It does not pass, or one did not come up.
            RuntimeFailed: The runtime died.
        """
        text, _, _ = self._descriptor.instance("check")
        ground = self._grounds.ground
        file = ground.directory / f"{self._descriptor.name}.yml"
        file.write_text(text)
        await ground.validate(file)
        prepare(ROWS.values())
        await self._pool.fill()

    async def tend(self) -> None:
        """Start, replace and stop instances as needed; runs until cancelled."""
        await self._pool.tend()

    def refusal(self) -> BackendUnavailable | None:
        """See `Backend.refusal`."""
        return self._pool.refusal()

    def session(self, session_id: str) -> AbstractAsyncContextManager[BackendSession]:
        """See `Backend.session`."""
        return self._pool.session(session_id)


@asynccontextmanager
async def open_dora_backend(
    settings: DoraSettings,
    *,
    grounds: Grounds | None = None,
    session_values: Mapping[str, Sequence[str]] | None = None,
) -> AsyncGenerator[DoraBackend, None]:
    """Start the dataflow's instances; leaving the context stops them.

    Args:
        settings: Which dataflow, and how many of it.
        grounds: What carries it; stays the caller's. Default: a private runtime of its own, or
            the Dora that the settings name.
        session_values: What its nodes may be started with; see `Settings.session_values`.

    An instance that breaks ends its own sessions and is replaced. When the runtime dies, that
    happens to all of them.

    Raises:
        DataflowError: The dataflow is wrong, or did not come up; names the node.
        RuntimeFailed: The runtime did not come up.
    """
    descriptor = read_descriptor(find_dataflow(settings.dataflow))
    most = descriptor.contract.sessions or settings.sessions
    settings = evolve(settings, sessions=min(settings.sessions, most))
    allowed = allowed_for(descriptor.session_values, session_values or {})
    failure: BridgeError | None = None
    opened = nullcontext(grounds) if grounds is not None else _open_grounds(settings)
    async with opened as grounds, trio.open_nursery() as nursery:

        def make(descriptor: Descriptor) -> Instance:
            ground = grounds.ground
            name = f"{ground.mark}-{secrets.token_hex(4)}"
            return Instance(name, settings.sessions, descriptor, ground)

        def variant(values: Values) -> DoraBackend:
            filled = descriptor.filled(values)
            # The default is kept warm; what was wished for once may never be again.
            own = evolve(settings, warm=0) if variants.made else settings
            pool = Pool(own, partial(make, filled), grounds, nursery)
            backend = DoraBackend(filled, pool, grounds, values, variants)
            if variants.made:
                nursery.start_soon(backend.tend)
            return backend

        variants = Variants(allowed, variant)
        default = variants.chosen({})
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
    """Start several dataflows on one runtime of their own; leaving the context stops them all.

    Args:
        wanted: The settings of each; a dataflow that is named twice is started once. They
            share one Dora.
        session_values: As for `open_dora_backend`.

    Yields:
        Each dataflow, as it was named → its backend.

    Raises:
        DataflowError: As for `open_dora_backend`. The files are read before anything starts.
        RuntimeFailed: The runtime did not come up.
    """
    distinct = {settings.dataflow: settings for settings in wanted}
    for name in distinct:
        descriptor = read_descriptor(find_dataflow(name))
        allowed_for(descriptor.session_values, session_values or {})
    backends: dict[str, DoraBackend] = {}
    async with AsyncExitStack() as stack:
        grounds = await stack.enter_async_context(_open_grounds(next(iter(distinct.values()))))
        for name, settings in distinct.items():
            opened = open_dora_backend(settings, grounds=grounds, session_values=session_values)
            backends[name] = await stack.enter_async_context(opened)
        yield backends


def _open_grounds(settings: DoraSettings) -> AbstractAsyncContextManager[Grounds]:
    if settings.coordinator:
        return open_existing(settings.coordinator, settings.daemon_port)
    return open_supervisor()
