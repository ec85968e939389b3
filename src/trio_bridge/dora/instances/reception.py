"""What comes from Dora on behalf of an instance: handed on, weighed, or taken for its end."""

from __future__ import annotations

from typing import Any

import structlog
import trio
from attrs import define

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.instances.attachment import GuardedNode
from trio_bridge.dora.instances.condition import Condition
from trio_bridge.dora.instances.dialogue import Dialogue
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.dora.node_events import Batch, Notice, Ping, Stopped

RUNTIME_GRACE = 0.5
"""Seconds between the end of a connection to the daemon and the news of the daemon's: a shared
one has to be looked for first."""

log = structlog.get_logger(__name__)


@define(eq=False)
class Reception:
    """Reads what the bridge's node receives; what nodes send is not trusted."""

    _descriptor: Descriptor
    _dialogue: Dialogue[Any]
    _condition: Condition

    async def run(self, inbox: Inbox) -> None:
        """Read until the dataflow has ended."""
        while True:
            match await inbox.receive():
                case Batch(input_id=input_id, weight=weight) as batch:
                    self._condition.weigh(self._descriptor.feeder(input_id), weight)
                    self._take(batch)
                case Ping(input_id=input_id) as ping:
                    self._condition.weigh(self._descriptor.feeder(input_id), 1)
                    self._dialogue.take_ping(ping)
                case Notice("BAD_MESSAGE", input_id, words, weight):
                    node = self._descriptor.feeder(input_id)
                    self._condition.weigh(node, weight)
                    self._condition.bad_message(node, words)
                    self._dialogue.take_unreadable(input_id, words)
                case Notice() as notice:
                    self._notice(notice)
                case Stopped():
                    await self._end("it has ended")
                    return

    async def watch_sends(self, node: GuardedNode) -> None:
        """Wait until Dora takes no more messages, and see to the end."""
        await node.refused.wait()
        log.warning("a send failed", dataflow=self._condition.name, error=node.words)
        await self._end("dora takes no more messages")

    async def _end(self, reason: str) -> None:
        # If it is for a daemon that died, that is known in a moment.
        with trio.move_on_after(RUNTIME_GRACE):
            await self._condition.broken.wait()
        self._condition.give_up(Fault("", reason))

    def _take(self, batch: Batch) -> None:
        try:
            self._dialogue.take(batch)
        except Exception as exc:
            # The boundary to foreign data: what nobody thought of ends this instance alone.
            log.exception("a message could not be taken", dataflow=self._condition.name)
            node = self._descriptor.feeder(batch.input_id)
            self._condition.give_up(Fault(node, f"sent a bad message: {exc!r}"))

    def _notice(self, notice: Notice) -> None:
        fault = self._fault(notice)
        if fault is not None:
            self._condition.give_up(fault)
        else:
            log.info(
                "dora says",
                dataflow=self._condition.name,
                kind=notice.kind,
                subject=notice.subject,
                detail=notice.detail,
            )

    def _fault(self, notice: Notice) -> Fault | None:
        match notice:
            case Notice("INPUT_CLOSED", input_id):
                return Fault(self._descriptor.feeder(input_id), "has ended")
            case Notice("NODE_FAILED", node, detail):
                return Fault(node, f"has failed {detail}".strip())
            case Notice("NODE_RESTARTED", node) if self._condition.warm:
                # It knows nothing of the sessions any more.
                return Fault(node, "has failed, and was started anew")
            case Notice("ERROR", _, detail):
                return Fault("", f"dora reports an error: {detail}")
        return None
