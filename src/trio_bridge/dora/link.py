"""One session's line to an instance: commands become rows, rows become events."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.contract import Listen, Row
from trio_bridge.dora.translate import to_event, to_row
from trio_bridge.errors import BackendBroken
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Cancel,
    Command,
    Failure,
    Respond,
    ResponseFinished,
    ResponseOpened,
)

EVENTS_WAITING = 1024
"""Events a session may leave unread: 20 s of 20 ms audio frames. The instance never waits for
a session; one that far behind is ended."""

log = structlog.get_logger(__name__)


@define(eq=False)
class EventLine:
    """What comes back to a session, in order; the common part of all contracts.

    Args:
        session_id: Whose it is.
    """

    session_id: str
    _event_send: trio.MemorySendChannel[BackendEvent] = field(init=False)
    events: trio.MemoryReceiveChannel[BackendEvent] = field(init=False)
    _lost: Failure | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # One place more than is used, kept for the word that the session has been ended.
        self._event_send, self.events = trio.open_memory_channel(EVENTS_WAITING + 1)

    def open(self) -> None:
        """Tell the nodes that the session begins."""
        raise NotImplementedError

    def send(self, command: Command) -> None:
        """See `BackendSession.send`."""
        raise NotImplementedError

    def close(self) -> None:
        """Tell the nodes that the session is over, and stop what is under way for it."""
        self.let_go()
        self._event_send.close()
        self.events.close()

    def let_go(self) -> None:
        """Tell the nodes that the session is over, if they can still be told."""
        if self._lost is None:
            self._stop()

    def end(self, failure: Failure) -> None:
        """Say that the backend is lost to this session; nothing else comes after it."""
        if self._lost is not None:
            return
        self._lost = failure
        try:
            self._event_send.send_nowait(BackendLost(failure))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("the session had ended already", session=self.session_id)
        self._event_send.close()

    def _stop(self) -> None:
        """Tell the nodes that it is over."""
        raise NotImplementedError

    def _check(self) -> None:
        if self._lost is not None:
            raise BackendBroken(self._lost.message)

    def _deliver(self, event: BackendEvent) -> None:
        """Hand an event over. Never waits: a session that is full is ended."""
        if self._lost is not None:
            return
        if self._event_send.statistics().current_buffer_used >= EVENTS_WAITING:
            self._stop()
            words = f"the session left {EVENTS_WAITING} events unread"
            self.end(Failure("session_overrun", words))
            return
        try:
            self._event_send.send_nowait(event)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The session closed its end and is about to leave.
            log.debug("an event came too late", session=self.session_id)

    def _unsupported(self, response_id: str) -> None:
        words = "this dataflow answers of its own accord only"
        failure = Failure("responses_unsupported", words)
        self._deliver(ResponseFinished(response_id, status="failed", failure=failure))


@define(eq=False)
class SessionLink(EventLine):
    """The `BackendSession` of a session on a dataflow of the native contract.

    Args:
        session_id: What its rows are told by.
        ports: Outputs that the bridge has in this dataflow.
        send: Sends a row on a port; never waits.
    """

    _ports: Collection[str]
    _send: Callable[[str, Row], None]
    _seq: int = field(default=0, init=False)
    _responses: set[str] = field(factory=set, init=False)

    # --- from the session -------------------------------------------------------------------

    def open(self) -> None:
        """See `EventLine.open`."""
        self._listen("open")

    def send(self, command: Command) -> None:
        """See `BackendSession.send`."""
        self._check()
        port, row = to_row(command, self.session_id, self._seq)
        if port not in self._ports:
            if isinstance(command, Respond):
                self._unsupported(command.response_id)
            return
        match command:
            case Respond(response_id):
                self._responses.add(response_id)
            case Cancel(response_id):
                self._responses.discard(response_id)
        if port == "listen":
            self._seq += 1
        self._send(port, row)

    def _stop(self) -> None:
        for response_id in sorted(self._responses):
            self.send(Cancel(response_id))
        self._listen("close")

    def _listen(self, op: str) -> None:
        self._send("listen", Listen(self.session_id, self._seq, op))
        self._seq += 1

    # --- from the nodes ---------------------------------------------------------------------

    def receive(self, row: Row) -> None:
        """Take a row from a node."""
        try:
            event = to_event(row)
        except ValueError as exc:
            log.warning(
                "a node sent a bad row",
                session=self.session_id,
                row=type(row).__name__,
                error=str(exc),
            )
            return
        match event:
            case None:
                return
            case ResponseOpened(response_id):
                self._responses.add(response_id)
            case ResponseFinished(response_id):
                self._responses.discard(response_id)
        self._deliver(event)
