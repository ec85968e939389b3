"""The responses under way: asked for, awaited, spoken and brought to their end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from trio_bridge.messages import (
    AudioDelta,
    Cancel,
    Capabilities,
    Failure,
    Respond,
    ResponseEvent,
    ResponseFinished,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Usage,
)
from trio_bridge.realtime import problems
from trio_bridge.realtime.config import ResponseConfig
from trio_bridge.realtime.context import ContextWindow
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.idle import IdleWatch
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.pacing import Pacer
from trio_bridge.realtime.response import Ending, Excess, Response
from trio_bridge.realtime.step import Draft

TRANSCRIPT_PATIENCE = 10.0
"""Seconds that a response waits for the transcripts of what it answers. A recogniser that all
speakers share may be busy for some seconds; nobody on a call waits longer than this."""

RESPONSES_LIMIT = 16
"""Responses under way at once, the conversation's own and those beside it."""

ENDED_REMEMBERED = 64
"""Responses whose end is remembered, so that the backend's late words about one are not taken
for a new one."""


@frozen
class _Waiting:
    """What a response answers, and until when it waits for the transcripts among it. Items of
    the conversation may have to be cut, those that the client chose may not."""

    items: tuple[Item | Json, ...]
    until: float


@define
class Responder:
    """Keeps the responses of a session, at most one of them the conversation's own.

    Args:
        model: The session's model.
        capabilities: What the backend offers.
        lead: Seconds that speech may leave ahead of its playback.
        conversation: What is answered.
        ids: Names everything.
        out: Where events and commands go.

    Attributes:
        idle: Learns when the conversation's answers have been heard.
    """

    model: str
    capabilities: Capabilities
    lead: float
    conversation: Conversation
    ids: Ids
    out: Draft
    idle: IdleWatch = field(factory=IdleWatch, init=False)
    _window: ContextWindow = field(factory=ContextWindow, init=False)
    _under_way: dict[str, Response] = field(factory=dict, init=False)
    _waiting: dict[str, _Waiting] = field(factory=dict, init=False)
    _ended: deque[str] = field(factory=lambda: deque(maxlen=ENDED_REMEMBERED), init=False)

    @property
    def active(self) -> Response | None:
        """The response that the conversation is waiting for."""
        for response in self._under_way.values():
            if response.in_conversation:
                return response
        return None

    @property
    def deadline(self) -> float:
        """When `advance` will next have something to do, if nothing else comes."""
        soonest = math.inf
        for response in self._under_way.values():
            soonest = min(soonest, response.pacer.deadline)
        for waiting in self._waiting.values():
            soonest = min(soonest, waiting.until)
        return soonest

    # --- what the client wants -------------------------------------------------------------

    def check_room(self, config: ResponseConfig) -> None:
        """See that there is room for one more response.

        Raises:
            ProtocolError: The conversation has an active one, or there are too many.
        """
        active = self.active
        if config.conversation == "auto" and active is not None:
            raise problems.already_active(active.id)
        if len(self._under_way) >= RESPONSES_LIMIT:
            raise problems.too_many_responses(RESPONSES_LIMIT)

    def respond(
        self, config: ResponseConfig, items: tuple[Item | Json, ...], now: float
    ) -> None:
        """Make a response.

        Args:
            config: Its settings.
            items: What it answers, oldest first; the transcripts of items that belong to the
                conversation are waited for.
            now: The time.
        """
        response = self._open(None, config)
        if self.capabilities.responses:
            self._waiting[response.id] = _Waiting(items, now + TRANSCRIPT_PATIENCE)
        else:
            failure = Failure("no_responses", "The backend makes no responses on request.")
            self._end(response, Ending("failed", failure=failure), heard_at=now)

    def to_cancel(self, response_id: str | None) -> Response:
        """The response that the client wants cancelled: that one, or the active one.

        Raises:
            ProtocolError: There is none.
        """
        for response in self._under_way.values():
            if response.id == response_id or (response_id is None and response.in_conversation):
                return response
        raise problems.cancel_not_active()

    def cancel(self, response: Response, reason: str, now: float) -> None:
        """Stop a response; what was told of it is closed, and nobody hears the rest."""
        if response.id not in self._waiting and response.ending is None:
            self.out.ask(Cancel(response.backend_id))
        usage = response.ending.usage if response.ending else Usage()
        self._end(response, Ending("cancelled", reason, usage), heard_at=now)

    def cancel_all(self, reason: str, now: float) -> None:
        """Stop all that are under way."""
        for response in list(self._under_way.values()):
            self.cancel(response, reason, now)

    # --- what the backend reports ----------------------------------------------------------

    def opened(self, backend_id: str, config: ResponseConfig) -> bool:
        """The backend answers unasked; it is refused while another response is active. False
        if that is known, or over."""
        if backend_id in self._under_way or backend_id in self._ended:
            return False
        if self.active is not None or len(self._under_way) >= RESPONSES_LIMIT:
            self._ended.append(backend_id)
            self.out.ask(Cancel(backend_id))
        else:
            self._open(backend_id, config)
        return True

    def report(self, event: ResponseEvent, now: float) -> bool:
        """The backend has more of a response. False if that is over, or was never asked for."""
        response = self._under_way.get(event.response_id)
        if response is None or response.ending is not None or response.id in self._waiting:
            return False
        try:
            match event:
                case TextDelta():
                    response.text(event.text)
                case AudioDelta():
                    response.audio(event)
                case ToolCallDelta() | ToolCallDone():
                    response.call(event)
                case ResponseFinished():
                    response.end(Ending(event.status, event.reason, event.usage, event.failure))
        except Excess as excess:
            self.out.ask(Cancel(response.backend_id))
            failure = Failure("response_too_large", f"The backend sent {excess}.")
            heard_at = response.pacer.heard_at(now)
            self._end(response, Ending("failed", failure=failure), heard_at=heard_at)
        return True

    def fail_all(self, failure: Failure, now: float) -> None:
        """Nothing more comes for any of them."""
        for response in list(self._under_way.values()):
            self._end(response, Ending("failed", failure=failure), heard_at=now)

    # --- their course ----------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Ask for what can be asked for, tell what is due, end what is over."""
        for response_id, waiting in list(self._waiting.items()):
            items = [
                item
                for item in waiting.items
                if isinstance(item, dict) or item in self.conversation
            ]
            unheard = any(isinstance(item, Item) and item.awaits_transcript for item in items)
            if not unheard or now >= waiting.until:
                del self._waiting[response_id]
                self._ask(self._under_way[response_id], items)
        over = []
        for response in self._under_way.values():
            if response.id not in self._waiting:
                response.advance(now)
                if response.ending is not None and response.pacer.drained:
                    over.append((response, response.ending))
        for response, ending in over:
            self._end(response, ending, heard_at=response.pacer.heard_at(now))

    def _ask(self, response: Response, items: Sequence[Item | Json]) -> None:
        if response.config.input is None:
            of_conversation = [item for item in items if isinstance(item, Item)]
            items = self._window.fit(of_conversation, response.config.truncation)
        heard_ms = sum(item.heard_ms for item in items if isinstance(item, Item))
        request = response.request(_sayable(items), self.model, heard_ms=heard_ms)
        self.out.ask(Respond(response.id, request))

    def _open(self, backend_id: str | None, config: ResponseConfig) -> Response:
        response_id = self.ids.response()
        response = Response(
            id=response_id,
            backend_id=backend_id or response_id,
            config=config,
            conversation=self.conversation,
            ids=self.ids,
            out=self.out,
            pacer=Pacer(self.lead),
        )
        self._under_way[response.backend_id] = response
        if response.in_conversation:
            self.idle.stirred()
        response.open()
        return response

    def _end(self, response: Response, ending: Ending, *, heard_at: float) -> None:
        self._waiting.pop(response.id, None)
        del self._under_way[response.backend_id]
        self._ended.append(response.backend_id)
        response.finish(ending)
        if response.in_conversation:
            self.idle.answered(heard_at)


def _sayable(items: Iterable[Item | Json]) -> tuple[Json, ...]:
    """Items as a language model can be given them: what broke off before a word was heard, or
    within a call's arguments, was never said; what concerns MCP servers is between the client
    and them."""
    shown = (item if isinstance(item, dict) else item.to_json() for item in items)
    return tuple(item for item in shown if not _void(item))


def _void(item: Json) -> bool:
    if item["type"].startswith("mcp_"):
        return True
    if item["type"] == "function_call":
        return bool(item["status"] != "completed")
    if item["type"] == "message" and item["role"] == "assistant":
        return not any(part.get("text") or part.get("transcript") for part in item["content"])
    return False
