"""From what the engine says to the messages that one client is sent.

Speech arrives here as the synthesiser made it, at its own rate; it is resampled as one stream
per content part, so that no chunk edge can be heard, and leaves in the response's output
format. What leaves is what is kept of an item's sound: when an item that was retrieved gets
here, all that was said before it has been encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from trio_bridge.audio.encodings import CODINGS, Coding
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.closing import Ending, ending_of
from trio_bridge.realtime.events import (
    ConversationItemRetrieved,
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioSamples,
    ServerEvent,
)
from trio_bridge.realtime.recordings import Recordings
from trio_bridge.realtime.step import Step
from trio_bridge.realtime.wire import Codec

OUTPUT_RATE = CODINGS["pcm"].sample_rate
"""Hz, mono: the one PCM rate of the Realtime API."""

DELTA_SECONDS = 0.5
"""The longest delta (32 kB of PCM16 as base64): far below the smallest frame limit seen in a
client (1 MiB), and short enough that an interruption is not stuck behind one."""


@define
class Outgoing:
    """What a session has to say to its client, message by message, in the client's dialect.

    A message stays the next one until it has been sent, so that none is lost when a transport
    goes away in the middle.
    """

    _encoder: SpeechEncoder
    _codec: Codec
    _messages: Iterator[bytes | Ending] = field(factory=lambda: iter(()), init=False)
    _exhausted: bool = field(default=True, init=False)
    _next: bytes | Ending | None = field(default=None, init=False)

    def put(self, item: Step | Ending) -> None:
        """Take more to say, after all that there is."""
        more = iter((item,)) if isinstance(item, Ending) else self._dumped(item)
        self._messages = more if self._exhausted else chain(self._messages, more)
        self._exhausted = False

    def next(self) -> bytes | Ending | None:
        """The message to send now, or how the session ends; None when all has been said."""
        if self._next is None:
            self._next = next(self._messages, None)
            self._exhausted = self._next is None
        return self._next

    def sent(self) -> None:
        """The next message has left."""
        self._next = None

    def _dumped(self, step: Step) -> Iterator[bytes | Ending]:
        for event in self._encoder.encode(step.events):
            message = self._codec.dump(event)
            if message is not None:
                yield message
        if step.close is not None:
            yield ending_of(step.close)


@define
class SpeechEncoder:
    """Engine events in, events as they stand on the wire out.

    Args:
        next_event_id: Names the deltas.
        recordings: Where the sound of the conversation's items is kept.
    """

    _next_event_id: Callable[[], str]
    _recordings: Recordings
    _part: tuple[str, int] | None = field(default=None, init=False)
    _coding: Coding = field(default=CODINGS["pcm"], init=False)
    _resampler: StreamResampler | None = field(default=None, init=False)

    def encode(self, events: Iterable[ServerEvent]) -> Iterator[ServerEvent]:
        """Pass everything on, speech as deltas of at most `DELTA_SECONDS`, and items that were
        retrieved with their audio.

        The look-ahead of the filter is flushed before a part's `output_audio.done`.
        """
        for event in events:
            if isinstance(event, ResponseOutputAudioSamples):
                yield from self._speech(event)
            elif isinstance(event, ResponseOutputAudioDone):
                yield from self._tail(event)
                yield event
            elif isinstance(event, ConversationItemRetrieved):
                yield evolve(event, item=self._recordings.shown(event.item))
            else:
                yield event

    def _speech(self, event: ResponseOutputAudioSamples) -> Iterator[ServerEvent]:
        part = (event.item_id, event.content_index)
        if part != self._part:
            # A part without its `done` was cut off; what is left of it is not wanted.
            self._part = part
            self._coding = CODINGS[event.encoding]
            self._resampler = None
        if self._resampler is None or event.sample_rate != self._resampler.rate_in:
            if self._resampler is not None:
                yield from self._deltas(event, self._resampler.flush())
            self._resampler = StreamResampler(
                event.sample_rate, self._coding.sample_rate, quality="fast"
            )
        yield from self._deltas(event, self._resampler.process(event.samples))

    def _tail(self, event: ResponseOutputAudioDone) -> Iterator[ServerEvent]:
        if self._resampler is not None and self._part == (event.item_id, event.content_index):
            yield from self._deltas(event, self._resampler.flush())
        self._part = None
        self._resampler = None

    def _deltas(
        self,
        event: ResponseOutputAudioSamples | ResponseOutputAudioDone,
        samples: NDArray[np.float32],
    ) -> Iterator[ServerEvent]:
        longest = int(self._coding.sample_rate * DELTA_SECONDS)
        for start in range(0, len(samples), longest):
            delta = self._coding.encode(samples[start : start + longest])
            self._recordings.add(event.item_id, delta)
            yield ResponseOutputAudioDelta(
                event_id=self._next_event_id(),
                response_id=event.response_id,
                item_id=event.item_id,
                output_index=event.output_index,
                content_index=event.content_index,
                delta=delta,
            )
