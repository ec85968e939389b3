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
- The idle timeout runs from the end of an answer to the next word of either side, while the
  client sends audio; without any, it starts anew.
- A session of type `transcription` makes no responses: `response.create` is not among the
  events it knows, and what a backend answers unasked is refused.
"""

from __future__ import annotations

import math

from attrs import define, field

from trio_bridge.audio.encodings import Encoding
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Cancel,
    Capabilities,
    Clear,
    Configure,
    Failure,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime import events, problems
from trio_bridge.realtime.config import (
    LOGPROBS,
    ServerVad,
    SessionConfig,
    response_overrides,
)
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import ClientEvent, Json
from trio_bridge.realtime.given import ItemReader
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.recordings import KEPT_LIMIT, Recordings
from trio_bridge.realtime.responder import Responder
from trio_bridge.realtime.step import Draft, Step
from trio_bridge.realtime.turns import Interest, Turns

__all__ = ["RealtimeEngine", "Step"]

LEAD = 2.0
"""Seconds that speech leaves ahead of its playback, unless told otherwise."""

MAX_SECONDS = 3600.0
"""How long a session may last, by the protocol."""


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
        strict: A field that the protocol does not know is an error.
        max_seconds: How long the session may last; `math.inf` for no limit.
        audio_limit: Bytes of audio kept for `conversation.item.retrieve`.

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
    strict: bool = False
    max_seconds: float = MAX_SECONDS
    audio_limit: int = KEPT_LIMIT
    dropped: int = field(default=0, init=False)
    conversation: Conversation = field(init=False)
    _out: Draft = field(factory=Draft, init=False)
    _reader: ItemReader = field(init=False)
    _turns: Turns = field(init=False)
    _responses: Responder = field(init=False)
    _turn_unanswered: bool = field(default=False, init=False)
    _expires: float = field(init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._expires = self.now + self.max_seconds
        recordings = Recordings(self.audio_limit)
        self.conversation = Conversation(self.ids.conversation(), recordings)
        self._reader = ItemReader(self.conversation, self.ids, self.strict)
        self._turns = Turns(
            conversation=self.conversation,
            ids=self.ids,
            out=self._out,
            ledger=InputLedger(self.config.input_format),
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
        if isinstance(event, events.InputAudioBufferAppend):
            # Nine of ten events, and nothing follows of them: what is due has its deadline.
            self._turns.append(event.audio)
            return self._out.take()
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
        if self._closed:
            return math.inf
        return min(self._responses.deadline, self._idle_deadline, self._expires)

    def failure(self, code: str, message: str) -> events.Error:
        """An `error` event for something that went wrong on our side."""
        problem = ProtocolError(message, code=code, kind="server_error")
        return problem.to_event(self.ids.event())

    # --- the client ------------------------------------------------------------------------

    def _receive(self, event: ClientEvent) -> None:
        match event:
            case events.SessionUpdate():
                self._update(event.session)
            case events.InputAudioBufferCommit():
                self._turns.commit(self._interest)
                self._responses.idle.stirred()
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
                self._responses.cancel(response, "client_cancelled", self.now)

    def _update(self, session: Json) -> None:
        before = self.config
        self.config = before.updated(
            session,
            voice_locked=self.conversation.has_assistant_audio,
            strict=self.strict,
        )
        self._turns.ledger.use(self.config.input_format)
        if not self._answers:
            self._turn_unanswered = False
            self._responses.cancel_all("client_cancelled", self.now)
        self._out.tell(events.SessionUpdated(self.ids.event(), self._session_json()))
        if (self.config.turn_detection, self.config.transcription, self.config.include) != (
            before.turn_detection,
            before.transcription,
            before.include,
        ):
            self._configure()

    def _create_item(self, event: events.ConversationItemCreate) -> None:
        item, given = self._reader.read(event.item, "item")
        if given.unheard and (given.unheard != [0] or self._turns.going_on):
            raise problems.unheard_audio(f"item.content[{given.unheard[0]}].audio")
        self.conversation.create(item, event.previous_item_id)
        for index, data in given.audio.items():
            self.conversation.recordings.put(item.id, index, data, self._encoding_of(item))
        previous = self.conversation.previous_of(item)
        self._out.tell(
            events.ConversationItemAdded(self.ids.event(), item.to_json(), previous),
            events.ConversationItemDone(self.ids.event(), item.to_json(), previous),
        )
        if given.unheard:
            self._hear(item, given.audio[0])

    def _hear(self, item: Item, data: bytes) -> None:
        """Have an item transcribed whose sound did not come through the input buffer."""
        self._out.ask(Clear(), Configure(None, self._transcription))
        self._turns.transcribe(item, data, self._encoding_of(item), self._interest)
        self._configure()
        self._turns.hear_again(item)

    def _encoding_of(self, item: Item) -> Encoding:
        by_user = item.body.get("role") == "user"
        return (self.config.input_format if by_user else self.config.output_format).encoding

    def _create_response(self, response: Json | None) -> None:
        if not self._answers:
            supported = [tag for tag in events.CLIENT_TAGS if not tag.startswith("response.")]
            raise problems.unknown_type("response.create", supported)
        config = response_overrides(self.config, response, strict=self.strict)
        self._responses.check_room(config)
        items: tuple[Item | Json, ...] = tuple(self.conversation)
        if config.input is not None:
            items = self._reader.read_input(config.input)
        self._responses.respond(config, items, self.now)

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
            case ResponseOpened() if not self._answers:
                self._out.ask(Cancel(event.response_id))
            case ResponseOpened():
                config = response_overrides(self.config, None)
                self._count(taken=self._responses.opened(event.response_id, config))
            case _:
                self._count(taken=self._responses.report(event, self.now))

    def _speech_started(self, event: SpeechStarted) -> None:
        detection = self.config.turn_detection
        taken = detection is not None and self._turns.started(event)
        self._count(taken=taken)
        if taken:
            self._responses.idle.stirred()
        if taken and detection is not None and detection.interrupt_response:
            # What this turn says belongs to the question; its end is what is answered.
            self._turn_unanswered = False
            active = self._responses.active
            if active is not None:
                self._responses.cancel(active, "turn_detected", self.now)
                self._responses.idle.stirred()

    def _speech_stopped(self, event: SpeechStopped) -> None:
        taken = self._turns.stopped(event, self._interest)
        self._count(taken=taken)
        if taken:
            self._responses.idle.stirred()
        detection = self.config.turn_detection
        if taken and detection is not None and detection.create_response:
            # A backend that takes no requests answers turns of its own accord.
            self._turn_unanswered = self.capabilities.responses

    def _backend_lost(self, failure: Failure) -> None:
        self._close(failure, self.failure(failure.code, failure.message))

    def _close(self, why: Failure, told: events.Error) -> None:
        self._responses.fail_all(why, self.now)
        self._out.tell(told)
        self._out.close(why)
        self._closed = True

    # --- what follows of itself ------------------------------------------------------------

    def _settled(self) -> Step:
        """The step, with all that has become due by now."""
        if not self._closed and self.now >= self._expires:
            self._expire()
        if not self._closed:
            self._responses.advance(self.now)
            if self.now >= self._idle_deadline:
                self._idle_timeout()
            if self._turn_unanswered and self._responses.active is None:
                self._turn_unanswered = False
                config = response_overrides(self.config, None)
                self._responses.respond(config, tuple(self.conversation), self.now)
                self._responses.advance(self.now)
            for item_id in self.conversation.forget_oldest():
                self._out.tell(events.ConversationItemDeleted(self.ids.event(), item_id))
        return self._out.take()

    def _expire(self) -> None:
        problem = problems.session_expired(round(self.max_seconds / 60))
        failure = Failure("session_expired", problem.message)
        self._close(failure, problem.to_event(self.ids.event()))

    @property
    def _idle_deadline(self) -> float:
        if not self._responses.idle.waiting or self._turns.going_on:
            return math.inf
        detection = self.config.turn_detection
        timeout_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        return self._responses.idle.deadline(timeout_ms)

    def _idle_timeout(self) -> None:
        detection = self.config.turn_detection
        assert isinstance(detection, ServerVad)  # noqa: S101  no other has a timeout
        assert detection.idle_timeout_ms is not None  # noqa: S101
        self._responses.idle.answered(self.now)
        if self._turns.silence(detection.idle_timeout_ms, self._interest):
            self._turn_unanswered = self.capabilities.responses

    # --- small things ----------------------------------------------------------------------

    @property
    def _answers(self) -> bool:
        return self.config.type == "realtime"

    @property
    def _interest(self) -> Interest:
        return Interest(
            transcript=self.config.transcription is not None,
            logprobs=LOGPROBS in (self.config.include or ()),
        )

    @property
    def _transcription(self) -> Json | None:
        """What the recogniser is told: some work longer for log probabilities."""
        given = self.config.transcription
        if given is None or not self._interest.logprobs:
            return given
        return {**given, "logprobs": True}

    def _count(self, *, taken: bool) -> None:
        if not taken:
            self.dropped += 1

    def _configure(self) -> None:
        detection = self.config.turn_detection
        self._turns.detecting = detection is not None
        self._out.ask(
            Configure(
                turn_detection=None if detection is None else detection.to_json(),
                transcription=self._transcription,
            )
        )

    def _session_json(self) -> Json:
        return self.config.to_json(
            session_id=self.session_id, model=self.model, expires_at=self.expires_at
        )
