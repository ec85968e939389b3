"""The Realtime protocol as a machine: an event in, a step out. It does no I/O and knows no
clock but the `now` that it is given.

It holds the session's settings, the conversation, the user's turn and the responses under
way. Three kinds of thing move it: what the client sends (`receive`, `reject`), what the
backend reports (`report`), and time (`tick`, due at `deadline`).

Rules that the protocol leaves open, as they are kept here:

- A turn that ends while a response is active (interruption is off, or the response began
  during the turn) is answered once that response is done; several such turns get one answer.
- A response that the backend opens by itself is refused while another is active.
- A response waits for the transcripts of the speech it answers, at most
  `responder.TRANSCRIPT_PATIENCE`, and then goes on without them.
- An item that is still being spoken may be truncated: what is said in it from there on does
  not count as heard.
"""

from __future__ import annotations

from attrs import define, field

from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Capabilities,
    Configure,
    Failure,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime import events, problems
from trio_bridge.realtime.config import ResponseConfig, SessionConfig, response_overrides
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import ClientEvent, Json
from trio_bridge.realtime.fields import Fields, a_name
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.items import read_item, read_item_id
from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.responder import Responder
from trio_bridge.realtime.step import Draft, Step
from trio_bridge.realtime.turns import Turns

__all__ = ["RealtimeEngine", "Step"]

LEAD = 2.0
"""Seconds that speech leaves ahead of its playback, unless told otherwise."""


