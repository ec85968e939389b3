"""How an instance is: whether it is warm, what its nodes got wrong, and why it is given up."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.descriptors.node_entry import QUEUE_SIZE
from trio_bridge.dora.instances.conduct import Conduct
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.messages import Failure

MOST_LOST = QUEUE_SIZE
"""A gap in a node's numbers that is taken for a loss: what an input's queue holds. A longer one
is a number that is wrong."""

MOST_NOTED = 500
"""Characters of a node's news that are logged."""

log = structlog.get_logger(__name__)


def _none() -> None:
    return None


@define(eq=False)
class Condition:
    """Notes what happens to an instance, and gives it up for its first fault.

    Args:
        name: The instance's.
        on_fault: Called once, in the step that gives it up.
        trouble: What is wrong around it, if anything is: told with the fault.

    Attributes:
        warm: Whether it takes sessions.
        fault: Why it was given up, if it was.
        broken: Set when it has been.
        lost: Messages that went missing between the bridge and its nodes.
    """

    name: str
    _on_fault: Callable[[Fault], None]
    _trouble: Callable[[], str | None] = _none
    warm: bool = field(default=False, init=False)
    fault: Fault | None = field(default=None, init=False)
    broken: trio.Event = field(factory=trio.Event, init=False)
    lost: int = field(default=0, init=False)
    _conduct: Conduct = field(factory=Conduct, init=False)

    @property
    def bad(self) -> int:
        """Messages and rows from nodes that could not be used."""
        return self._conduct.bad

    @property
    def failure(self) -> Failure:
        """What the sessions are told when they are ended."""
        if self.fault is None:
            return Failure("dataflow_stopped", "the dataflow was stopped")
        who = f"node {self.fault.node!r} " if self.fault.node else ""
        return Failure("dataflow_broken", f"the dataflow broke: {who}{self.fault.reason}")

    def give_up(self, fault: Fault | None) -> None:
        """It cannot go on, if there is a fault. Only the first one counts."""
        if fault is None or self.fault is not None:
            return
        if (trouble := self._trouble()) is not None:
            fault = Fault(fault.node, f"{fault.reason}; {trouble}")
        self.fault = fault
        self.warm = False
        self._on_fault(fault)
        self.broken.set()

    def weigh(self, node: str, weight: int) -> None:
        """A node has sent a message."""
        self.give_up(self._conduct.sent(node, weight, trio.current_time()))

    def bad_message(self, node: str, words: str) -> None:
        """A node has sent what cannot be used."""
        fault = self._conduct.broke(node, words, trio.current_time())
        count = self._conduct.bad
        if count & (count - 1) == 0:  # the first, second, fourth, …: a flood fills no disk
            log.warning(
                "a node broke the contract",
                dataflow=self.name,
                node=node,
                error=words,
                count=count,
            )
        self.give_up(fault)

    def note(self, node: str, words: str) -> None:
        """A node has news."""
        if self._conduct.may_note(node, trio.current_time()):
            log.warning("a node says", dataflow=self.name, node=node, note=words[:MOST_NOTED])

    def missing(self, count: int, node: str, port: str) -> None:
        """Messages, or rows, have not come."""
        if count > 0:
            self.lost += count
            log.error(
                "messages were lost", dataflow=self.name, node=node, port=port, count=count
            )

    def gap(self, count: int, node: str, port: str) -> None:
        """A node's numbers have jumped."""
        if count <= MOST_LOST:
            self.missing(count, node, port)
        else:
            self.bad_message(node, f"numbers on {port} that jump by {count}")
