"""One response, from `response.created` to `response.done` and `rate_limits.updated`."""

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
from trio_bridge.realtime import events, values
from trio_bridge.realtime.config import ResponseConfig
from trio_bridge.realtime.context import HEARD_MS_PER_TOKEN, SPOKEN_MS_PER_TOKEN
from trio_bridge.realtime.conversation import Conversation
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.outputs import Outputs
from trio_bridge.realtime.pacing import Chunk, Overrun, Pacer
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
    _outputs: Outputs = field(init=False)
    _weight: int = field(default=0, init=False)
    _heard_ms: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._outputs = Outputs(
            response_id=self.id,
            conversation=self.conversation,
            kept=self.in_conversation,
            encoding=self.config.output_format.encoding if self._speaks else None,
            ids=self.ids,
            out=self.out,
        )

    @property
    def in_conversation(self) -> bool:
        """It belongs to the conversation; there is at most one such at a time."""
        return self.config.conversation == "auto"

    @property
    def _speaks(self) -> bool:
        return self.config.output_modality == "audio"

    def request(
        self, items: tuple[Json, ...], model: str, *, heard_ms: float
    ) -> ResponseRequest:
        """What to ask the backend.

        Args:
            items: The conversation to answer, oldest item first.
            model: The session's model.
            heard_ms: How much of the user's speech there is in it.
        """
        config = self.config
        self._heard_ms = heard_ms
        return ResponseRequest(
            items=items,
            instructions=config.instructions,
            tools=values.functions_of(config.tools),
            tool_choice=config.tool_choice if _can_be_chosen(config.tool_choice) else "auto",
            parallel_tool_calls=config.parallel_tool_calls,
            output_modality=config.output_modality,
            voice=config.voice,
            speed=config.speed,
            max_output_tokens=config.max_output_tokens,
            temperature=config.temperature,
            reasoning=config.reasoning,
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
            self._outputs.say(text)
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
            self._outputs.say(event.text)
        else:
            self._put(Chunk(event.samples, event.sample_rate, event.text, event.words))

    def call(self, event: ToolCallDelta | ToolCallDone) -> None:
        """Take a piece of a function call's arguments, or the whole of them at its end.

        Raises:
            Excess: It is too much.
        """
        known = self._outputs.has_call(event.call_id)
        if not known and self._outputs.calls >= CALLS_LIMIT:
            raise Excess(f"more than {CALLS_LIMIT} function calls")
        if isinstance(event, ToolCallDelta):
            self._weigh(len(event.arguments))
            self._outputs.call_delta(event)
        else:
            told = self._outputs.arguments_told(event.call_id)
            self._weigh(max(0, len(event.arguments) - told))
            self._outputs.call_done(event)

    def advance(self, now: float) -> None:
        """Tell the speech that is due, and grant the backend more."""
        for chunk in self.pacer.take(now):
            self._outputs.speak(chunk)
        if self._speaks:
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
        self._outputs.close(whole=whole)
        self.out.tell(
            events.ResponseDone(self.ids.event(), self.to_json(ending.status, ending)),
            events.RateLimitsUpdated(self.ids.event(), [dict(each) for each in RATE_LIMITS]),
        )
        if not whole:
            self._outputs.remember_as_heard(unspoken * 1000)

    def to_json(
        self, status: Status | Literal["in_progress"], ending: Ending | None = None
    ) -> Json:
        """The response object.

        Args:
            status: Its status.
            ending: How it ended, if it did.
        """
        config = self.config
        shown: Json = {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": ending and _status_details(ending),
            "output": self._outputs.to_json(),
            "conversation_id": self.conversation.id if self.in_conversation else None,
            "output_modalities": [config.output_modality],
            "max_output_tokens": config.max_output_tokens_json(),
            "audio": {
                "output": {"format": config.output_format.to_json(), "voice": config.voice}
            },
            "usage": None if ending is None else self._usage(ending.usage),
            "metadata": config.metadata,
        }
        if config.temperature is not None:
            shown["temperature"] = config.temperature
        return shown

    def _usage(self, usage: Usage) -> Json:
        """What it cost: the tokens of text that the language model counted, and estimates of
        those of audio (see `context`), by how long the speech was that was heard for it and
        that it said."""
        heard = round(self._heard_ms / HEARD_MS_PER_TOKEN)
        spoken = round(self._outputs.spoken_ms / SPOKEN_MS_PER_TOKEN)
        input_tokens = usage.input_tokens + heard
        output_tokens = usage.output_tokens + spoken
        return {
            "total_tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "input_token_details": {
                "text_tokens": usage.input_tokens,
                "audio_tokens": heard,
                "image_tokens": 0,
                "cached_tokens": usage.cached_tokens,
                "cached_tokens_details": {
                    "text_tokens": usage.cached_tokens,
                    "audio_tokens": 0,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {
                "text_tokens": usage.output_tokens,
                "audio_tokens": spoken,
            },
        }

    def _put(self, chunk: Chunk) -> None:
        try:
            self.pacer.put(chunk)
        except Overrun as exc:
            raise Excess("more speech than it had credit for") from exc

    def _weigh(self, characters: int) -> None:
        self._weight += characters
        if self._weight > TEXT_LIMIT:
            raise Excess(f"more than {TEXT_LIMIT} characters")


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


def _can_be_chosen(choice: str | Json) -> bool:
    return isinstance(choice, str) or choice["type"] == "function"
