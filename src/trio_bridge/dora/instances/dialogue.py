"""What is said between the bridge and the nodes of an instance: what all contracts share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import trio
from attrs import define, field

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.instances.attachment import Attachment
from trio_bridge.dora.instances.condition import Condition
from trio_bridge.dora.instances.deployment import Deployment
from trio_bridge.dora.instances.link import EventLine
from trio_bridge.dora.instances.reach import Reach
from trio_bridge.dora.node_events import Batch, Ping

PING_INTERVAL = 0.1
"""Seconds between the pings of an instance that warms up. 30 s of them are 300 small messages
per port, which Dora holds for a node that still loads its model."""

LineT = TypeVar("LineT", bound=EventLine)

MESSAGES_IN_A_ROW = 2
"""Messages of nodes that are taken without letting others run. Each may hold a dozen frames of
as many sessions, and most are resampled, encoded and sent in the step that takes them."""


@define(eq=False)
class Dialogue(Generic[LineT]):
    """One instance's side of a contract. What differs from contract to contract is left open.

    Attributes:
        attachment: The bridge's node, once it has joined.
        reach: What a ping has to reach before the instance is warm.
        lines: The sessions that speak here.
        node_sessions: Node → sessions it holds state for, as it last said.
    """

    deployment: Deployment
    condition: Condition
    attachment: Attachment | None = field(default=None, init=False)
    reach: Reach = field(init=False)
    lines: dict[str, LineT] = field(factory=dict, init=False)
    node_sessions: dict[str, int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.reach = Reach(self.to_reach())

    # --- a contract's own -------------------------------------------------------------------

    def to_reach(self) -> set[tuple[str, str]]:
        """Nodes and inputs that a ping must reach before the instance is warm."""
        raise NotImplementedError

    def attach(self, node: DoraNode, nursery: trio.Nursery) -> Attachment:
        """Begin to speak to the nodes."""
        raise NotImplementedError

    def line(self, session_id: str) -> LineT:
        """A line for a session."""
        raise NotImplementedError

    def take(self, batch: Batch) -> None:
        """Take a message from a node."""
        raise NotImplementedError

    def take_ping(self, ping: Ping) -> None:
        """Take a ping that has come back."""
        raise NotImplementedError

    def take_unreadable(self, input_id: str, words: str) -> None:
        """A message from a node cannot be read: see that nobody waits for what was in it."""
        raise NotImplementedError

    def watch(self, nursery: trio.Nursery) -> None:
        """The instance is warm: begin to judge whether its nodes keep up."""
        raise NotImplementedError

    # --- common to all ----------------------------------------------------------------------

    async def reach_all(self) -> None:
        """Ping until a ping has come everywhere, or the instance is given up."""
        tokens = 0
        while not (self.reach.all.is_set() or self.condition.broken.is_set()):
            if self.attachment is not None:
                self.attachment.ping(f"{self.deployment.name}-{tokens}")
            tokens += 1
            with trio.move_on_after(PING_INTERVAL):
                await self.reach.all.wait()

    def forget_sessions(self) -> None:
        """Tell the nodes, those that live on, that all sessions are over."""
        for line in self.lines.values():
            line.let_go()
        if self.attachment is not None:
            self.attachment.outbox.flush()

    def end_sessions(self) -> None:
        """Tell the sessions that the instance is lost to them, and why."""
        failure = self.condition.failure
        for line in list(self.lines.values()):
            line.end(failure)

    def send(self, port: str, row: Any) -> None:
        """Send on a port; never waits. Nothing goes to nodes that were given up."""
        if self.attachment is not None and not self.condition.broken.is_set():
            self.attachment.outbox.send(port, row)
