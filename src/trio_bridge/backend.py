"""What answers a session: the interface, and a backend written in plain Python."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from typing import Any, Protocol

import trio
from attrs import define, field

from trio_bridge.errors import BackendBroken, BackendUnavailable
from trio_bridge.headroom import Headroom
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Capabilities,
    Command,
    Failure,
)
from trio_bridge.reports import Reports

COMMANDS_WAITING = 512
"""Commands an in-process handler may leave unread: 10 s of 20 ms frames. A handler that far
behind is not coming back."""

ENOUGH_WAITING = COMMANDS_WAITING // 2
"""Commands from which on what is to be heard waits with the client."""

LOOK_INTERVAL = 0.01
"""Seconds between looks at what a handler has left unread."""

EVENTS_WAITING = 64
"""Events a handler may be ahead of its session: a handler that emits faster simply waits."""


class BackendSession(Protocol):
    """One session's line to what answers it."""

    @property
    def events(self) -> Reports:
        """What the backend reports, in order. It ends when the backend has gone."""

    @property
    def has_room(self) -> bool:
        """Whether it can be given more to hear now."""

    async def room(self) -> None:
        """Wait until it can be given more to hear, a second of audio at most. There is no
        checkpoint between that and the return. What is sent without asking is taken as well."""

    def send(self, command: Command) -> None:
        """Hand a command over. Never waits, keeps order.

        Raises:
            BackendBroken: The backend no longer takes commands.
        """


class Backend(Protocol):
    """Answers sessions, many at once."""

    @property
    def capabilities(self) -> Capabilities:
        """What it offers."""

    @property
    def healthy(self) -> bool:
        """Whether it can take a session now, as far as it knows."""

    def status(self) -> dict[str, Any]:
        """How it is, as JSON for `GET /health`."""

    def chosen(self, wishes: Mapping[str, str]) -> Backend:
        """Who answers a session with these wishes (`dora.settings.SESSION_VALUES` → values);
        itself, unless they make a difference."""

    def refusal(self, ahead: Sequence[Backend] = ()) -> BackendUnavailable | None:
        """Why a session would be refused now, as far as it is known; None if it would not.

        Args:
            ahead: Who answers the sessions that were let in and have not asked for their
                places yet, each as often as there are such. Others may stand among them.
        """

    def session(self, session_id: str) -> AbstractAsyncContextManager[BackendSession]:
        """A place for one session, perhaps after a wait; leaving the context gives it back and
        stops what is under way for it.

        Raises:
            BackendUnavailable: There is no place, and none has come in time.
        """


Emit = Callable[[BackendEvent], Awaitable[None]]
Handler = Callable[[trio.MemoryReceiveChannel[Command], Emit], Awaitable[None]]
"""An async function that answers one session: it reads commands and emits events. It is
cancelled when the session ends."""


@define
class _InProcessSession:
    events: Reports
    _commands: Headroom[Command]

    @property
    def has_room(self) -> bool:
        return self._commands.left

    async def room(self) -> None:
        while not self._commands.left:  # noqa: ASYNC110  its channel tells nobody
            await trio.sleep(LOOK_INTERVAL)

    def send(self, command: Command) -> None:
        try:
            self._commands.send_nowait(command)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise BackendBroken("the backend's handler does not read its commands") from exc


@define
class InProcessBackend:
    """A backend in plain Python: `handler` runs once per session, beside it.

    A handler that returns or raises ends its session with an error; it never reaches the
    server or another session.
    """

    handler: Handler
    capabilities: Capabilities = field(factory=Capabilities)
    healthy: bool = True

    def status(self) -> dict[str, Any]:
        """See `Backend.status`: nothing of note."""
        return {}

    def chosen(self, wishes: Mapping[str, str]) -> InProcessBackend:
        """See `Backend.chosen`: it sees each session's settings itself."""
        del wishes
        return self

    def refusal(self, ahead: Sequence[Backend] = ()) -> BackendUnavailable | None:
        """See `Backend.refusal`: it has room for all."""
        del ahead
        return None

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
        """See `Backend.session`."""
        del session_id
        command_send, command_receive = trio.open_memory_channel[Command](COMMANDS_WAITING)
        events = Reports(EVENTS_WAITING)

        async def run() -> None:
            with command_receive:
                try:
                    await self.handler(command_receive, events.report_in_time)
                    failure = Failure("backend_ended", "the backend's handler has returned")
                except Exception as exc:  # noqa: BLE001  the boundary to foreign code
                    failure = Failure(
                        "backend_failed", f"the backend's handler failed: {exc!r}"
                    )
                # The session may be gone already; then there is nobody to tell.
                with trio.move_on_after(1):
                    with suppress(trio.BrokenResourceError):
                        await events.report_in_time(BackendLost(failure))
                events.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with command_send, closing(events):
                try:
                    commands = Headroom(command_send, ENOUGH_WAITING)
                    yield _InProcessSession(events, commands)
                finally:
                    nursery.cancel_scope.cancel()
