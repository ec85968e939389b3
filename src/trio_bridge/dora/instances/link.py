"""One session's line to an instance: commands become rows, rows become events."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.contract import Answer, Listen, Row, Speech, Transcript
from trio_bridge.dora.contract import Cancel as CancelRow
from trio_bridge.dora.descriptors.node_entry import QUEUE_SIZE
from trio_bridge.dora.instances.intake import Intake, Pace
from trio_bridge.dora.instances.translate import to_event, to_row
from trio_bridge.errors import BackendBroken
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Cancel,
    Clear,
    Command,
    Commit,
    Configure,
    Failure,
    Respond,
    ResponseFinished,
    ResponseOpened,
)
from trio_bridge.messages import Transcript as TranscriptEvent
from trio_bridge.reports import Reports

EVENTS_WAITING = 1024
"""Events a session may leave unread: 20 s of 20 ms audio frames. The instance never waits for
a session; one that far behind is ended."""

MOST_MISSING = QUEUE_SIZE
"""Rows of a response that may be missing at once; a longer gap is a number that is wrong."""

BAD_ROW = "node_broke_contract"
"""The code of failures that a node's bad row is the reason of."""

log = structlog.get_logger(__name__)


@define(eq=False)
class EventLine:
    """What comes back to a session, in order; the common part of all contracts.

    Args:
        session_id: Whose it is.
    """

    session_id: str
    # One place more than is used, kept for the word that the session has been ended.
    events: Reports = field(factory=lambda: Reports(EVENTS_WAITING + 1), init=False)
    _lost: Failure | None = field(default=None, init=False)

    def open(self) -> None:
        """Tell the nodes that the session begins."""
        raise NotImplementedError

    def send(self, command: Command) -> None:
        """See `BackendSession.send`."""
        raise NotImplementedError

    @property
    def has_room(self) -> bool:
        """See `BackendSession.has_room`."""
        return True

    async def room(self) -> None:
        """See `BackendSession.room`."""

    def close(self) -> None:
        """Tell the nodes that the session is over, and stop what is under way for it."""
        self.let_go()
        self.events.end()
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
            self.events.report(BackendLost(failure))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("the session had ended already", session=self.session_id)
        self.events.end()

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
        if self.events.waiting >= EVENTS_WAITING:
            self._stop()
            words = f"the session left {EVENTS_WAITING} events unread"
            self.end(Failure("session_overrun", words))
            return
        try:
            self.events.report(event)
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
        intake: Says how much the nodes can be given to hear.
        transcribed: Whether all that is committed gets a transcript.
    """

    _ports: Collection[str]
    _send: Callable[[str, Row], None]
    _intake: Intake = field(factory=Intake)
    _transcribed: bool = False
    _pace: Pace = field(factory=Pace, init=False)
    _seq: int = field(default=0, init=False)
    _responses: dict[str, int] = field(factory=dict, init=False)
    """Those under way → the number of the row that is due next."""

    # --- from the session -------------------------------------------------------------------

    def open(self) -> None:
        """See `EventLine.open`."""
        self._listen("open")

    @property
    def has_room(self) -> bool:
        """See `BackendSession.has_room`."""
        return self._intake.has_room(self._pace, trio.current_time())

    async def room(self) -> None:
        """See `BackendSession.room`."""
        await self._intake.room(self._pace)

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
                self._responses[response_id] = 0
            case Cancel(response_id):
                self._responses.pop(response_id, None)
        if isinstance(row, Listen):
            self._seq += 1
            now = trio.current_time()
            self._intake.said(row, self._pace, now)
            match command:
                case Configure(turn_detection):
                    self._pace.transcribed = self._transcribed and turn_detection is None
                case Commit(item_id):
                    self._pace.committed(item_id, now)
                case Clear():
                    self._pace.cleared()
        self._send(port, row)

    def _stop(self) -> None:
        for response_id in sorted(self._responses):
            self.send(Cancel(response_id))
        self._listen("close")

    def _listen(self, op: str) -> None:
        self._send("listen", Listen(self.session_id, self._seq, op))
        self._seq += 1

    # --- from the nodes ---------------------------------------------------------------------

    def receive(self, row: Row) -> int:
        """Take a row from a node.

        Returns:
            How many rows are missing before it.

        Raises:
            ValueError: It cannot be used. Whoever waits for it has been told.
        """
        if isinstance(row, Transcript) and row.event != "partial":
            self._heard(row)
        try:
            event = to_event(row)
        except (ArithmeticError, LookupError, TypeError, ValueError) as exc:
            self._refuse(row, str(exc))
            raise ValueError(f"{type(row).__name__}: {exc}") from exc
        if event is None:
            raise ValueError(f"{type(row).__name__}: no event is called so")
        missing = self._missing_before(row)
        match event:
            case ResponseOpened(response_id):
                self._responses.setdefault(response_id, 1)
            case ResponseFinished(response_id):
                self._responses.pop(response_id, None)
        self._deliver(event)
        return missing

    def _heard(self, row: Transcript) -> None:
        if row.item_id is not None and self._pace.heard(row.item_id):
            self._intake.stir()

    def _missing_before(self, row: Row) -> int:
        if not isinstance(row, Answer) or row.response_id not in self._responses:
            return 0
        expected = self._responses[row.response_id]
        self._responses[row.response_id] = row.seq + 1
        if row.seq - expected > MOST_MISSING:
            raise ValueError(f"Answer.seq is {row.seq}, and was {expected - 1} before")
        return max(row.seq - expected, 0)

    def _refuse(self, row: Row, words: str) -> None:
        """End what a bad row was about, so that nobody waits for it."""
        match row:
            case Answer():
                self._fail(row.response_id, f"an answer could not be used: {words}")
            case Transcript():
                failure = Failure(BAD_ROW, f"a transcript could not be used: {words}")
                event = TranscriptEvent(
                    row.utterance_id, "", final=True, item_id=row.item_id, failure=failure
                )
                self._deliver(event)
            case Speech():
                self.end(Failure(BAD_ROW, f"the speech monitor cannot be used: {words}"))

    def fail_responses(self, words: str) -> None:
        """End the responses under way: part of one of them has been lost."""
        for response_id in list(self._responses):
            self._fail(response_id, words)

    def _fail(self, response_id: str, words: str) -> None:
        if self._lost is not None or self._responses.pop(response_id, None) is None:
            return
        if "cancel" in self._ports:
            self._send("cancel", CancelRow(self.session_id, response_id))
        failure = Failure(BAD_ROW, words)
        self._deliver(ResponseFinished(response_id, status="failed", failure=failure))
