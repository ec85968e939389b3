"""The bridge as an ordinary node: it serves its sessions on the dataflow that has started it.

Starting, stopping and restarting are Dora's business here. The bridge tells the nodes which
sessions there are and stops nobody. When one of the nodes has failed its sessions are told and
the bridge ends; Dora starts it anew if the dataflow says so.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trio
from attrs import define, field

from trio_bridge.backend import Backend, BackendSession
from trio_bridge.dora.codec import prepare
from trio_bridge.dora.contract import ROWS
from trio_bridge.dora.descriptors.node_config import read_node_config
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.instances.instance import Instance
from trio_bridge.dora.runtimes.attach import refused, without_backtraces
from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.node_processes import NodeProcesses, UnseenProcesses
from trio_bridge.dora.runtimes.shared_memory import leave_none
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendUnavailable, BridgeError
from trio_bridge.messages import Capabilities

RETRY_AFTER = 5.0
"""Seconds after which a client that found no place may try again: a dataflow whose nodes are
started anew needs about two."""

_STOP_REQUESTED = "MANUAL"
"""What Dora calls a stop that somebody asked for, as against one for want of inputs."""


@define(eq=False)
class _StartedNode:
    """The node that Dora has started this process as.

    A stop that was asked for is told to the ground, and held back from the instance until its
    sessions have been sent away in good order.
    """

    _node: DoraNode
    _stop: threading.Event
    _on_stop: trio.Event
    _token: trio.lowlevel.TrioToken

    def next(self) -> dict[str, Any] | None:
        event = self._node.next()
        if event is not None and (event["type"], event.get("id")) == ("STOP", _STOP_REQUESTED):
            self._token.run_sync_soon(self._on_stop.set)
            self._stop.wait()
        return event

    def send_output(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> None:
        self._node.send_output(output_id, data, metadata)


@define(eq=False)
class JoinedDora:
    """The Dora that has started this process, as the ground of one instance; see `Ground`."""

    directory: Path
    mark: str = field(default="joined", init=False)
    shared: bool = field(default=True, init=False)
    processes: NodeProcesses = field(factory=UnseenProcesses, init=False)
    stopping: trio.Event = field(factory=trio.Event, init=False)
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _daemon: int = field(factory=os.getppid, init=False)
    trouble: None = field(default=None, init=False)
    _failure: str | None = field(default=None, init=False)

    @property
    def failure(self) -> str | None:
        return self._failure

    async def wait_failed(self) -> str:
        # `next()` says so once, in the words of a lost connection, and then nothing more.
        await wait_ended(self._daemon)
        self._failure = "the dora daemon has died"
        return self._failure

    async def answering(self) -> None:
        """See `Ground.answering`: it is not asked."""

    async def validate(self, descriptor: Path) -> None:
        del descriptor

    async def start(self, descriptor: Path, name: str) -> None:
        del descriptor, name

    async def join(self, bridge_id: str, probe_id: str) -> DoraNode:
        """Attach. Stands still until all other nodes have, as every node does."""
        del bridge_id, probe_id
        # Not imported at the top, as pyarrow and Dora's runtime take half a second; whatever
        # is wrong with the dataflow has been said by now.
        from dora import Node

        without_backtraces()
        try:
            node = cast("DoraNode", await trio.to_thread.run_sync(Node))
        except RuntimeError as exc:
            raise refused(exc) from exc
        token = trio.lowlevel.current_trio_token()
        return cast("DoraNode", _StartedNode(node, self._stop, self.stopping, token))

    async def stop(self, name: str) -> None:
        del name

    def release(self) -> None:
        """Let the instance see that the dataflow stops."""
        self._stop.set()

    def stand_in(self, module: str) -> dict[str, str]:
        del module
        return {}

    def log(self, node: str, descriptor: Path) -> str:
        del node, descriptor
        return ""


@define(eq=False)
class JoinedBackend:
    """Answers sessions with the one dataflow that there is."""

    capabilities: Capabilities
    _instance: Instance
    _ground: JoinedDora
    _ended: trio.Event = field(factory=trio.Event, init=False)
    _left: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _sessions: int = field(default=0, init=False)

    @property
    def healthy(self) -> bool:
        """See `Backend.healthy`."""
        return self._instance.warm and not self._ground.stopping.is_set()

    @property
    def problem(self) -> str | None:
        """Why the dataflow was given up, if it was."""
        return self._instance.problem

    def status(self) -> dict[str, Any]:
        """See `Backend.status`."""
        return {"dataflows": [self._instance.status("warm" if self.healthy else "stopping")]}

    def chosen(self, wishes: Mapping[str, str]) -> JoinedBackend:
        """See `Backend.chosen`: its nodes run already, with the values that they have."""
        del wishes
        return self

    def refusal(self, ahead: Sequence[Backend] = ()) -> BackendUnavailable | None:
        """See `Backend.refusal`."""
        instance = self._instance
        if instance.takes_sessions and instance.sessions + len(ahead) < instance.capacity:
            return None
        words = "all places are taken" if self._instance.warm else "the dataflow has ended"
        return BackendUnavailable(words, retry_after=RETRY_AFTER)

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
        """See `Backend.session`."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        line = self._instance.join(session_id)
        self._sessions += 1
        try:
            yield line
        finally:
            self._sessions -= 1
            self._instance.leave(session_id)
            self._left.unpark_all()

    async def start(self, nursery: trio.Nursery, startup: float) -> None:
        """Have the dataflow come up, and serve it in a nursery until it breaks. Where it is
        asked to stop before it is up, it is let go of at once.

        Raises:
            DataflowError: See `Instance.run`.
            RuntimeFailed: The same.
        """
        failure: BridgeError | None = None
        async with trio.open_nursery() as watching:
            watching.start_soon(self._give_way, watching.cancel_scope)
            try:
                await nursery.start(self._run, startup)
            except BridgeError as exc:
                # Raised outside the nursery, which would wrap it.
                failure = exc
            watching.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _give_way(self, starting: trio.CancelScope) -> None:
        await self._ground.stopping.wait()
        # Once it is warm, its sessions are sent away first.
        if not self._instance.warm:
            self._ground.release()
            starting.cancel()

    async def _run(
        self, startup: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await self._instance.run(startup, task_status)
        finally:
            self._ended.set()

    async def wait_over(self, patience: float) -> None:
        """Wait until the dataflow is asked to stop, or has broken and its sessions know."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_told, patience, nursery.cancel_scope)
            await self._ground.stopping.wait()
            nursery.cancel_scope.cancel()

    async def _wait_told(self, patience: float, over: trio.CancelScope) -> None:
        await self._ended.wait()
        with trio.move_on_after(patience):
            while self._sessions:
                await self._left.park()
        over.cancel()


@asynccontextmanager
async def open_joined_backend(
    settings: DoraSettings, environ: Mapping[str, str] = os.environ
) -> AsyncGenerator[JoinedBackend, None]:
    """Join the dataflow that has started this process. If that is stopped before it is up, the
    backend takes nobody, and is over at once (`JoinedBackend.wait_over`).

    Args:
        settings: How many sessions it takes, and how long it may need to come up.
        environ: The environment that Dora gave.

    Raises:
        DataflowError: The bridge cannot work in it, or it did not come up; names the node.
        RuntimeFailed: Dora died meanwhile.
    """
    descriptor = read_node_config(environ)
    places = min(settings.sessions, descriptor.contract.sessions or settings.sessions)
    failure: BridgeError | None = None
    with tempfile.TemporaryDirectory(prefix="trio_bridge-node-") as directory:
        ground = JoinedDora(Path(directory))
        instance = Instance(descriptor.name, places, descriptor, ground)
        backend = JoinedBackend(descriptor.capabilities, instance, ground)
        try:
            async with trio.open_nursery() as nursery:
                try:
                    prepare(ROWS.values())
                    await backend.start(nursery, settings.startup_timeout)
                except BridgeError as exc:
                    # Raised outside the nursery, which would wrap it.
                    failure = exc
                else:
                    try:
                        yield backend
                    finally:
                        ground.release()
                nursery.cancel_scope.cancel()
        finally:
            # Also where what went wrong is no `BridgeError`. It waits for a moment at most.
            with trio.CancelScope(shield=True):
                await leave_none()
    if failure is not None:
        raise failure
