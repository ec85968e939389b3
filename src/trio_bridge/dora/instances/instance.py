"""One running dataflow: how it comes up, serves sessions, and ends.

An instance is warm only when a ping has come through every link between its nodes: the first
moments after attaching are lossy. It is given up as soon as one of its nodes hangs or dies;
then all of its sessions are told, once, its nodes are killed, and it is stopped. Other
instances do not notice.
"""

from __future__ import annotations

from typing import Any

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.ports import ContractName
from trio_bridge.dora.hub.dialogue import HubDialogue
from trio_bridge.dora.instances.attachment import GuardedNode
from trio_bridge.dora.instances.condition import Condition
from trio_bridge.dora.instances.deployment import Deployment
from trio_bridge.dora.instances.dialogue import Dialogue
from trio_bridge.dora.instances.link import EventLine
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.dora.instances.native import NativeDialogue
from trio_bridge.dora.instances.reception import Reception
from trio_bridge.dora.runtimes.ground import Ground
from trio_bridge.errors import BackendUnavailable, BridgeError

STOP_TIMEOUT = 5.0
"""Seconds a stop may take in all; one that Dora has to finish with a kill takes 1.6 s."""

CLOSE_TIMEOUT = STOP_TIMEOUT + 1.0
"""Seconds until it has also been cleared away, which takes 50 ms."""

DIALOGUES: dict[ContractName, type[Dialogue[Any]]] = {
    "native": NativeDialogue,
    "hub": HubDialogue,
}
"""How a dataflow is spoken to, by its contract."""

log = structlog.get_logger(__name__)


@define(eq=False)
class Instance:
    """A running dataflow, and the sessions on it.

    Attributes:
        name: Unique; also the dataflow's name in Dora.
        capacity: Sessions it may hold.
    """

    name: str
    capacity: int
    _descriptor: Descriptor
    _ground: Ground
    _deployment: Deployment = field(init=False)
    _condition: Condition = field(init=False)
    _dialogue: Dialogue[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deployment = Deployment(self.name, self._descriptor, self._ground)
        self._condition = Condition(self.name, self._given_up, lambda: self._ground.trouble)
        kind = DIALOGUES[self._descriptor.contract.name]
        self._dialogue = kind(self._deployment, self._condition)

    # --- how it is --------------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Whether it takes sessions."""
        return self._condition.warm

    @property
    def problem(self) -> str | None:
        """Why it was given up, if it was."""
        return self._condition.failure.message if self._condition.fault is not None else None

    @property
    def lost(self) -> int:
        """Messages that went missing between the bridge and its nodes."""
        return self._condition.lost

    @property
    def bad(self) -> int:
        """Messages and rows from nodes that could not be used."""
        return self._condition.bad

    @property
    def pids(self) -> dict[str, int]:
        """Node → its process, as far as that is known."""
        return self._deployment.pids

    @property
    def node_sessions(self) -> dict[str, int]:
        """Node → sessions it holds state for, as it last said."""
        return self._dialogue.node_sessions

    def status(self, state: str) -> dict[str, Any]:
        """Its figures, as JSON for `GET /health`."""
        return {
            "name": self.name,
            "dataflow": self._descriptor.name,
            "state": state,
            "sessions": self.sessions,
            "nodeSessions": dict(self.node_sessions),
            "lostMessages": self.lost,
            "badMessages": self.bad,
        }

    # --- sessions ---------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        """How many sessions are on it."""
        return len(self._dialogue.lines)

    @property
    def takes_sessions(self) -> bool:
        """Whether `join` has a place."""
        return self.warm and self.sessions < self.capacity

    def join(self, session_id: str) -> EventLine:
        """Take a session in.

        Raises:
            BackendUnavailable: It is full, broken, or has a session of that name.
        """
        if not self.takes_sessions:
            raise BackendUnavailable("the dataflow takes no more sessions now")
        if session_id in self._dialogue.lines:
            raise BackendUnavailable(f"there is a session {session_id} already")
        line: EventLine = self._dialogue.line(session_id)
        self._dialogue.lines[session_id] = line
        line.open()
        return line

    def leave(self, session_id: str) -> None:
        """Let a session go: its responses are cancelled and the nodes forget it."""
        line = self._dialogue.lines.pop(session_id, None)
        if line is not None:
            line.close()

    # --- life -------------------------------------------------------------------------------

    async def run(
        self, startup: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the dataflow, serve until it breaks, and stop it, whatever happens.

        Calls `started()` when it is warm, and returns when it has broken after that.

        Args:
            startup: Seconds until it must be warm.
            task_status: Trio's.

        Raises:
            DataflowError: It did not become warm; names the node that did not come up.
            RuntimeFailed: The runtime died before it was warm.
        """
        self._deployment.write()
        error: BridgeError | None = None
        try:
            async with trio.open_nursery() as nursery:
                starting = trio.CancelScope(deadline=trio.current_time() + startup)
                nursery.start_soon(self._watch_ground, starting)
                with starting:
                    try:
                        await self._come_up(nursery)
                    except BridgeError as exc:
                        # Raised outside the nursery, which would wrap it.
                        error = exc
                if self.warm:
                    log.info("a dataflow is warm", dataflow=self.name)
                    task_status.started()
                    await self._condition.broken.wait()
                else:
                    timed_out = starting.cancelled_caught
                    error = await self._deployment.stop_and_explain(
                        silent=self._silent() if timed_out else None,
                        fault=self._condition.fault,
                        error=error,
                        timed_out=timed_out,
                    )
                nursery.cancel_scope.cancel()
        finally:
            self._condition.warm = False
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._stop()
                await self._deployment.clear_away(self._condition.fault)
        if error is not None:
            raise error

    async def _come_up(self, nursery: trio.Nursery) -> None:
        node = await self._deployment.start()
        if node is None:
            return
        guarded = GuardedNode(node)
        attachment = self._dialogue.attachment = self._dialogue.attach(guarded, nursery)
        reception = Reception(self._descriptor, self._dialogue, self._condition)
        nursery.start_soon(reception.watch_sends, guarded)
        nursery.start_soon(attachment.inbox.run)
        nursery.start_soon(reception.run, attachment.inbox)
        await self._dialogue.reach_all()
        if not self._condition.broken.is_set():
            self._dialogue.watch(nursery)
            self._condition.warm = True

    async def _watch_ground(self, starting: trio.CancelScope) -> None:
        self._condition.give_up(Fault("", await self._ground.wait_failed()))
        starting.cancel()

    def _silent(self) -> str | None:
        if self._dialogue.attachment is None:
            return self._deployment.not_attached()
        return self._dialogue.reach.silent(self._descriptor)

    def _given_up(self, fault: Fault) -> None:
        if self._ground.shared:
            self._dialogue.forget_sessions()
        log.error(
            "a dataflow broke",
            dataflow=self.name,
            node=fault.node,
            reason=fault.reason,
            sessions=self.sessions,
        )
        self._dialogue.end_sessions()

    async def _stop(self) -> None:
        self._dialogue.end_sessions()
        fault, attachment = self._condition.fault, self._dialogue.attachment
        with trio.move_on_after(STOP_TIMEOUT):
            if fault is not None:
                await self._deployment.kill(fault.node)
            elif attachment is not None:
                await attachment.leave(f"{self.name}-end")
            await self._deployment.stop()
            if attachment is not None:
                await attachment.wait_ended()
        if attachment is not None:
            attachment.let_go()