@define
class RealtimeEngine:
    """One session.

    Args:
        session_id: Its id.
        model: The model that the client asked for.
        config: Its settings to begin with.
        capabilities: What the backend offers.
        now: The time, in seconds of a monotonic clock; all later times are of the same.
        expires_at: When the session ends at the latest, Unix time in seconds.
        lead: Seconds that speech may leave ahead of its playback; `math.inf` for no limit.
        ids: Names everything.

    Attributes:
        config: The settings in effect.
        conversation: The conversation.
        dropped: Reports of the backend that came too late or twice, or made no sense.
    """

    session_id: str
    model: str
    config: SessionConfig
    capabilities: Capabilities
    now: float
    expires_at: int
    lead: float = LEAD
    ids: Ids = field(factory=Ids)
    dropped: int = field(default=0, init=False)
    conversation: Conversation = field(init=False)
    _out: Draft = field(factory=Draft, init=False)
    _turns: Turns = field(init=False)
    _responses: Responder = field(init=False)
    _turn_unanswered: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.conversation = Conversation(self.ids.conversation())
        self._turns = Turns(
            conversation=self.conversation,
            ids=self.ids,
            out=self._out,
            ledger=InputLedger(self.config.input_format.rate),
            transcripts=self.capabilities.transcripts,
        )
        self._responses = Responder(
            model=self.model,
            capabilities=self.capabilities,
            lead=self.lead,
            conversation=self.conversation,
            ids=self.ids,
            out=self._out,
        )

    # --- what moves it ---------------------------------------------------------------------

    def start(self) -> Step:
        """The session is open."""
        self._out.tell(events.SessionCreated(self.ids.event(), self._session_json()))
        self._configure()
        return self._out.take()

    def receive(self, event: ClientEvent, now: float) -> Step:
        """The client sent an event. One that cannot be carried out changes nothing and gives
        an `error` event."""
        if self._closed:
            return Step()
        self.now = now
        try:
            self._receive(event)
        except ProtocolError as problem:
            problem.client_event_id = event.event_id
            self._out.tell(problem.to_event(self.ids.event()))
        return self._settled()

    def reject(self, problem: ProtocolError, now: float) -> Step:
        """The client sent something that is no event."""
        if self._closed:
            return Step()
        self.now = now
        self._out.tell(problem.to_event(self.ids.event()))
        return self._settled()

    def report(self, event: BackendEvent, now: float) -> Step:
        """The backend reported something. What is late, double or senseless is dropped."""
        if self._closed:
            self.dropped += 1
            return Step()
        self.now = now
        self._report(event)
        return self._settled()

    def tick(self, now: float) -> Step:
        """Time has passed; to be called when `deadline` has come."""
        if self._closed:
            return Step()
        self.now = now
        return self._settled()

    @property
    def deadline(self) -> float:
        """When to `tick`; `math.inf` when there is nothing to wait for."""
        return self._responses.deadline

    def failure(self, code: str, message: str) -> events.Error:
        """An `error` event for something that went wrong on our side."""
        problem = ProtocolError(message, code=code, kind="server_error")
        return problem.to_event(self.ids.event())

    # --- the client ------------------------------------------------------------------------

    def _receive(self, event: ClientEvent) -> None:
        match event:
            case events.SessionUpdate():
                self._update(event.session)
            case events.InputAudioBufferAppend():
                self._turns.append(event.audio)
            case events.InputAudioBufferCommit():
                self._turns.commit(told=self._transcripts_told)
            case events.InputAudioBufferClear():
                self._turns.clear()
            case events.ConversationItemCreate():
                self._create_item(event)
            case events.ConversationItemRetrieve():
                item = self.conversation.find(event.item_id, "retrieving")
                self._out.tell(
                    events.ConversationItemRetrieved(self.ids.event(), item.to_json())
                )
            case events.ConversationItemDelete():
                self.conversation.remove(self.conversation.find(event.item_id, "deleting"))
                self._out.tell(events.ConversationItemDeleted(self.ids.event(), event.item_id))
            case events.ConversationItemTruncate():
                self.conversation.truncate(
                    event.item_id, event.content_index, event.audio_end_ms
                )
                self._out.tell(
                    events.ConversationItemTruncated(
                        self.ids.event(),
                        event.item_id,
                        event.content_index,
                        event.audio_end_ms,
                    )
                )
            case events.ResponseCreate():
                self._create_response(event.response)
            case events.ResponseCancel():
                response = self._responses.to_cancel(event.response_id)
                self._responses.cancel(response, "client_cancelled")

    def _update(self, session: Json) -> None:
        before = self.config
        self.config = before.updated(
            session, voice_locked=self.conversation.has_assistant_audio
        )
        self._out.tell(events.SessionUpdated(self.ids.event(), self._session_json()))
        if (self.config.turn_detection, self.config.transcription) != (
            before.turn_detection,
            before.transcription,
        ):
            self._configure()

    def _create_item(self, event: events.ConversationItemCreate) -> None:
        item = self._read_item(event.item, "item")
        self.conversation.create(item, event.previous_item_id)
        previous = self.conversation.previous_of(item)
        self._out.tell(
            events.ConversationItemAdded(self.ids.event(), item.to_json(), previous),
            events.ConversationItemDone(self.ids.event(), item.to_json(), previous),
        )

    def _read_item(self, item: Json, path: str) -> Item:
        item_id = read_item_id(item, path) or self.ids.item(self.conversation.taken)
        return Item(item_id, read_item(item, new_call_id=self.ids.call(), path=path))

    def _create_response(self, response: Json | None) -> None:
        config = response_overrides(self.config, response)
        self._responses.check_room(config)
        self._responses.respond(config, self._read_input(config), self.now)

    def _read_input(self, config: ResponseConfig) -> tuple[Item | Json, ...]:
        if config.input is None:
            return tuple(self.conversation)
        items: list[Item | Json] = []
        for index, given in enumerate(config.input):
            path = f"response.input[{index}]"
            if given["type"] != "item_reference":
                items.append(self._read_item(given, path).to_json())
                continue
            item_id = Fields(given, path).require("id", a_name)
            item = self.conversation.get(item_id)
            if item is None:
                raise problems.unknown_reference(f"{path}.id", item_id)
            items.append(item)
        return tuple(items)

    # --- the backend -----------------------------------------------------------------------

    def _report(self, event: BackendEvent) -> None:
        match event:
            case SpeechStarted():
                self._speech_started(event)
            case SpeechStopped():
                self._speech_stopped(event)
            case Transcript():
                self._count(taken=self._turns.transcript(event))
            case BackendLost():
                self._backend_lost(event.failure)
            case ResponseOpened():
                config = response_overrides(self.config, None)
                self._count(taken=self._responses.opened(event.response_id, config))
            case _:
                self._count(taken=self._responses.report(event))

    def _speech_started(self, event: SpeechStarted) -> None:
        detection = self.config.turn_detection
        taken = detection is not None and self._turns.started(event)
        self._count(taken=taken)
        if taken and detection is not None and detection.interrupt_response:
            # What this turn says belongs to the question; its end is what is answered.
            self._turn_unanswered = False
            active = self._responses.active
            if active is not None:
                self._responses.cancel(active, "turn_detected")

    def _speech_stopped(self, event: SpeechStopped) -> None:
        taken = self._turns.stopped(event, told=self._transcripts_told)
        self._count(taken=taken)
        detection = self.config.turn_detection
        if taken and detection is not None and detection.create_response:
            # A backend that takes no requests answers turns of its own accord.
            self._turn_unanswered = self.capabilities.responses

    def _backend_lost(self, failure: Failure) -> None:
        self._responses.fail_all(failure)
        self._out.tell(self.failure(failure.code, failure.message))
        self._out.close(failure)
        self._closed = True

    # --- what follows of itself ------------------------------------------------------------

    def _settled(self) -> Step:
        """The step, with all that has become due by now."""
        if not self._closed:
            self._responses.advance(self.now)
            if self._turn_unanswered and self._responses.active is None:
                self._turn_unanswered = False
                config = response_overrides(self.config, None)
                self._responses.respond(config, tuple(self.conversation), self.now)
                self._responses.advance(self.now)
            for item_id in self.conversation.forget_oldest():
                self._out.tell(events.ConversationItemDeleted(self.ids.event(), item_id))
        return self._out.take()

    # --- small things ----------------------------------------------------------------------

    @property
    def _transcripts_told(self) -> bool:
        return self.config.transcription is not None

    def _count(self, *, taken: bool) -> None:
        if not taken:
            self.dropped += 1

    def _configure(self) -> None:
        detection = self.config.turn_detection
        self._out.ask(
            Configure(
                turn_detection=None if detection is None else detection.to_json(),
                transcription=self.config.transcription,
            )
        )

    def _session_json(self) -> Json:
        return self.config.to_json(
            session_id=self.session_id, model=self.model, expires_at=self.expires_at
        )
