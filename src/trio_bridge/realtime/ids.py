"""Names for what the engine makes: events, items, responses, calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from attrs import define, field


def _random_token() -> str:
    return secrets.token_hex(6)


@define
class Ids:
    """Gives out ids: a prefix that says what it names, a token of this session's own, and a
    number that counts up, so that a log of a session reads in order.

    An item's id has 23 characters and stays so for the first 16 million ids: clients refuse
    items whose id is longer than 32.

    Args:
        token: What makes this session's ids differ from another's; random unless given.
    """

    token: str = field(factory=_random_token)
    _count: int = field(default=0, init=False)

    def session(self) -> str:
        """The id of the session itself."""
        return self._next("sess")

    def event(self) -> str:
        """The id of a server event."""
        return self._next("event")

    def item(self, taken: Callable[[str], bool] = lambda _: False) -> str:
        """The id of a conversation item: one that `taken` denies."""
        while taken(item_id := self._next("item")):
            pass  # a client may give its items any id, even the one that comes next
        return item_id

    def response(self) -> str:
        """The id of a response."""
        return self._next("resp")

    def call(self) -> str:
        """The id of a function call."""
        return self._next("call")

    def conversation(self) -> str:
        """The id of a conversation."""
        return self._next("conv")

    def _next(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self.token}{self._count:06x}"
