"""The native contract on one instance: rows to and from sessions, acknowledgements, pings."""

from __future__ import annotations

import trio
from attrs import define, field

from trio_bridge.dora.contract import Ack, port_of
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.instances.attachment import Attachment
from trio_bridge.dora.instances.dialogue import MESSAGES_IN_A_ROW, Dialogue
from trio_bridge.dora.instances.intake import Intake
from trio_bridge.dora.instances.link import SessionLink
from trio_bridge.dora.instances.liveness import Fault, Liveness
from trio_bridge.dora.instances.losses import Losses
from trio_bridge.dora.node_events import Batch, Ping
from trio_bridge.dora.outbox import Outbox

LATE = 0.5
"""A watch that wakes later than this was itself held up, and judges only after as long again:
what the nodes have sent meanwhile has still to be read."""


@define(eq=False)
class NativeDialogue(Dialogue[SessionLink]):
    """See the module."""

    _liveness: Liveness | None = field(default=None, init=False)
    _losses: Losses = field(factory=Losses, init=False)
    _intake: Intake = field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._intake = Intake(self._readers("listen"))

    def to_reach(self) -> set[tuple[str, str]]:
        """All nodes, and all inputs that a ping travels to."""
        descriptor = self.deployment.descriptor
        return {(node, "") for node in descriptor.nodes} | descriptor.reached()

    def attach(self, node: DoraNode, nursery: trio.Nursery) -> Attachment:
        """See `Dialogue.attach`."""
        outbox = Outbox(node, {"from": "bridge"}, self._sent)
        nursery.start_soon(outbox.run)
        inbox = Inbox(node, in_a_row=MESSAGES_IN_A_ROW)
        return Attachment(inbox, outbox, self.deployment.descriptor.outputs)

    def line(self, session_id: str) -> SessionLink:
        """See `Dialogue.line`."""
        descriptor = self.deployment.descriptor
        transcribed = descriptor.capabilities.transcripts
        return SessionLink(session_id, descriptor.outputs, self.send, self._intake, transcribed)

    # --- what comes -------------------------------------------------------------------------

    def take(self, batch: Batch) -> None:
        """See `Dialogue.take`."""
        node = self._feeder(batch.input_id)
        self._count(batch.input_id, batch.number)
        if batch.port == "ack":
            for row in batch.rows:
                self._acknowledged(node, row)
        else:
            self._deliver(batch, node)

    def take_ping(self, ping: Ping) -> None:
        """See `Dialogue.take_ping`."""
        self._count(ping.input_id, ping.number)
        self.reach.reached(self.deployment.descriptor.bridge, ping.input_id)

    def take_unreadable(self, input_id: str, words: str) -> None:
        """Answers are ended for all, since nobody knows whose was in it; without anything else
        the instance cannot go on."""
        if not self.condition.warm:
            return
        if port_of(input_id) == "answer":
            for line in self.lines.values():
                line.fail_responses(f"an answer could not be read: {words}")
        else:
            fault = Fault(self._feeder(input_id), f"sent a bad message: {words}")
            self.condition.give_up(fault)

    def _deliver(self, batch: Batch, node: str) -> None:
        for row in batch.rows:
            line = self.lines.get(row.session_id)
            if line is None:
                continue
            try:
                lost = line.receive(row)
            except ValueError as exc:
                self.condition.bad_message(node, str(exc))
                continue
            self.condition.missing(lost, node, batch.input_id)

    def _acknowledged(self, node: str, row: Ack) -> None:
        self.deployment.note_process(node, row.pid)
        self.node_sessions[node] = row.sessions
        self.reach.reached(node, row.port)
        if row.note:
            self.condition.note(node, row.note)
        missing = self._losses.told(node, row.port, row.lost)
        if self._liveness is None:
            return
        now = trio.current_time()
        self._liveness.heard(node, now)
        if row.port:
            self._liveness.acknowledged(node, row.port, row.received, now)
            self._intake.acknowledged(node, row.port, row.received, now)
            self.condition.gap(missing, node, row.port)

    def _count(self, input_id: str, number: int) -> None:
        missing = self._losses.numbered(input_id, number)
        if self.condition.warm:
            self.condition.gap(missing, self._feeder(input_id), input_id)

    def _feeder(self, input_id: str) -> str:
        return self.deployment.descriptor.feeder(input_id)

    # --- who keeps up -----------------------------------------------------------------------

    def watch(self, nursery: trio.Nursery) -> None:
        """See `Dialogue.watch`."""
        descriptor = self.deployment.descriptor
        readers = {output: self._readers(output) for output in descriptor.outputs}
        self._losses.begin()
        self._liveness = Liveness(descriptor.nodes, readers, trio.current_time())
        nursery.start_soon(self._watch, self._liveness)

    def _readers(self, output: str) -> tuple[tuple[str, str], ...]:
        links = self.deployment.descriptor.readers(output)
        return tuple((link.node, link.input_id) for link in links)

    def _sent(self, output: str, number: int) -> None:
        if self._liveness is None:
            return
        now = trio.current_time()
        if output == "listen":
            self._intake.sent(number, now)
        self.condition.give_up(self._liveness.sent(output, number, now))

    async def _watch(self, liveness: Liveness) -> None:
        # Whatever is sent meanwhile is due later than what is slept for: no wake is missed.
        while not self.condition.broken.is_set():
            due = liveness.deadline
            await trio.sleep_until(due)
            if trio.current_time() - due > LATE:
                await trio.sleep(LATE)
            if liveness.fault(trio.current_time()) is not None:
                await self._carried()
            self.condition.give_up(liveness.fault(trio.current_time()))

    async def _carried(self) -> None:
        """See that it is not Dora that holds back what the nodes have to say."""
        began = trio.current_time()
        await self.deployment.ground.answering()
        if trio.current_time() - began > LATE:
            await trio.sleep(LATE)
