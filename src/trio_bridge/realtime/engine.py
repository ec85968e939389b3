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
  `TRANSCRIPT_PATIENCE`, and then goes on without them.
- An item that is still being spoken may be truncated: what is said in it from there on does
  not count as heard.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from attrs import define, field, frozen

from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    BackendLost,
    Cancel,
    Capabilities,
    Configure,
    Failure,
    Respond,
    ResponseEvent,
    ResponseFinished,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Transcript,
    Usage,
)
from trio_bridge.realtime import events, problems
from trio_bridge.realtime.config import ResponseConfig, SessionConfig, response_overrides
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import ClientEvent, Json
from trio_bridge.realtime.fields import Fields, a_name
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.items import read_item, read_item_id
from trio_bridge.realtime.ledger import InputLedger
from trio_bridge.realtime.pacing import Pacer
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.response import Ending, Excess, Response
from trio_bridge.realtime.step import Draft, Step
from trio_bridge.realtime.turns import Turns

__all__ = ["RealtimeEngine", "Step"]

LEAD = 2.0
"""Seconds that speech leaves ahead of its playback, unless told otherwise."""

TRANSCRIPT_PATIENCE = 10.0
"""Seconds that a response waits for the transcripts of what it answers. A recogniser that all
speakers share may be busy for some seconds; nobody on a call waits longer than this."""

RESPONSES_LIMIT = 16
"""Responses under way at once, the conversation's own and those beside it."""

ENDED_REMEMBERED = 64
"""Responses whose end is remembered, so that the backend's late words about one are not taken
for a new one."""

CLOSE_REASON_BYTES = 123
"""What a WebSocket's close frame has room for, beside its code (RFC 6455, 5.5)."""


