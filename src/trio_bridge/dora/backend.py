"""The backend that ships: a pool of running dataflows, each serving many sessions."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import trio
from attrs import define, evolve, field

from trio_bridge.backend import BackendSession
from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS
from trio_bridge.dora.descriptor import Descriptor, find_dataflow, read_descriptor
from trio_bridge.dora.hub.instance import HubInstance
from trio_bridge.dora.instance import Instance
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

    _settings: DoraSettings
    _descriptor: Descriptor
    _runtime: Runtime
    _instances: list[Instance] = field(factory=list, init=False)

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend.capabilities`."""
        return self._descriptor.capabilities

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances that serve."""
        return tuple(self._instances)

    @property
    def healthy(self) -> bool:
        """See `Backend.healthy`: whether an instance is warm."""
        return any(instance.warm for instance in self._instances)

    def status(self) -> dict[str, Any]:
        """See `Backend.status`: every instance, its sessions, and what its nodes hold."""
        return {
            "dataflows": [
                {
                    "name": instance.name,
                    "dataflow": self._descriptor.name,
                    "state": "warm" if instance.warm else "starting",
                    "sessions": instance.sessions,
                    "nodeSessions": dict(instance.node_sessions),
                    "lostMessages": instance.lost,
                }
                for instance in self._instances
            ]
        }

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
        """See `Backend.session`: a place on the instance with the fewest sessions."""
        free = [instance for instance in self._instances if instance.takes_sessions]
        if not free:
            words = "all places are taken" if self._instances else "no dataflow is running"
            raise BackendUnavailable(words)
        instance = min(free, key=lambda instance: instance.sessions)
        link = instance.join(session_id)
        try:
            yield link
        finally:
            instance.leave(link)

    async def start_instance(self, nursery: trio.Nursery) -> Instance:
        """Start one more instance in `nursery`; returns when it serves. It leaves the pool when
        it breaks.

        Raises:
            DataflowError: It did not come up.
        """
        name = f"{self._runtime.mark}-{secrets.token_hex(4)}"
        contract = self._descriptor.contract
        capacity = min(self._settings.sessions, contract.sessions or self._settings.sessions)
        kind = _INSTANCES[contract.name]
        instance = kind(name, capacity, self._descriptor, self._runtime)
        await nursery.start(self._run_instance, instance)
        return instance

    async def _run_instance(
        self, instance: Instance, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._instances.append(instance)
        try:
            await instance.run(self._settings.startup_timeout, task_status)
        finally:
            self._instances.remove(instance)


@asynccontextmanager
async def open_dora_backend(
    settings: DoraSettings, *, runtime: Runtime | None = None
) -> AsyncGenerator[DoraBackend, None]:
    """Start the dataflow's instances; leaving the context stops them.

    Args:
        settings: Which dataflow, and how many of it.
        runtime: Where to run it; stays the caller's. Default: a private one of its own.

    An instance that breaks ends its own sessions and leaves the pool. When none is left, the
    backend stays open and refuses sessions.

    Raises:
        DataflowError: The dataflow is wrong, or did not come up; names the node.
        RuntimeFailed: The runtime did not come up.
    """
    descriptor = read_descriptor(find_dataflow(settings.dataflow))
    failure: BridgeError | None = None
    runtimes = nullcontext(runtime) if runtime is not None else open_runtime()
    async with runtimes as runtime, trio.open_nursery() as nursery:
        backend = DoraBackend(settings, descriptor, runtime)
        try:
            await _validate(descriptor, runtime)
            prepare(ROWS.values())
            for _ in range(settings.instances):
                await backend.start_instance(nursery)
        except BridgeError as exc:
            # Raised outside the nurseries, which would wrap it.
            failure = exc
        else:
            yield backend
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
        runtime = await stack.enter_async_context(open_runtime())
        for name, each in wanted.items():
            opened = open_dora_backend(each, runtime=runtime)
            backends[name] = await stack.enter_async_context(opened)
        yield backends


async def _validate(descriptor: Descriptor, runtime: Runtime) -> None:
    text, _, _ = descriptor.instance("check")
    file = runtime.directory / f"{descriptor.name}.yml"
    file.write_text(text)
    await runtime.validate(file)
