"""The events of the Realtime protocol, by their GA names, as frozen values.

One class per event, named after its `type` in CamelCase; the `type` itself lives in the two
tables at the end, which are the protocol's index. Conversation items, response objects and
session objects are kept as the JSON objects that they are on the wire (`Json`): the types in
the `openai` package are their authority, and `config.py`, `conversation.py` and `response.py`
build them.

A server event's field that has a default is left out on the wire while it has it.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from trio_bridge.audio.encodings import Encoding

Json: TypeAlias = dict[str, Any]


# --- client → server -----------------------------------------------------------------------


@frozen
class SessionUpdate:
    """`session` is partial: an absent key stays as it was."""

    session: Json
    event_id: str | None = None


@frozen
class InputAudioBufferAppend:
    """`audio` is decoded already: bytes in the session's input format, any number of them."""

    audio: bytes
    event_id: str | None = None


@frozen
class InputAudioBufferCommit:
    event_id: str | None = None


@frozen
class InputAudioBufferClear:
    event_id: str | None = None


@frozen
class ConversationItemCreate:
    """`previous_item_id`: None appends, `root` puts the item first."""

    item: Json
    previous_item_id: str | None = None
    event_id: str | None = None


@frozen
class ConversationItemRetrieve:
    item_id: str
    event_id: str | None = None


@frozen
class ConversationItemDelete:
    item_id: str
    event_id: str | None = None


@frozen
class ConversationItemTruncate:
    item_id: str
    content_index: int
    audio_end_ms: int
    event_id: str | None = None


@frozen
class ResponseCreate:
    response: Json | None = None
    event_id: str | None = None


@frozen
class ResponseCancel:
    response_id: str | None = None
    event_id: str | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemDelete
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
)


# --- server → client -----------------------------------------------------------------------
# `event_id` is given by the engine to every event, so that a log of events reads in order.


@frozen
class Error:
    """Something the client asked for could not be done. Not fatal unless a close follows.

    `client_event_id` is the `event_id` of the client's event that caused it, if it had one.
    """

    event_id: str
    kind: Literal["invalid_request_error", "server_error", "rate_limit_error"]
    message: str
    code: str | None = None
    param: str | None = None
    client_event_id: str | None = None


@frozen
class SessionCreated:
    event_id: str
    session: Json


@frozen
class SessionUpdated:
    event_id: str
    session: Json


@frozen
class ConversationItemAdded:
    event_id: str
    item: Json
    previous_item_id: str | None


@frozen
class ConversationItemDone:
    event_id: str
    item: Json
    previous_item_id: str | None


@frozen
class ConversationItemRetrieved:
    event_id: str
    item: Json


@frozen
class ConversationItemDeleted:
    event_id: str
    item_id: str


@frozen
class ConversationItemTruncated:
    event_id: str
    item_id: str
    content_index: int
    audio_end_ms: int


@frozen
class ConversationItemInputAudioTranscriptionDelta:
    event_id: str
    item_id: str
    content_index: int
    delta: str


@frozen
class ConversationItemInputAudioTranscriptionCompleted:
    event_id: str
    item_id: str
    content_index: int
    transcript: str
    usage: Json
    logprobs: list[Json] | None = None


@frozen
class ConversationItemInputAudioTranscriptionFailed:
    event_id: str
    item_id: str
    content_index: int
    error: Json


@frozen
class InputAudioBufferCommitted:
    event_id: str
    item_id: str
    previous_item_id: str | None


@frozen
class InputAudioBufferCleared:
    event_id: str


@frozen
class InputAudioBufferSpeechStarted:
    event_id: str
    item_id: str
    audio_start_ms: int


@frozen
class InputAudioBufferSpeechStopped:
    event_id: str
    item_id: str
    audio_end_ms: int


@frozen
class InputAudioBufferTimeoutTriggered:
    event_id: str
    item_id: str
    audio_start_ms: int
    audio_end_ms: int


@frozen
class ResponseCreated:
    event_id: str
    response: Json


@frozen
class ResponseDone:
    event_id: str
    response: Json


@frozen
class ResponseOutputItemAdded:
    event_id: str
    response_id: str
    output_index: int
    item: Json


@frozen
class ResponseOutputItemDone:
    event_id: str
    response_id: str
    output_index: int
    item: Json


