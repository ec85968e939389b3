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
from trio_bridge.dora.runtime import Runtime
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.supervision import Supervisor, open_supervisor
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
    _supervisor: Supervisor

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
        """See `Backend.status`: the runtime; the pool; every instance, its sessions, and what
        its nodes hold."""
        name = self._descriptor.name
        return {
            "runtime": self._supervisor.status(),
            "pools": [{"dataflow": name, **self._pool.status()}],
            "dataflows": [
                {
                    "name": instance.name,
                    "dataflow": name,
                    "state": state,
                    "sessions": instance.sessions,
                    "nodeSessions": dict(instance.node_sessions),
                    "lostMessages": instance.lost,
                    "badMessages": instance.bad,
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
    settings: DoraSettings, *, supervisor: Supervisor | None = None
) -> AsyncGenerator[DoraBackend, None]:
    """Start the dataflow's instances; leaving the context stops them.

    Args:
        settings: Which dataflow, and how many of it.
        supervisor: Whose runtime to run it on; stays the caller's. Default: one of its own.

    An instance that breaks ends its own sessions and is replaced. When the runtime dies, that
    happens to all of them.

    Raises:
        DataflowError: The dataflow is wrong, or did not come up; names the node.
        RuntimeFailed: The runtime did not come up.
    """
    descriptor = read_descriptor(find_dataflow(settings.dataflow))
    most = descriptor.contract.sessions or settings.sessions
    settings = evolve(settings, sessions=min(settings.sessions, most))
    failure: BridgeError | None = None
    supervisors = nullcontext(supervisor) if supervisor is not None else open_supervisor()
    async with supervisors as supervisor, trio.open_nursery() as nursery:

        def make() -> Instance:
            runtime = supervisor.runtime
            name = f"{runtime.mark}-{secrets.token_hex(4)}"
            kind = _INSTANCES[descriptor.contract.name]
            return kind(name, settings.sessions, descriptor, runtime)

        pool = Pool(settings, make, supervisor, nursery)
        try:
            await _validate(descriptor, supervisor.runtime)
            prepare(ROWS.values())
            await pool.fill()
        except BridgeError as exc:
            # Raised outside the nurseries, which would wrap it.
            failure = exc
        else:
            nursery.start_soon(pool.tend)
            yield DoraBackend(descriptor, pool, supervisor)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_dora_backends(
    settings: DoraSettings, dataflows: Iterable[str]
) -> AsyncGenerator[dict[str, DoraBackend], None]:
    """Start several dataflows on one runtime of their own; leaving the context stops them all.

    Args:
        settings: How many instances of each, and so on; its `dataflow` is not looked at.
        dataflows: Their names or files; one that is named twice is started once.

    Yields:
        Each dataflow, as it was named → its backend.

    Raises:
        DataflowError: As for `open_dora_backend`. The files are read before anything starts.
        RuntimeFailed: The runtime did not come up.
    """
    wanted = {name: evolve(settings, dataflow=name) for name in dataflows}
    for name in wanted:
        read_descriptor(find_dataflow(name))
    backends: dict[str, DoraBackend] = {}
    async with AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(open_supervisor())
        for name, each in wanted.items():
            opened = open_dora_backend(each, supervisor=supervisor)
            backends[name] = await stack.enter_async_context(opened)
        yield backends


async def _validate(descriptor: Descriptor, runtime: Runtime) -> None:
    text, _, _ = descriptor.instance("check")
    file = runtime.directory / f"{descriptor.name}.yml"
    file.write_text(text)
    await runtime.validate(file)
