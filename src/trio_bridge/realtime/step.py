"""What one step of the engine asks the world to do."""

from __future__ import annotations

from attrs import define, field, frozen

from trio_bridge.messages import Command, Failure
from trio_bridge.realtime.events import ServerEvent


@frozen
class Step:
    """The whole result of one event: it goes out as one, so that order is decided once.

    Attributes:
        events: For the client, in order.
        commands: For the backend, in order.
        close: Why the session ends once `events` have gone out, which say so.
    """

    events: tuple[ServerEvent, ...] = ()
    commands: tuple[Command, ...] = ()
    close: Failure | None = None


NOTHING = Step()


@define
class Draft:
    """The step that is being made: every part of the engine writes to the same one."""

    _events: list[ServerEvent] = field(factory=list, init=False)
    _commands: list[Command] = field(factory=list, init=False)
    _close: Failure | None = field(default=None, init=False)

    def tell(self, *events: ServerEvent) -> None:
        """Say something to the client."""
        self._events.extend(events)

    def ask(self, *commands: Command) -> None:
        """Ask something of the backend."""
        self._commands.extend(commands)

    def close(self, why: Failure) -> None:
        """End the session after this step."""
        self._close = why

    def take(self) -> Step:
        """The step as it stands; what is drafted from here on belongs to the next."""
        events, commands = self._events, self._commands
        if not (events or commands or self._close):
            return NOTHING
        step = Step(tuple(events), tuple(commands), self._close)
        events.clear()
        commands.clear()
        self._close = None
        return step
