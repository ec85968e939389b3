"""Who is behind: heartbeats, and what the nodes have not acknowledged.

A node that hangs would in the end block whoever sends to it, with the interpreter lock in hand.
So the bridge counts, and gives an instance up long before Dora's queues are full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

UNACKNOWLEDGED_MESSAGES = 1000
"""Messages on one port that a node may leave unacknowledged: what leaves in 5 s. Dora blocks at
some 4,000."""

UNACKNOWLEDGED_SECONDS = 2.0
"""How long a node may take nothing of what it was sent; one that keeps up takes 0.25 s. How old
the message is that it takes does not matter: one that is behind and goes on is only busy."""

SILENCE_SECONDS = 2.0
"""How long a node's heartbeat, due twice a second, may be missing."""


@frozen
class Fault:
    """A node that can no longer be relied on, and why."""

    node: str
    reason: str


@define
class Liveness:
    """The bridge's book-keeping over one instance; its clock is the caller's.

    Args:
        nodes: The nodes there are.
        readers: Output of the bridge → node and input of each that reads it.
        now: The time from which silence counts.
    """

    _nodes: Iterable[str]
    _readers: Mapping[str, tuple[tuple[str, str], ...]]
    _now: float
    _heard: dict[str, float] = field(init=False)
    _waiting: dict[tuple[str, str], deque[int]] = field(init=False)
    _since: dict[tuple[str, str], float] = field(factory=dict, init=False)
    """Link → since when something has waited there and nothing has been taken."""

    def __attrs_post_init__(self) -> None:
        self._heard = dict.fromkeys(self._nodes, self._now)
        links = [link for links in self._readers.values() for link in links]
        self._waiting = {link: deque() for link in links}

    def sent(self, output: str, number: int, now: float) -> Fault | None:
        """A message has left; tells who is now too far behind."""
        for link in self._readers.get(output, ()):
            waiting = self._waiting[link]
            if not waiting:
                self._since[link] = now
            waiting.append(number)
            if len(waiting) > UNACKNOWLEDGED_MESSAGES:
                return Fault(link[0], f"has left {len(waiting)} messages unacknowledged")
        return None

    def heard(self, node: str, now: float) -> None:
        """A heartbeat or an acknowledgement has come from a node."""
        self._heard[node] = now

    def acknowledged(self, node: str, input_id: str, received: int, now: float) -> None:
        """A node has received everything up to a number."""
        link = (node, input_id)
        waiting = self._waiting.get(link)
        while waiting and waiting[0] <= received:
            waiting.popleft()
            self._since[link] = now

    @property
    def deadline(self) -> float:
        """When `fault` may next have something to say, if nothing is heard until then."""
        heard = min(self._heard.values(), default=float("inf")) + SILENCE_SECONDS
        stuck = (self._since[link] for link, waiting in self._waiting.items() if waiting)
        return min(heard, min(stuck, default=float("inf")) + UNACKNOWLEDGED_SECONDS)

    def fault(self, now: float) -> Fault | None:
        """The node that is furthest behind, if one is too far."""
        for node, heard in sorted(self._heard.items(), key=lambda item: item[1]):
            if now - heard >= SILENCE_SECONDS:
                return Fault(node, f"has been silent for {now - heard:.1f} s")
        for link, waiting in self._waiting.items():
            if waiting and now - self._since[link] >= UNACKNOWLEDGED_SECONDS:
                node, input_id = link
                stuck = now - self._since[link]
                return Fault(
                    node,
                    f"has taken nothing of what it was sent on {input_id} for {stuck:.1f} s",
                )
        return None
