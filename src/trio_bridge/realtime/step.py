"""What one step of the engine asks the world to do."""

from __future__ import annotations

from attrs import frozen

from trio_bridge.messages import Command
from trio_bridge.realtime.events import ServerEvent


@frozen
class Step:
    """The whole result of one event: it goes out as one, so that order is decided once.

    Attributes:
        events: For the client, in order.
        commands: For the backend, in order.
        close: A close code and reason: the session ends once `events` have gone out.
    """

    events: tuple[ServerEvent, ...] = ()
    commands: tuple[Command, ...] = ()
    close: tuple[int, str] | None = None
