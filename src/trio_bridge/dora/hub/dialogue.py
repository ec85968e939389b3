"""The hub contract on one instance.

Its nodes send no heartbeats and pass no pings on. The instance is warm when the speech monitor
has answered a block of silence, and given up when a node has ended, or when the monitor no
longer answers audio. A recogniser, language node or voice that hangs is waited for, response by
response, only so long.
"""

from __future__ import annotations

from itertools import count

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.hub.messages import HubOutbox, Message, read_message
from trio_bridge.dora.hub.session import HubConversation, HubLink
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.instances.attachment import Attachment
from trio_bridge.dora.instances.dialogue import MESSAGES_IN_A_ROW, Dialogue
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.dora.node_events import Batch, Ping

HEARTBEAT = "speech_probability"
"""The input on which the monitor answers every message of audio."""

log = structlog.get_logger(__name__)


@define(eq=False)
class HubDialogue(Dialogue[HubLink]):
    """See the module."""

    _conversation: HubConversation = field(init=False)
    _stirred: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._conversation = HubConversation(
            self.deployment.descriptor.outputs,
            count(1),
            lambda message: self.send(message.port, message),
        )

    def to_reach(self) -> set[tuple[str, str]]:
        """The bridge, by the monitor's answer."""
        return {(self.deployment.descriptor.bridge, HEARTBEAT)}

    def attach(self, node: DoraNode, nursery: trio.Nursery) -> Attachment:
        """See `Dialogue.attach`."""
        del nursery
        outbox, inbox = (
            HubOutbox(node, self._sent),
            Inbox(node, read_message, in_a_row=MESSAGES_IN_A_ROW),
        )
        return Attachment(inbox, outbox, self.deployment.descriptor.outputs)

    def line(self, session_id: str) -> HubLink:
        """See `Dialogue.line`."""
        return HubLink(session_id, self._conversation, self._stir)

    def take(self, batch: Batch) -> None:
        """See `Dialogue.take`."""
        descriptor = self.deployment.descriptor
        if batch.input_id == HEARTBEAT:
            self._conversation.answered(trio.current_time())
            self.reach.reached(descriptor.bridge, HEARTBEAT)
        for message in batch.rows:
            self._hear(message, descriptor.feeder(batch.input_id))

    def take_ping(self, ping: Ping) -> None:
        """Nothing that these nodes send is read as one."""

    def take_unreadable(self, input_id: str, words: str) -> None:
        """What does not come is waited for only so long, response by response."""

    def watch(self, nursery: trio.Nursery) -> None:
        """See `Dialogue.watch`."""
        self.deployment.find_processes()
        self._conversation.answering.reset()
        nursery.start_soon(self._keep_time)

    def _sent(self, output: str) -> None:
        if output != "audio":
            return
        problem = self._conversation.pacing.sent(trio.current_time())
        if problem is not None and self.condition.warm:
            self.condition.give_up(Fault(self.deployment.descriptor.feeder(HEARTBEAT), problem))

    def _hear(self, message: Message, node: str) -> None:
        if message.port == "log":
            log.debug(
                "a node says", dataflow=self.deployment.name, node=node, words=message.text
            )
        elif message.port != HEARTBEAT:
            self._conversation.receive(message, trio.current_time())
            self._stir()

    def _stir(self) -> None:
        self._stirred.set()

    async def _keep_time(self) -> None:
        while True:
            self._stirred = trio.Event()
            with trio.move_on_at(self._conversation.deadline):
                await self._stirred.wait()
            self._conversation.tick(trio.current_time())