@frozen
class ResponseContentPartAdded:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: Json


@frozen
class ResponseContentPartDone:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    part: Json


@frozen
class ResponseOutputTextDelta:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


@frozen
class ResponseOutputTextDone:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    text: str


@frozen
class ResponseOutputAudioTranscriptDelta:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: str


@frozen
class ResponseOutputAudioTranscriptDone:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    transcript: str


@frozen
class ResponseOutputAudioSamples:
    """What the engine says where the wire says `response.output_audio.delta`: speech as it
    came from the backend. The session's sender resamples it and encodes it as `encoding`."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int
    samples: NDArray[np.float32] = field(eq=False)
    sample_rate: int
    encoding: Encoding = "pcm"


@frozen
class ResponseOutputAudioDelta:
    """`delta`: bytes in the session's output format; base64 on the wire."""

    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: bytes


@frozen
class ResponseOutputAudioDone:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int


@frozen
class ResponseFunctionCallArgumentsDelta:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


@frozen
class ResponseFunctionCallArgumentsDone:
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


@frozen
class RateLimitsUpdated:
    event_id: str
    rate_limits: list[Json]


ServerEvent: TypeAlias = (
    Error
    | SessionCreated
    | SessionUpdated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemDeleted
    | ConversationItemTruncated
    | ConversationItemInputAudioTranscriptionDelta
    | ConversationItemInputAudioTranscriptionCompleted
    | ConversationItemInputAudioTranscriptionFailed
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseOutputAudioSamples
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | RateLimitsUpdated
)


# --- the index -----------------------------------------------------------------------------

CLIENT_TAGS: dict[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppend,
    "input_audio_buffer.commit": InputAudioBufferCommit,
    "input_audio_buffer.clear": InputAudioBufferClear,
    "conversation.item.create": ConversationItemCreate,
    "conversation.item.retrieve": ConversationItemRetrieve,
    "conversation.item.delete": ConversationItemDelete,
    "conversation.item.truncate": ConversationItemTruncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}

SERVER_TAGS: dict[str, type[ServerEvent]] = {
    "error": Error,
    "session.created": SessionCreated,
    "session.updated": SessionUpdated,
    "conversation.item.added": ConversationItemAdded,
    "conversation.item.done": ConversationItemDone,
    "conversation.item.retrieved": ConversationItemRetrieved,
    "conversation.item.deleted": ConversationItemDeleted,
    "conversation.item.truncated": ConversationItemTruncated,
    "conversation.item.input_audio_transcription.delta": (
        ConversationItemInputAudioTranscriptionDelta
    ),
    "conversation.item.input_audio_transcription.completed": (
        ConversationItemInputAudioTranscriptionCompleted
    ),
    "conversation.item.input_audio_transcription.failed": (
        ConversationItemInputAudioTranscriptionFailed
    ),
    "input_audio_buffer.committed": InputAudioBufferCommitted,
    "input_audio_buffer.cleared": InputAudioBufferCleared,
    "input_audio_buffer.speech_started": InputAudioBufferSpeechStarted,
    "input_audio_buffer.speech_stopped": InputAudioBufferSpeechStopped,
    "input_audio_buffer.timeout_triggered": InputAudioBufferTimeoutTriggered,
    "response.created": ResponseCreated,
    "response.done": ResponseDone,
    "response.output_item.added": ResponseOutputItemAdded,
    "response.output_item.done": ResponseOutputItemDone,
    "response.content_part.added": ResponseContentPartAdded,
    "response.content_part.done": ResponseContentPartDone,
    "response.output_text.delta": ResponseOutputTextDelta,
    "response.output_text.done": ResponseOutputTextDone,
    "response.output_audio_transcript.delta": ResponseOutputAudioTranscriptDelta,
    "response.output_audio_transcript.done": ResponseOutputAudioTranscriptDone,
    "response.output_audio.delta": ResponseOutputAudioDelta,
    "response.output_audio.done": ResponseOutputAudioDone,
    "response.function_call_arguments.delta": ResponseFunctionCallArgumentsDelta,
    "response.function_call_arguments.done": ResponseFunctionCallArgumentsDone,
    "rate_limits.updated": RateLimitsUpdated,
}
