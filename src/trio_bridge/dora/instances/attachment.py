"""The bridge's own node in a dataflow: what it sends and reads with, how it leaves."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import trio
from attrs import define, field

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.inbox import Inbox

READER_GRACE = 1.0
"""Seconds the reading thread has to see the stop of its dataflow; 10 ms is usual."""


class Sender(Protocol):
    """How an instance speaks to its nodes: `outbox.Outbox`, or its like."""

    def send(self, port: str, row: Any) -> None:
        """Send what the contract has for a port; never waits."""

    def ping(self, port: str, token: str) -> None:
        """Send what comes back when all is well."""

    def flush(self) -> None:
        """Send what waits."""

    def forget(self) -> None:
        """Let go of the node."""


@define(eq=False)
class GuardedNode:
    """A node whose sends never fail: whoever sends is a session, and has not to be told.

    Attributes:
        refused: Set when Dora has not taken a message.
        words: What it said.
    """

    _node: DoraNode
    refused: trio.Event = field(factory=trio.Event, init=False)
    words: str = field(default="", init=False)

    def next(self) -> dict[str, Any] | None:
        """See `DoraNode`; blocks."""
        return self._node.next()

    def send_output(
        self, output_id: str, data: Any, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send, unless that was in vain before."""
        if self.refused.is_set():
            return
        try:
            self._node.send_output(output_id, data, metadata)
        except RuntimeError as exc:
            self.words = " ".join(str(exc).partition("\n\nLocation")[0].split())
            self.refused.set()


@define(eq=False)
class Attachment:
    """A node of Dora's, from joining the dataflow until nothing refers to it any more."""

    inbox: Inbox
    outbox: Sender
    _outputs: Collection[str]

    def ping(self, token: str) -> None:
        """Ping on every output."""
        for output in self._outputs:
            self.outbox.ping(output, token)

    async def leave(self, token: str) -> None:
        """Leave a dataflow that is well, before it is stopped.

        Dora writes warnings to the standard output, and cannot be told otherwise, when a node
        outlives its dataflow. The reading thread only comes back with an event, so a last ping
        gives it one.
        """
        self.inbox.close()
        self.ping(token)
        with trio.move_on_after(READER_GRACE):
            await self.inbox.ended.wait()
            self.let_go()

    async def wait_ended(self) -> None:
        """Wait until the reading thread has ended, but not for long."""
        with trio.move_on_after(READER_GRACE):
            await self.inbox.ended.wait()

    def let_go(self) -> None:
        """Dora's node ends with the last reference to it."""
        self.outbox.forget()
        self.inbox.forget()
