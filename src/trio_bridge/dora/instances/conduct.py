"""What nodes must not do: send more than anybody can take, or what nobody can read.

Both are allowed in bounds, since a burst or a slip of one node must not end the sessions of an
instance. Beyond them the instance is given up: what a node sends takes the time of the whole
bridge, whosever sessions it is about.
"""

from __future__ import annotations

from attrs import define, field

from trio_bridge.dora.instances.liveness import Fault

WEIGHT_PER_SECOND = 500.0
"""What a node may send all the time, in small messages (see `weight_of`). Each costs 0.2 ms of
the bridge's time; a node that batches its rows sends 200 on an output. It must be well below
what can be read on a busy machine, since a flood is only known by what was read."""

WEIGHT_AT_ONCE = 500.0
"""What a node may send beyond that at a moment: a second's worth."""

BAD_PER_SECOND = 1.0
BAD_AT_ONCE = 50.0
"""Bad messages and rows that a node may send all the time, and beyond that at a moment."""

NOTES_PER_SECOND = 0.2
NOTES_AT_ONCE = 20.0
"""Notes of a node that are logged; more than that is no news, and fills disks."""


@define
class _Allowance:
    """A bucket that fills with what is sent and leaks what is allowed."""

    per_second: float
    at_once: float
    _level: float = field(default=0.0, init=False)
    _seen: float = field(default=0.0, init=False)

    def spend(self, amount: float, now: float) -> bool:
        """Whether that much more is still within bounds."""
        leaked = (now - self._seen) * self.per_second
        self._level = max(self._level - leaked, 0.0) + amount
        self._seen = now
        return self._level <= self.at_once


@define
class Conduct:
    """The bridge's book-keeping over the nodes of one instance; its clock is the caller's.

    Attributes:
        bad: Messages and rows that could not be used.
    """

    bad: int = field(default=0, init=False)
    _sent: dict[str, _Allowance] = field(factory=dict, init=False)
    _broken: dict[str, _Allowance] = field(factory=dict, init=False)
    _noted: dict[str, _Allowance] = field(factory=dict, init=False)

    def sent(self, node: str, weight: float, now: float) -> Fault | None:
        """A node has sent a message; tells whether that is too much."""
        allowance = self._sent.get(node)
        if allowance is None:
            allowance = self._sent[node] = _Allowance(WEIGHT_PER_SECOND, WEIGHT_AT_ONCE)
        if allowance.spend(weight, now):
            return None
        return Fault(node, "sends more than the bridge can take")

    def broke(self, node: str, words: str, now: float) -> Fault | None:
        """A node has sent what breaks the contract; tells whether that happens too often."""
        self.bad += 1
        allowance = self._broken.get(node)
        if allowance is None:
            allowance = self._broken[node] = _Allowance(BAD_PER_SECOND, BAD_AT_ONCE)
        if allowance.spend(1.0, now):
            return None
        return Fault(node, f"breaks the contract again and again: {words}")

    def may_note(self, node: str, now: float) -> bool:
        """A node has news for the log; tells whether to log it."""
        allowance = self._noted.get(node)
        if allowance is None:
            allowance = self._noted[node] = _Allowance(NOTES_PER_SECOND, NOTES_AT_ONCE)
        return allowance.spend(1.0, now)
