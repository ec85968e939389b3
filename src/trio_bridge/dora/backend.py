"""The backend that ships: a dataflow, of which a pool of instances serves the sessions."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from typing import Any

import trio
from attrs import define, evolve

from trio_bridge.backend import BackendSession
from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS
from trio_bridge.dora.descriptor import Descriptor, find_dataflow, read_descriptor
from trio_bridge.dora.hub.instance import HubInstance
from trio_bridge.dora.instance import Instance
from trio_bridge.dora.pool import Pool
from trio_bridge.dora.ports import ContractName
from trio_bridge.dora.runtime import Runtime, open_runtime
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendUnavailable, BridgeError
from trio_bridge.messages import Capabilities

_INSTANCES: dict[ContractName, type[Instance]] = {"native": Instance, "hub": HubInstance}


@define(eq=False)
class DoraBackend:
    """Answers sessions with Dora dataflows; see `open_dora_backend`.

    Attributes:
        capabilities: What the dataflow offers.
    """

    _descriptor: Descriptor
    _pool: Pool[Instance]

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
        """See `Backend.status`: the pool; every instance, its sessions, and what its nodes
        hold."""
        name = self._descriptor.name
        return {
            "pools": [{"dataflow": name, **self._pool.status()}],
            "dataflows": [
                {
                    "name": instance.name,
                    "dataflow": name,
                    "state": state,
                    "sessions": instance.sessions,
                    "nodeSessions": dict(instance.node_sessions),
                    "lostMessages": instance.lost,
                }
                for instance, state in self._pool.states
            ],
        }

    def refusal(self) -> BackendUnavailable | None:
        """See `Backend.refusal`."""
        return self._pool.refusal()

    def session(self, session_id: str) -> AbstractAsyncContextManager[BackendSession]:
        """See `Backend.session`."""
        return self._pool.session(session_id)


@asynccontextmanager
async def open_dora_backend(
    settings: DoraSettings, *, runtime: Runtime | None = None
) -> AsyncGenerator[DoraBackend, None]:
    """Start the dataflow's instances; leaving the context stops them.

    Args:
        settings: Which dataflow, and how many of it.
        runtime: Where to run it; stays the caller's. Default: a private one of its own.

    An instance that breaks ends its own sessions and is replaced.

    Raises:
        DataflowError: The dataflow is wrong, or did not come up; names the node.
        RuntimeFailed: The runtime did not come up.
    """
    descriptor = read_descriptor(find_dataflow(settings.dataflow))
    most = descriptor.contract.sessions or settings.sessions
    settings = evolve(settings, sessions=min(settings.sessions, most))
    failure: BridgeError | None = None
    runtimes = nullcontext(runtime) if runtime is not None else open_runtime()
    async with runtimes as runtime, trio.open_nursery() as nursery:

        def make() -> Instance:
            name = f"{runtime.mark}-{secrets.token_hex(4)}"
            kind = _INSTANCES[descriptor.contract.name]
            return kind(name, settings.sessions, descriptor, runtime)

        pool = Pool(settings, make, runtime, nursery)
        try:
            await _validate(descriptor, runtime)
            prepare(ROWS.values())
            await pool.fill()
        except BridgeError as exc:
            # Raised outside the nurseries, which would wrap it.
            failure = exc
        else:
            nursery.start_soon(pool.tend)
            yield DoraBackend(descriptor, pool)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_dora_backends(
    wanted: Iterable[DoraSettings],
) -> AsyncGenerator[dict[str, DoraBackend], None]:
    """Start several dataflows on one runtime of their own; leaving the context stops them all.

    Args:
        wanted: The settings of each; a dataflow that is named twice is started once.

    Yields:
        Each dataflow, as it was named → its backend.

    Raises:
        DataflowError: As for `open_dora_backend`. The files are read before anything starts.
        RuntimeFailed: The runtime did not come up.
    """
    distinct = {settings.dataflow: settings for settings in wanted}
    for name in distinct:
        read_descriptor(find_dataflow(name))
    backends: dict[str, DoraBackend] = {}
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(open_runtime())
        for name, settings in distinct.items():
            opened = open_dora_backend(settings, runtime=runtime)
            backends[name] = await stack.enter_async_context(opened)
        yield backends


async def _validate(descriptor: Descriptor, runtime: Runtime) -> None:
    text, _, _ = descriptor.instance("check")
    file = runtime.directory / f"{descriptor.name}.yml"
    file.write_text(text)
    await runtime.validate(file)
