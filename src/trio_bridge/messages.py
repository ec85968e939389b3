"""What the engine and a backend say to each other: commands down, events up.

A *command* is what a session asks of the backend that answers it; an *event* is what the
backend reports. Both are frozen values without behaviour, so that the engine stays a machine
without I/O and a backend may live in this process, in a Dora dataflow or on another server.

Times are in milliseconds of the session's audio clock: all input audio the client has ever
appended, counted from its first sample. Clearing or committing never turns that clock back.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from trio_bridge.audio.encodings import Encoding

Samples: TypeAlias = NDArray[np.float32]


# --- shared values -------------------------------------------------------------------------


@frozen
class Capabilities:
    """What a backend offers, so that the engine does not wait for what can never come."""

    speech: bool = True
    """It reports where speech starts and stops."""
    transcripts: bool = True
    """Every committed utterance gets a final (or failed) transcript."""
    responses: bool = True
    """It takes `Respond`."""


@frozen
class Word:
    """A word of synthesised speech: its text and its place in the response's audio, in ms."""

    text: str
    start_ms: float
    end_ms: float


@frozen
class Failure:
    """Why something failed, in words fit for the client."""

    code: str
    message: str


@frozen
class Usage:
    """Tokens a response cost, as the language model counted (or estimated) them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@frozen
class ResponseRequest:
    """A response to make. `items` are conversation items in their GA JSON shape, oldest first.

    User audio stands in `items` as `input_audio` content with its transcript; a truncated
    answer stands there as far as it was heard.
    """

    items: tuple[dict[str, Any], ...]
    instructions: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    output_modality: Literal["text", "audio"] = "audio"
    voice: str = ""
    speed: float = 1.0
    max_output_tokens: int | None = None
    temperature: float | None = None
    reasoning: dict[str, Any] | None = None
    model: str = ""
    metadata: dict[str, str] | None = None


# --- commands: engine → backend ------------------------------------------------------------


@frozen
class Configure:
    """How to listen from here on. `turn_detection` and `transcription` are the session's own
    GA objects (`None`: off; the client commits by itself); `transcription` has `logprobs: true`
    where the client wants to know them."""

    turn_detection: dict[str, Any] | None
    transcription: dict[str, Any] | None


@frozen
class MicrophoneAudio:
    """Input audio as the client sent it, in whole samples. The session turns it into
    `InputAudio`; no backend sees it."""

    data: bytes
    encoding: Encoding = "pcm"
    sample_rate: int = 24_000


@frozen
class InputAudio:
    """Input audio for the backend: mono float32 in [-1, 1), shape ``(n,)``."""

    samples: Samples = field(eq=False)
    sample_rate: int = 16_000


@frozen
class Commit:
    """The client ended its turn: all audio since the last commit or clear is `item_id`."""

    item_id: str


@frozen
class Clear:
    """The client took back what it has appended and not committed."""


@frozen
class Respond:
    """Make a response."""

    response_id: str
    request: ResponseRequest


@frozen
class Cancel:
    """Stop a response. Whatever still arrives for it is dropped."""

    response_id: str


@frozen
class Credit:
    """So much of a response's audio may have been sent in all, in seconds from its start."""

    response_id: str
    seconds: float


ListenCommand: TypeAlias = Configure | MicrophoneAudio | InputAudio | Commit | Clear
"""Commands that must reach the backend in the order in which they were given."""

Command: TypeAlias = ListenCommand | Respond | Cancel | Credit


# --- events: backend → engine --------------------------------------------------------------


@frozen
class SpeechStarted:
    """Somebody began to speak; `audio_ms` includes the prefix padding."""

    utterance_id: str
    audio_ms: int


@frozen
class SpeechStopped:
    """The turn is over: the silence the client asked for has passed."""

    utterance_id: str
    audio_ms: int


@frozen
class Logprob:
    """A token of a transcript, and the natural logarithm of how probable it was."""

    token: str
    logprob: float


@frozen
class Transcript:
    """What was heard so far (`final` false; the whole text, not a difference) or for good.

    `item_id` is set when the utterance was ended by a `Commit`, otherwise the utterance is
    known from `SpeechStarted`. `wait_ms` tells how long it waited for a free recogniser;
    `logprobs` come with a final transcript, where the recogniser knows them. A transcript may
    overtake the speech event of its utterance.
    """

    utterance_id: str
    text: str
    final: bool
    item_id: str | None = None
    wait_ms: float = 0.0
    failure: Failure | None = None
    logprobs: tuple[Logprob, ...] | None = None


@frozen
class ResponseOpened:
    """The backend answers of its own accord; `response_id` is its own name for the answer."""

    response_id: str


@frozen
class TextDelta:
    """More text of a text answer."""

    response_id: str
    text: str


@frozen
class AudioDelta:
    """More speech: mono float32, shape ``(n,)``, at `sample_rate`.

    `text` is what begins to be spoken in this chunk (the chunks' texts joined are the
    transcript), `words` its timings where the synthesiser knows them.
    """

    response_id: str
    samples: Samples = field(eq=False)
    sample_rate: int
    text: str = ""
    words: tuple[Word, ...] = ()


@frozen
class ToolCallDelta:
    """More of a function call's arguments; the first delta of a `call_id` opens the call."""

    response_id: str
    call_id: str
    name: str
    arguments: str


@frozen
class ToolCallDone:
    """A function call is complete; `arguments` is all of it."""

    response_id: str
    call_id: str
    name: str
    arguments: str


@frozen
class ResponseFinished:
    """Nothing more comes for this response."""

    response_id: str
    status: Literal["completed", "incomplete", "cancelled", "failed"] = "completed"
    reason: str | None = None
    usage: Usage = Usage()
    failure: Failure | None = None


@frozen
class BackendLost:
    """The backend can no longer serve this session."""

    failure: Failure


ResponseEvent: TypeAlias = (
    ResponseOpened | TextDelta | AudioDelta | ToolCallDelta | ToolCallDone | ResponseFinished
)
BackendEvent: TypeAlias = (
    SpeechStarted | SpeechStopped | Transcript | ResponseEvent | BackendLost
)
