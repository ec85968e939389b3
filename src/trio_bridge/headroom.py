"""How full a memory channel is, without asking it for every message.

Trio tells it in a record of seven figures, which costs more than the sending itself. What can
be in a channel is at most what was in it at the last look and what was sent since: only when
that reaches the limit does it take another look.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class Headroom(Generic[T]):
    """The sending end of a memory channel, and the room that is left in it. All that is sent
    goes through here.

    Args:
        channel: Has places for more than `limit`.
        limit: From so many waiting messages on there is no room.
    """

    _channel: trio.MemorySendChannel[T]
    _limit: int
    _at_most: int = field(default=0, init=False)

    def send_nowait(self, value: T) -> None:
        """See `trio.MemorySendChannel.send_nowait`. It takes no look at the room."""
        self._channel.send_nowait(value)
        self._at_most += 1

    async def send(self, value: T) -> None:
        """See `trio.MemorySendChannel.send`."""
        self._at_most += 1
        await self._channel.send(value)

    def close(self) -> None:
        """See `trio.MemorySendChannel.close`."""
        self._channel.close()

    @property
    def left(self) -> bool:
        """Whether fewer messages wait than the limit."""
        if self._at_most >= self._limit:
            self._at_most = self._channel.statistics().current_buffer_used
        return self._at_most < self._limit
