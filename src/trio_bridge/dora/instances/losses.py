"""What went missing between the bridge and its nodes: what both sides number shows it."""

from __future__ import annotations

from attrs import define, field


@define
class Losses:
    """The bridge's count over the messages of one instance."""

    _due: dict[str, int] = field(factory=dict, init=False)
    """Input of the bridge → the number of the message that is due next."""

    _told: dict[tuple[str, str], int] = field(factory=dict, init=False)
    """Node and its input → the messages that it has said are lost there."""

    def numbered(self, input_id: str, number: int) -> int:
        """A message has come; gives how many are missing before it. Below 0 it has no
        number."""
        if number < 0:
            return 0
        expected = self._due.get(input_id, number)
        self._due[input_id] = number + 1
        return max(number - expected, 0)

    def told(self, node: str, input_id: str, lost: int) -> int:
        """A node has said how many messages it has lost in all; gives how many of them are
        new."""
        before = self._told.get((node, input_id), 0)
        self._told[node, input_id] = max(lost, before)
        return max(lost - before, 0)

    def begin(self) -> None:
        """What was lost on the way here is no loss: the count begins now."""
        self._due.clear()
