"""What a response makes: its message and its function calls, rung by rung.

    output_item.added → conversation.item.added → content_part.added       (first content)
      output_text.delta* | (output_audio_transcript.delta | audio)*
    output_text.done | output_audio.done → output_audio_transcript.done
    content_part.done → conversation.item.done → output_item.done

A response makes at most one message, and any number of function calls beside it; each is an
output item that opens with its first content. The message stays open until all its speech has
left, so a call that is ready sooner is told sooner, under an output index of its own.
"""

from __future__ import annotations

from typing import Literal

from attrs import define, field

from trio_bridge.audio.encodings import Encoding
from trio_bridge.messages import ToolCallDelta, ToolCallDone
from trio_bridge.realtime import events
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.pacing import Chunk
from trio_bridge.realtime.spoken import SpokenText
from trio_bridge.realtime.step import Draft


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
class Outputs:
    """A response's output items.

    Args:
        response_id: Whose they are.
        conversation: The conversation that they must not clash with.
        kept: They belong to the conversation, not only to the response.
        encoding: How the message's speech is written; None where the message is text.
        ids: Names events and items.
        out: Where events go.

    Attributes:
        spoken_ms: How much speech was told.
    """

    response_id: str
    conversation: Conversation
    kept: bool
    encoding: Encoding | None
    ids: Ids
    out: Draft
    spoken_ms: float = field(default=0.0, init=False)
    _items: list[Item] = field(factory=list, init=False)
    _message: _Message | None = field(default=None, init=False)
    _calls: dict[str, _Call] = field(factory=dict, init=False)

    def to_json(self) -> list[Json]:
        """The items as they stand."""
        return [item.to_json() for item in self._items]

    @property
    def calls(self) -> int:
        """How many function calls there are."""
        return len(self._calls)

    def has_call(self, call_id: str) -> bool:
        """Whether a function call was opened."""
        return call_id in self._calls

    def arguments_told(self, call_id: str) -> int:
        """How many characters of a call's arguments were told."""
        call = self._calls.get(call_id)
        return 0 if call is None else len(call.arguments)

    def say(self, text: str) -> None:
        """Tell more of the message."""
        if not text:
            return
        message = self._opened_message()
        message.said += text
        message.item.body["content"][0]["text"] = message.said
        self.out.tell(
            events.ResponseOutputTextDelta(
                self.ids.event(),
                self.response_id,
                message.item.id,
                message.output_index,
                content_index=0,
                delta=text,
            )
        )

    def speak(self, chunk: Chunk) -> None:
        """Tell more of the message's speech: the words before their sound."""
        if not chunk.text and not len(chunk.samples):
            return
        message = self._opened_message()
        item = message.item
        message.said += chunk.text
        if item.spoken is not None and not item.sealed:
            item.spoken.add(chunk.text, chunk.seconds * 1000, chunk.words)
            item.set_transcript(item.spoken.text)
        place = (self.response_id, item.id, message.output_index, 0)
        if chunk.text:
            self.out.tell(
                events.ResponseOutputAudioTranscriptDelta(
                    self.ids.event(), *place, delta=chunk.text
                )
            )
        if len(chunk.samples) and self.encoding is not None:
            self.spoken_ms += chunk.seconds * 1000
            self.out.tell(
                events.ResponseOutputAudioSamples(
                    *place,
                    samples=chunk.samples,
                    sample_rate=chunk.sample_rate,
                    encoding=self.encoding,
                )
            )

    def call_delta(self, event: ToolCallDelta) -> None:
        """Tell more of a function call's arguments; the first delta opens the call."""
        call = self._call(event.call_id, event.name)
        if call.open:
            self._tell_arguments(call, event.arguments)

    def call_done(self, event: ToolCallDone) -> None:
        """A function call is complete, with or without deltas before."""
        call = self._call(event.call_id, event.name)
        if not call.open:
            return
        if event.arguments.startswith(call.arguments):
            self._tell_arguments(call, event.arguments[len(call.arguments) :])
        call.arguments = event.arguments
        self.out.tell(
            events.ResponseFunctionCallArgumentsDone(
                self.ids.event(),
                self.response_id,
                call.item.id,
                call.output_index,
                call.call_id,
                event.name or call.name,
                event.arguments,
            )
        )
        self._close_call(call, "completed")

    def close(self, *, whole: bool) -> None:
        """Close what is open, with what was told of it.

        Args:
            whole: The message is all that there was to be said.
        """
        if self._message is not None:
            self._close_message(self._message, "completed" if whole else "incomplete")
        for call in self._calls.values():
            if call.open:
                # No `arguments.done` here: clients carry out a call when they see that.
                self._close_call(call, "incomplete")

    def remember_as_heard(self, unspoken_ms: float) -> None:
        """A sentence is told with its first chunk; of one that broke off with `unspoken_ms`
        to go, the conversation keeps the words whose sound has left."""
        item = None if self._message is None else self._message.item
        if item is None or item.spoken is None or item.sealed:
            return
        heard_ms = item.spoken.audio_ms
        item.spoken.add("", unspoken_ms)
        item.spoken.cut(heard_ms)
        item.set_transcript(item.spoken.text)

    # --- rungs -----------------------------------------------------------------------------

    def _open_item(self, body: Json) -> tuple[Item, int]:
        item = Item(self.ids.item(self.conversation.taken), body)
        index = len(self._items)
        self._items.append(item)
        self.out.tell(
            events.ResponseOutputItemAdded(
                self.ids.event(), self.response_id, index, item.to_json()
            )
        )
        if self.kept:
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
            events.ResponseOutputItemDone(
                self.ids.event(), self.response_id, index, item.to_json()
            )
        )

    def _opened_message(self) -> _Message:
        if self._message is not None:
            return self._message
        body: Json = {
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        item, index = self._open_item(body)
        self._message = message = _Message(item, index, self.encoding is not None)
        if self.encoding is not None:
            item.spoken = SpokenText()
            if self.kept:
                self.conversation.recordings.open(item.id, self.encoding)
            item.body["content"].append({"type": "output_audio", "transcript": ""})
        else:
            item.body["content"].append({"type": "output_text", "text": ""})
        self.out.tell(
            events.ResponseContentPartAdded(
                self.ids.event(), self.response_id, item.id, index, 0, _part(message)
            )
        )
        return message

    def _close_message(
        self, message: _Message, status: Literal["completed", "incomplete"]
    ) -> None:
        item = message.item
        item.body["status"] = status
        place = (self.response_id, item.id, message.output_index, 0)
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
                self.ids.event(),
                self.response_id,
                call.item.id,
                call.output_index,
                call.call_id,
                delta,
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
