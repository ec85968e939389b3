"""From what the engine says to the messages that one client is sent.

Speech arrives here as the synthesiser made it, at its own rate; it is resampled as one stream
per content part, so that no chunk edge can be heard, and leaves as PCM16 in the session's
output rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.closing import Ending, ending_of
from trio_bridge.realtime import wire
from trio_bridge.realtime.events import (
    ResponseOutputAudioDelta,
    ResponseOutputAudioDone,
    ResponseOutputAudioSamples,
    ServerEvent,
)
from trio_bridge.realtime.step import Step

OUTPUT_RATE = 24_000
"""Hz, mono: the one PCM rate of the Realtime API."""

DELTA_SAMPLES = OUTPUT_RATE // 2
"""The longest delta, half a second (32 kB as base64): far below the smallest frame limit seen
in a client (1 MiB), and short enough that an interruption is not stuck behind one."""


@define
class Outgoing:
    """What a session has to say to its client, message by message.

    A message stays the next one until it has been sent, so that none is lost when a transport
    goes away in the middle.
    """

    _encoder: SpeechEncoder
    _messages: Iterator[bytes | Ending] = field(factory=lambda: iter(()), init=False)
    _next: bytes | Ending | None = field(default=None, init=False)

    def put(self, item: Step | Ending) -> None:
        """Take more to say; only when there is nothing `next`."""
        self._messages = iter((item,)) if isinstance(item, Ending) else self._dumped(item)

    def next(self) -> bytes | Ending | None:
        """The message to send now, or how the session ends; None when all has been said."""
        if self._next is None:
            self._next = next(self._messages, None)
        return self._next

    def sent(self) -> None:
        """The next message has left."""
        self._next = None

    def _dumped(self, step: Step) -> Iterator[bytes | Ending]:
        for event in self._encoder.encode(step.events):
            yield wire.dump(event)
        if step.close is not None:
            yield ending_of(step.close)


@define
class SpeechEncoder:
    """Engine events in, events as they stand on the wire out."""

    _next_event_id: Callable[[], str]
    _part: tuple[str, int] | None = field(default=None, init=False)
    _rate: int = field(default=OUTPUT_RATE, init=False)
    _resampler: StreamResampler | None = field(default=None, init=False)

    def encode(self, events: Iterable[ServerEvent]) -> Iterator[ServerEvent]:
        """Pass everything on, speech as deltas of at most `DELTA_SAMPLES`.

        The look-ahead of the filter is flushed before a part's `output_audio.done`.
        """
        for event in events:
            if isinstance(event, ResponseOutputAudioSamples):
                yield from self._speech(event)
            elif isinstance(event, ResponseOutputAudioDone):
                yield from self._tail(event)
                yield event
            else:
                yield event

    def _speech(self, event: ResponseOutputAudioSamples) -> Iterator[ServerEvent]:
        part = (event.item_id, event.content_index)
        if part != self._part:
            # A part without its `done` was cut off; what is left of it is not wanted.
            self._part = part
            self._resampler = None
        if self._resampler is None or event.sample_rate != self._rate:
            if self._resampler is not None:
                yield from self._deltas(event, self._resampler.flush())
            self._rate = event.sample_rate
            self._resampler = StreamResampler(event.sample_rate, OUTPUT_RATE, quality="fast")
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
        for start in range(0, len(samples), DELTA_SAMPLES):
            yield ResponseOutputAudioDelta(
                event_id=self._next_event_id(),
                response_id=event.response_id,
                item_id=event.item_id,
                output_index=event.output_index,
                content_index=event.content_index,
                delta=float32_to_pcm16(samples[start : start + DELTA_SAMPLES]),
            )
