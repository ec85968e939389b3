"""One session: a nursery with four sibling tasks, joined by bounded channels.

    transport ─► reader ──► engine ──► hearing (→ 16 kHz) ─► backend
                              ▲   └──► speaking (→ its format) ─► transport
              backend ─► event pump

Reader and pump both step the engine. A step is synchronous, and its whole result is handed on
without a checkpoint in between, so the order of everything the client sees is decided here and
nowhere else. Hearing and speaking take it at once where they can; each has a channel and a task
for what has to wait. A session is not its socket: transports attach and detach.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress

import structlog
import trio
from attrs import define, field, frozen

from trio_bridge.backend import Backend, BackendSession
from trio_bridge.closing import (
    CLIENT_LEFT,
    GOING_AWAY,
    Ending,
    ending_for,
)
from trio_bridge.errors import BackendBroken, TransportClosed
from trio_bridge.hearing import Hearing
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Command,
    Failure,
    ListenCommand,
)
from trio_bridge.mooring import Line, Mooring, ReadAhead
from trio_bridge.outgoing import Outgoing, SpeechEncoder
from trio_bridge.realtime.engine import RealtimeEngine, Step
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.wire import Codec
from trio_bridge.speaking import Speaking
from trio_bridge.transport import Transport

log = structlog.get_logger(__name__)

FRAMES_IN_A_ROW = 16
"""Messages of a client that are taken without letting others run: a millisecond of work."""

GOODBYE_TIMEOUT = 2.0
"""Seconds that the last error event and the close frame may take, together."""


@frozen
class SessionLimits:
    """What a session grants its peer, in seconds."""

    resume_window: float = 0.0
    """How long a session without a transport waits for another. 0: it ends at once."""


@define(eq=False)
class Session:
    """One client's session. `run` is its whole life; `attach` gives it a transport."""

    id: str
    _engine: RealtimeEngine
    _backend: Backend
    _limits: SessionLimits = field(factory=SessionLimits)
    _codec: Codec = field(factory=Codec)
    ending: Ending | None = field(default=None, init=False)
    """How it ended, once it is ending."""

    _mooring: Mooring = field(init=False)
    _ahead: ReadAhead = field(init=False)
    _link: BackendSession = field(init=False)
    _lost: bool = field(default=False, init=False)
    _served: bool = field(default=False, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _hearing: Hearing = field(init=False)
    _speaking: Speaking = field(init=False)
    _waking: trio.CancelScope | None = field(default=None, init=False)
    _handing_on: bool = field(default=False, init=False)
    _failure: Exception | None = field(default=None, init=False)
    """What went wrong in a step that was not taken in a task of the session."""

    def __attrs_post_init__(self) -> None:
        self._mooring = Mooring(self._limits.resume_window)
        self._ahead = ReadAhead(self._mooring)
        recordings = self._engine.conversation.recordings
        recordings.on_let_go = self._audio_let_go
        self._hearing = Hearing(self._command, lambda: self._link)
        outgoing = Outgoing(SpeechEncoder(self._engine.ids.event, recordings), self._codec)
        self._speaking = Speaking(self._mooring, self._attached, outgoing, self._end)

    # --- transports ------------------------------------------------------------------------

    def attach(self, transport: Transport) -> None:
        """Carry the session over `transport` from now on.

        Raises:
            RuntimeError: Another transport is attached.
        """
        self._mooring.attach(transport)

    async def released(self, transport: Transport) -> None:
        """Wait until the session has let go of `transport`."""
        await self._mooring.released(transport)

    def detach(self) -> Transport | None:
        """Take the transport away without closing it; what is due is kept for the next.

        A message that was on its way counts as not sent and is sent again.
        """
        return self._mooring.detach()

    async def _attached(self) -> Line:
        """The transport in use; waits for one as long as the resume window lasts."""
        line = await self._mooring.attached()
        if line is None:
            self._end(CLIENT_LEFT)
            await trio.sleep_forever()  # the cancellation of the session arrives here
        assert line is not None  # noqa: S101  there was a cancellation
        return line

    # --- life ------------------------------------------------------------------------------

    def end(self, ending: Ending) -> None:
        """Ask the session to end once what is queued for the client has been sent.

        The transport bounds how long that takes. A session that still waits for a place of its
        backend has nothing to send, and ends at once.
        """
        if not self._served:
            self._end(ending)
            return
        try:
            self._speaking.say(ending)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self._end(ending)

    def _end(self, ending: Ending) -> None:
        if self.ending is None:
            self.ending = ending
        self._scope.cancel()

    async def run(self) -> None:
        """Live until the client leaves, the backend fails or `end` is called.

        Never raises for what happens inside the session: it is logged, told to the client in
        an `error` event, and the transport is closed with a code and a reason. The transport
        is closed on every way out, cancellation included.
        """
        try:
            with self._scope:
                async with self._place() as self._link:
                    await self._serve()
        except* Exception as group:
            self.ending = ending_for(group)
            if self.ending.error_code == "internal_error":
                log.exception("session failed", session_id=self.id)
            else:
                log.warning("session ended", session_id=self.id, reason=self.ending.reason)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GOODBYE_TIMEOUT):
                await self._goodbye(self.ending or GOING_AWAY)

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[BackendSession, None]:
        """Wait for a place of the backend; a client that hangs up meanwhile leaves the line."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_ahead)
            async with self._backend.session(self.id) as link:
                await self._ahead.end()
                yield link

    async def _read_ahead(self) -> None:
        if not await self._ahead.run():
            self._end(CLIENT_LEFT)

    async def _serve(self) -> None:
        self._served = True
        # Closed when the tasks have ended, not by them: of tasks that are cancelled together
        # one may go first, and what the others hand on then is no failure.
        with closing(self._speaking), closing(self._hearing):
            started = self._engine.start()
            self._speaking.begin()
            self._hand_on(started)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._reader, started)
                nursery.start_soon(self._hearing.run)
                nursery.start_soon(self._speaking.run)
                nursery.start_soon(self._pump)

    async def _goodbye(self, ending: Ending) -> None:
        line = self._mooring.line
        if line is None:
            return
        if ending.error_code is not None and ending.error is not None:
            event = self._engine.failure(ending.error_code, ending.error)
            message = self._codec.dump(event)
            if message is not None:
                with suppress(TransportClosed):
                    await line.transport.send(message)
        await line.transport.close(ending.code, ending.reason)
        self._mooring.drop(line)

    # --- the four tasks --------------------------------------------------------------------

    async def _reader(self, started: Step) -> None:
        await self._hearing.hear(started.commands)
        while True:
            line = await self._attached()
            waiting: str | bytes | Step | None = None
            with trio.CancelScope() as line.receiving:
                try:
                    waiting = await self._receive(line.transport)
                except TransportClosed as exc:
                    log.debug("transport lost", session_id=self.id, why=str(exc))
                    self._mooring.drop(line)
            # Outside the scope: what was received is not lost to a detach.
            if isinstance(waiting, Step):
                await self._hearing.hear(waiting.commands)
            elif waiting is not None:
                await self._speaking.room()
                step = self._take(waiting)
                self._hand_on(step)
                await self._hearing.hear(step.commands)

    async def _receive(self, transport: Transport) -> str | bytes | Step:
        """Take frames as long as nothing has to wait; returns the first that has to, or the
        step of one that was handed on but for its listen commands."""
        early = self._ahead.read
        in_a_row = 0
        while True:
            frame = early.popleft() if early else await transport.receive()
            if self._hearing.behind or not self._speaking.has_room:
                return frame
            step = self._take(frame)
            self._hand_on(step)
            # Only the reader's steps hold listen commands, so hearing them later than the
            # rest of the step reorders nothing, and a backend that lags makes the reader, and
            # so the client, wait.
            if not self._hearing.hear_now(step.commands):
                return step
            in_a_row += 1
            if in_a_row == FRAMES_IN_A_ROW:
                in_a_row = 0
                await trio.lowlevel.checkpoint()

    def _take(self, frame: str | bytes) -> Step:
        now = trio.current_time()
        try:
            event = self._codec.load(frame)
        except ProtocolError as problem:
            return self._engine.reject(problem, now)
        return self._engine.receive(event, now)

    async def _pump(self) -> None:
        with closing(self._link.events):
            while not self._lost:
                event: BackendEvent | None = None
                with trio.CancelScope(deadline=self._engine.deadline) as self._waking:
                    event = await self._next_event()
                self._waking = None
                if self._failure is not None:
                    raise self._failure
                await self._speaking.room()
                if isinstance(event, BackendLost):
                    self._lose(event.failure)
                elif event is not None:
                    self._hand_on(self._engine.report(event, trio.current_time()))
                else:
                    self._hand_on(self._engine.tick(trio.current_time()))

    async def _next_event(self) -> BackendEvent:
        """Report events as long as nothing has to wait; returns the first that has to, or
        that ends the session."""
        while True:
            try:
                event = await self._link.events.receive(self._report_now)
            except trio.EndOfChannel:
                return BackendLost(Failure("backend_failed", "the backend has gone"))
            if not self._reportable(event):
                return event
            self._hand_on(self._engine.report(event, trio.current_time()))

    def _report_now(self, event: BackendEvent) -> bool:
        """Report an event in the step in which the backend has it, while the pump waits."""
        if self._handing_on or self._failure is not None or not self._reportable(event):
            return False
        try:
            self._hand_on(self._engine.report(event, trio.current_time()))
        except Exception as exc:  # noqa: BLE001  the pump raises it: it is not the backend's
            self._failure = exc
            if self._waking is not None:
                self._waking.cancel()
        return True

    def _reportable(self, event: BackendEvent) -> bool:
        ending = self._lost or self.ending is not None or isinstance(event, BackendLost)
        return not ending and self._speaking.has_room

    def _audio_let_go(self) -> None:
        log.info("the oldest audio of a session is not kept", session_id=self.id)

    # --- stepping the engine ---------------------------------------------------------------

    def _hand_on(self, step: Step) -> None:
        if self.ending is None and (step.events or step.close is not None):
            self._speaking.say(step)
        # What a command brings about is reported when all of the step has been handed on.
        within, self._handing_on = self._handing_on, True
        for command in step.commands:
            if not isinstance(command, ListenCommand):
                self._command(command)
        self._handing_on = within
        if self._waking is not None:
            deadline = self._engine.deadline
            # To set it costs something even where nothing changes, as with most steps.
            if deadline != self._waking.deadline:
                self._waking.deadline = deadline

    def _command(self, command: Command) -> None:
        if self._lost:
            return
        try:
            self._link.send(command)
        except BackendBroken as exc:
            self._lose(Failure("backend_failed", str(exc)))

    def _lose(self, failure: Failure) -> None:
        """The backend is gone: the engine ends what is under way, and then the session."""
        if not self._lost:
            self._lost = True
            self._hand_on(self._engine.report(BackendLost(failure), trio.current_time()))
