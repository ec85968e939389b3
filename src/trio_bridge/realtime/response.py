"""One response: the ladder of events from `response.created` to `response.done`.

A response makes at most one message, and any number of function calls beside it; each is an
output item that opens with its first content. The message stays open until all its speech has
left, so a call that is ready sooner is told sooner, under an output index of its own.

    response.created
      output_item.added → conversation.item.added → content_part.added       (first content)
        output_text.delta* | (output_audio_transcript.delta | audio)*
      output_text.done | output_audio.done → output_audio_transcript.done
      content_part.done → conversation.item.done → output_item.done
    response.done → rate_limits.updated
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from attrs import define, field, frozen

from trio_bridge.messages import (
    AudioDelta,
    Credit,
    Failure,
    ResponseRequest,
    ToolCallDelta,
    ToolCallDone,
    Usage,
)
from trio_bridge.realtime import events
from trio_bridge.realtime.config import ResponseConfig
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.pacing import Chunk, Overrun, Pacer
from trio_bridge.realtime.spoken import SpokenText
from trio_bridge.realtime.step import Draft

Status: TypeAlias = Literal["completed", "incomplete", "cancelled", "failed"]

TEXT_LIMIT = 1_000_000
"""Characters one response may say and call with: hundreds of times what `max_output_tokens`
allows. A model that runs away is stopped here."""

CALLS_LIMIT = 128
"""Function calls one response may make."""

SAMPLE_RATES = (8_000, 192_000)
"""Sample rates that speech may have, in Hz."""

RATE_LIMITS = (
    {"name": "requests", "limit": 1_000, "remaining": 999, "reset_seconds": 60.0},
    {"name": "tokens", "limit": 1_000_000, "remaining": 999_000, "reset_seconds": 60.0},
)
"""What `rate_limits.updated` says. Nothing is metered here; clients that slow down when little
remains find plenty."""

_REASONS = {
    "cancelled": ("turn_detected", "client_cancelled"),
    "incomplete": ("max_output_tokens", "content_filter"),
}
"""The reasons that the protocol knows; any other is left out."""

_NO_SAMPLES = np.zeros(0, dtype=np.float32)


class Excess(Exception):
    """A backend said more than a response may hold, or what cannot be played."""


@frozen
class Ending:
    """How a response ends."""

    status: Status = "completed"
    reason: str | None = None
    usage: Usage = field(factory=Usage)
    failure: Failure | None = None


@define(eq=False)
class _Message:
    item: Item
    output_index: int
    audio: bool
    said: str = ""


@define(eq=False)
class _Call:
    item: Item
    output_index: int
    call_id: str
    name: str
    arguments: str = ""
    open: bool = True


@define(eq=False)
class Response:
    """A response under way.

    Args:
        id: Its id.
        backend_id: What the backend calls it; its own name where it answers unasked.
        config: Its settings.
        conversation: Where its items go, if `config` says so.
        ids: Names events and items.
        out: Where events and commands go.
        pacer: Holds its audio back.

    Attributes:
        ending: How it ends, once the backend has said so and its audio is still leaving.
    """

    id: str
    backend_id: str
    config: ResponseConfig
    conversation: Conversation
    ids: Ids
    out: Draft
    pacer: Pacer
    ending: Ending | None = field(default=None, init=False)
    _message: _Message | None = field(default=None, init=False)
    _calls: dict[str, _Call] = field(factory=dict, init=False)
    _outputs: list[Item] = field(factory=list, init=False)
    _weight: int = field(default=0, init=False)

    @property
    def in_conversation(self) -> bool:
        """It belongs to the conversation; there is at most one such at a time."""
        return self.config.conversation == "auto"

    @property
    def over(self) -> bool:
        """The backend has ended it, and its last sample has left."""
        return self.ending is not None and self.pacer.drained

    def request(self, items: tuple[Json, ...], model: str) -> ResponseRequest:
        """What to ask the backend.

        Args:
            items: The conversation to answer, oldest item first.
            model: The session's model.
        """
        config = self.config
        return ResponseRequest(
            items=items,
            instructions=config.instructions,
            tools=config.tools,
            tool_choice=config.tool_choice,
            parallel_tool_calls=config.parallel_tool_calls,
            output_modality=config.output_modality,
            voice=config.voice,
            speed=config.speed,
            max_output_tokens=config.max_output_tokens,
            model=model,
            metadata=config.metadata,
        )

    # --- its course ------------------------------------------------------------------------

    def open(self) -> None:
        """Tell the client that it is being made."""
        self.out.tell(events.ResponseCreated(self.ids.event(), self.to_json("in_progress")))

    def text(self, text: str) -> None:
        """Take text. Where speech was asked for, it is transcript that belongs to no audio,
        and keeps its place among what is spoken.

        Raises:
            Excess: It is too much.
        """
        self._weigh(len(text))
        if self.config.output_modality == "text":
            self._say(text)
        else:
            self._put(Chunk(_NO_SAMPLES, SAMPLE_RATES[0], text))

    def audio(self, event: AudioDelta) -> None:
        """Take speech, to be told when it is due. Where text was asked for, what is spoken is
        told as text.

        Raises:
            Excess: It is too much, or of no possible sample rate.
        """
        if not SAMPLE_RATES[0] <= event.sample_rate <= SAMPLE_RATES[1]:
            raise Excess(f"speech at a sample rate of {event.sample_rate} Hz")
        self._weigh(len(event.text))
        if self.config.output_modality == "text":
            self._say(event.text)
        else:
            self._put(Chunk(event.samples, event.sample_rate, event.text, event.words))

    def call_delta(self, event: ToolCallDelta) -> None:
        """Take a piece of a function call's arguments.

        Raises:
            Excess: It is too much.
        """
        self._weigh(len(event.arguments))
        call = self._call(event.call_id, event.name)
        if call.open:
            self._tell_arguments(call, event.arguments)

    def call_done(self, event: ToolCallDone) -> None:
        """A function call is complete.

        Raises:
            Excess: It is too much.
        """
        call = self._call(event.call_id, event.name)
        if not call.open:
            return
        if event.arguments.startswith(call.arguments):
            rest = event.arguments[len(call.arguments) :]
            self._weigh(len(rest))
            self._tell_arguments(call, rest)
        call.arguments = event.arguments
        self.out.tell(
            events.ResponseFunctionCallArgumentsDone(
                self.ids.event(),
                self.id,
                call.item.id,
                call.output_index,
                call.call_id,
                event.name or call.name,
                event.arguments,
            )
        )
        self._close_call(call, "completed")

    def advance(self, now: float) -> None:
        """Tell the speech that is due, and grant the backend more."""
        for chunk in self.pacer.take(now):
            self._speak(chunk)
        if self.config.output_modality == "audio":
            credit = self.pacer.grant(now)
            if credit is not None:
                self.out.ask(Credit(self.backend_id, credit))

    def end(self, ending: Ending) -> None:
        """The backend has nothing more for it."""
        self.ending = ending
        self.pacer.complete()

    def finish(self, ending: Ending) -> None:
        """Close what is open, with what was told of it, and the response. Speech that has not
        left by now never will."""
        unspoken = self.pacer.discard()
        whole = ending.status == "completed"
        message = self._message
        if message is not None:
            self._close_message(message, "completed" if whole else "incomplete")
        for call in self._calls.values():
            if call.open:
                # No `arguments.done` here: clients carry out a call when they see that.
                self._close_call(call, "incomplete")
        self.out.tell(
            events.ResponseDone(self.ids.event(), self.to_json(ending.status, ending)),
            events.RateLimitsUpdated(self.ids.event(), [dict(each) for each in RATE_LIMITS]),
        )
        if not whole and message is not None:
            _remember_as_heard(message.item, unspoken * 1000)

    def to_json(
        self, status: Status | Literal["in_progress"], ending: Ending | None = None
    ) -> Json:
        """The response object.

        Args:
            status: Its status.
            ending: How it ended, if it did.
        """
        config = self.config
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": ending and _status_details(ending),
            "output": [item.to_json() for item in self._outputs],
            "conversation_id": self.conversation.id if self.in_conversation else None,
            "output_modalities": [config.output_modality],
            "max_output_tokens": config.max_output_tokens_json(),
            "audio": {
                "output": {"format": config.output_format.to_json(), "voice": config.voice}
            },
            "usage": None if ending is None else _usage(ending.usage),
            "metadata": config.metadata,
        }

    # --- its items -------------------------------------------------------------------------

    def _put(self, chunk: Chunk) -> None:
        try:
            self.pacer.put(chunk)
        except Overrun as exc:
            raise Excess("more speech than it had credit for") from exc

    def _weigh(self, characters: int) -> None:
        self._weight += characters
        if self._weight > TEXT_LIMIT:
            raise Excess(f"more than {TEXT_LIMIT} characters")

    def _open_item(self, body: Json) -> tuple[Item, int]:
        item = Item(self.ids.item(self.conversation.taken), body)
        index = len(self._outputs)
        self._outputs.append(item)
        self.out.tell(
            events.ResponseOutputItemAdded(self.ids.event(), self.id, index, item.to_json())
        )
        if self.in_conversation:
            previous = self.conversation.last_id
            self.conversation.append(item)
            self.out.tell(
                events.ConversationItemAdded(self.ids.event(), item.to_json(), previous)
            )
        return item, index

    def _close_item(self, item: Item, index: int) -> None:
        if item in self.conversation:
            previous = self.conversation.previous_of(item)
            self.out.tell(
                events.ConversationItemDone(self.ids.event(), item.to_json(), previous)
            )
        self.out.tell(
            events.ResponseOutputItemDone(self.ids.event(), self.id, index, item.to_json())
        )

    def _opened_message(self) -> _Message:
        if self._message is not None:
            return self._message
        audio = self.config.output_modality == "audio"
        body: Json = {
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        item, index = self._open_item(body)
        self._message = message = _Message(item, index, audio)
        if audio:
            item.spoken = SpokenText()
            item.body["content"].append({"type": "output_audio", "transcript": ""})
        else:
            item.body["content"].append({"type": "output_text", "text": ""})
        self.out.tell(
            events.ResponseContentPartAdded(
                self.ids.event(), self.id, item.id, index, 0, _part(message)
            )
        )
        return message

    def _say(self, text: str) -> None:
        if not text:
            return
        message = self._opened_message()
        message.said += text
        message.item.body["content"][0]["text"] = message.said
        self.out.tell(
            events.ResponseOutputTextDelta(
                self.ids.event(), self.id, message.item.id, message.output_index, 0, text
            )
        )

    def _speak(self, chunk: Chunk) -> None:
        if not chunk.text and not len(chunk.samples):
            return
        message = self._opened_message()
        item = message.item
        message.said += chunk.text
        if item.spoken is not None and not item.sealed:
            item.spoken.add(chunk.text, chunk.seconds * 1000, chunk.words)
            item.set_transcript(item.spoken.text)
        place = (self.id, item.id, message.output_index, 0)
        if chunk.text:
            self.out.tell(
                events.ResponseOutputAudioTranscriptDelta(
                    self.ids.event(), *place, delta=chunk.text
                )
            )
        if len(chunk.samples):
            self.out.tell(
                events.ResponseOutputAudioSamples(
                    *place, samples=chunk.samples, sample_rate=chunk.sample_rate
                )
            )

    def _close_message(
        self, message: _Message, status: Literal["completed", "incomplete"]
    ) -> None:
        item = message.item
        item.body["status"] = status
        place = (self.id, item.id, message.output_index, 0)
        if message.audio:
            self.out.tell(
                events.ResponseOutputAudioDone(self.ids.event(), *place),
                events.ResponseOutputAudioTranscriptDone(
                    self.ids.event(), *place, transcript=message.said
                ),
            )
        else:
            self.out.tell(
                events.ResponseOutputTextDone(self.ids.event(), *place, text=message.said)
            )
        self.out.tell(
            events.ResponseContentPartDone(self.ids.event(), *place, part=_part(message))
        )
        self._close_item(item, message.output_index)

    def _call(self, call_id: str, name: str) -> _Call:
        call = self._calls.get(call_id)
        if call is not None:
            return call
        if len(self._calls) >= CALLS_LIMIT:
            raise Excess(f"more than {CALLS_LIMIT} function calls")
        body: Json = {
            "type": "function_call",
            "status": "in_progress",
            "name": name,
            "call_id": call_id,
            "arguments": "",
        }
        item, index = self._open_item(body)
        self._calls[call_id] = call = _Call(item, index, call_id, name)
        return call

    def _tell_arguments(self, call: _Call, delta: str) -> None:
        if not delta:
            return
        call.arguments += delta
        self.out.tell(
            events.ResponseFunctionCallArgumentsDelta(
                self.ids.event(), self.id, call.item.id, call.output_index, call.call_id, delta
            )
        )

    def _close_call(self, call: _Call, status: Literal["completed", "incomplete"]) -> None:
        call.open = False
        call.item.body["status"] = status
        call.item.body["arguments"] = call.arguments
        self._close_item(call.item, call.output_index)


def _part(message: _Message) -> Json:
    # Parts have the short type names in both dialects, unlike an item's content.
    if message.audio:
        return {"type": "audio", "transcript": message.said}
    return {"type": "text", "text": message.said}


def _remember_as_heard(item: Item, unspoken_ms: float) -> None:
    """A sentence is told with its first chunk; of one that broke off with `unspoken_ms` to
    go, the conversation keeps the words whose sound has left."""
    if item.spoken is not None and not item.sealed:
        heard_ms = item.spoken.audio_ms
        item.spoken.add("", unspoken_ms)
        item.spoken.cut(heard_ms)
        item.set_transcript(item.spoken.text)


def _status_details(ending: Ending) -> Json | None:
    if ending.status == "completed":
        return None
    details: Json = {"type": ending.status}
    if ending.reason in _REASONS.get(ending.status, ()):
        details["reason"] = ending.reason
    if ending.status == "failed":
        failure = ending.failure or Failure("response_failed", "The response failed.")
        details["error"] = {
            "type": "server_error",
            "code": failure.code,
            "message": failure.message,
        }
    return details


def _usage(usage: Usage) -> Json:
    # The language model reads and writes text; what is heard and spoken is not counted again.
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": usage.input_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": usage.cached_tokens,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }
