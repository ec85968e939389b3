"""How far pings have come: what an instance waits for while it warms up."""

from __future__ import annotations

from collections.abc import Iterable

import trio
from attrs import define, field

from trio_bridge.dora.descriptors.descriptor import Descriptor


@define(eq=False)
class Reach:
    """What a ping has to reach, and has not yet: nodes (their input is empty), and inputs."""

    _missing: set[tuple[str, str]]
    all: trio.Event = field(factory=trio.Event, init=False)
    """Set when nothing is missing any more."""

    def reached(self, node: str, input_id: str) -> None:
        """A ping has reached an input of a node, or a node has said that it lives."""
        if self._missing:
            self._missing -= {(node, input_id), (node, "")}
            if not self._missing:
                self.all.set()

    def silent(self, descriptor: Descriptor) -> str | None:
        """The node that most likely keeps a dataflow from being warm."""
        dead = [node for node in descriptor.nodes if (node, "") in self._missing]
        return next(iter(dead or self._holding_back(descriptor)), None)

    def _holding_back(self, descriptor: Descriptor) -> Iterable[str]:
        """All are alive, but something did not pass a ping on."""
        for node, input_id in sorted(self._missing):
            yield descriptor.feeder(input_id) or node if node == descriptor.bridge else node