@frozen
class _Waiting:
    """What a response answers, and until when it waits for the transcripts among it."""

    items: tuple[Item | Json, ...]
    until: float


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
    _responses: dict[str, Response] = field(factory=dict, init=False)
    _waiting: dict[str, _Waiting] = field(factory=dict, init=False)
    _ended: deque[str] = field(factory=lambda: deque(maxlen=ENDED_REMEMBERED), init=False)
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

    def failure(self, code: str, message: str) -> events.Error:
        """An `error` event for something that went wrong on our side."""
        problem = ProtocolError(message, code=code, kind="server_error")
        return problem.to_event(self.ids.event())

    @property
    def deadline(self) -> float:
        """When to `tick`; `math.inf` when there is nothing to wait for."""
        pacing = (response.pacer.deadline for response in self._responses.values())
        patience = (waiting.until for waiting in self._waiting.values())
        return min((*pacing, *patience), default=math.inf)

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
                self._cancel(self._response_to_cancel(event.response_id), "client_cancelled")

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
        active = self._active
        if config.conversation == "auto" and active is not None:
            raise problems.already_active(active.id)
        if len(self._responses) >= RESPONSES_LIMIT:
            raise problems.too_many_responses(RESPONSES_LIMIT)
        self._respond(config, self._read_input(config))

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

    def _response_to_cancel(self, response_id: str | None) -> Response:
        for response in self._responses.values():
            if response.id == response_id or (response_id is None and response.in_conversation):
                return response
        raise problems.cancel_not_active()

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
                self._response_opened(event.response_id)
            case _:
                response = self._responses.get(event.response_id)
                taken = (
                    response is not None
                    and response.ending is None
                    and event.response_id not in self._waiting
                )
                self._count(taken=taken)
                if response is not None and taken:
                    self._respond_further(response, event)

    def _speech_started(self, event: SpeechStarted) -> None:
        detection = self.config.turn_detection
        taken = detection is not None and self._turns.started(event)
        self._count(taken=taken)
        if taken and detection is not None and detection.interrupt_response:
            # What this turn says belongs to the question; its end is what is answered.
            self._turn_unanswered = False
            if self._active is not None:
                self._cancel(self._active, "turn_detected")

    def _speech_stopped(self, event: SpeechStopped) -> None:
        taken = self._turns.stopped(event, told=self._transcripts_told)
        self._count(taken=taken)
        detection = self.config.turn_detection
        if taken and detection is not None and detection.create_response:
            # A backend that takes no requests answers turns of its own accord.
            self._turn_unanswered = self.capabilities.responses

    def _response_opened(self, backend_id: str) -> None:
        if backend_id in self._responses or backend_id in self._ended:
            self.dropped += 1
        elif self._active is not None or len(self._responses) >= RESPONSES_LIMIT:
            self._ended.append(backend_id)
            self._out.ask(Cancel(backend_id))
        else:
            self._open(backend_id, response_overrides(self.config, None))

    def _respond_further(self, response: Response, event: ResponseEvent) -> None:
        try:
            match event:
                case TextDelta():
                    response.text(event.text)
                case AudioDelta():
                    response.audio(event)
                case ToolCallDelta():
                    response.call_delta(event)
                case ToolCallDone():
                    response.call_done(event)
                case ResponseFinished():
                    response.end(Ending(event.status, event.reason, event.usage, event.failure))
        except Excess as excess:
            self._out.ask(Cancel(response.backend_id))
            failure = Failure("response_too_large", f"The backend sent {excess}.")
            self._end(response, Ending("failed", failure=failure))

    def _backend_lost(self, failure: Failure) -> None:
        for response in list(self._responses.values()):
            self._end(response, Ending("failed", failure=failure))
        self._out.tell(self.failure(failure.code, failure.message))
        self._out.close(1011, _close_reason(failure.message))
        self._closed = True

    # --- responses -------------------------------------------------------------------------

    @property
    def _active(self) -> Response | None:
        """The response that the conversation is waiting for."""
        for response in self._responses.values():
            if response.in_conversation:
                return response
        return None

    def _open(self, backend_id: str | None, config: ResponseConfig) -> Response:
        response_id = self.ids.response()
        response = Response(
            id=response_id,
            backend_id=backend_id or response_id,
            config=config,
            conversation=self.conversation,
            ids=self.ids,
            out=self._out,
            pacer=Pacer(self.lead),
        )
        self._responses[response.backend_id] = response
        response.open()
        return response

    def _respond(self, config: ResponseConfig, items: tuple[Item | Json, ...]) -> None:
        response = self._open(None, config)
        if self.capabilities.responses:
            self._waiting[response.id] = _Waiting(items, self.now + TRANSCRIPT_PATIENCE)
        else:
            failure = Failure("no_responses", "The backend makes no responses on request.")
            self._end(response, Ending("failed", failure=failure))

    def _cancel(self, response: Response, reason: str) -> None:
        if response.id not in self._waiting and response.ending is None:
            self._out.ask(Cancel(response.backend_id))
        usage = response.ending.usage if response.ending else Usage()
        self._end(response, Ending("cancelled", reason, usage))

    def _end(self, response: Response, ending: Ending) -> None:
        self._waiting.pop(response.id, None)
        del self._responses[response.backend_id]
        self._ended.append(response.backend_id)
        response.finish(ending)

    # --- what follows of itself ------------------------------------------------------------

    def _settled(self) -> Step:
        """The step, with all that has become due by now."""
        if not self._closed:
            self._send_requests()
            self._advance()
            if self._turn_unanswered and self._active is None:
                self._turn_unanswered = False
                self._respond(response_overrides(self.config, None), tuple(self.conversation))
                self._send_requests()
                self._advance()
            for item_id in self.conversation.forget_oldest():
                self._out.tell(events.ConversationItemDeleted(self.ids.event(), item_id))
        return self._out.take()

    def _send_requests(self) -> None:
        for response_id, waiting in list(self._waiting.items()):
            items = [
                item
                for item in waiting.items
                if isinstance(item, dict) or item in self.conversation
            ]
            unheard = any(isinstance(item, Item) and item.awaits_transcript for item in items)
            if unheard and self.now < waiting.until:
                continue
            del self._waiting[response_id]
            request = self._responses[response_id].request(_sayable(items), self.model)
            self._out.ask(Respond(response_id, request))

    def _advance(self) -> None:
        for response in list(self._responses.values()):
            if response.id in self._waiting:
                continue
            response.advance(self.now)
            if response.ending is not None and response.over:
                self._end(response, response.ending)

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


def _close_reason(message: str) -> str:
    return message.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore")


def _sayable(items: Iterable[Item | Json]) -> tuple[Json, ...]:
    """Items as a language model can be given them: what broke off before a word was heard, or
    within a call's arguments, was never said."""
    shown = (item if isinstance(item, dict) else item.to_json() for item in items)
    return tuple(item for item in shown if not _void(item))


def _void(item: Json) -> bool:
    if item["type"] == "function_call":
        return bool(item["status"] != "completed")
    if item["type"] == "message" and item["role"] == "assistant":
        return not any(part.get("text") or part.get("transcript") for part in item["content"])
    return False
