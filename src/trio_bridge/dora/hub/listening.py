"""The user's side of a hub dataflow: from samples to utterances and their transcripts.

The speech monitor says where speech starts and when a question has ended; in between it hands
over segments. They go to the recogniser through the bridge, each with a number of its own that
comes back with its transcript. A segment in which nothing was understood never comes back, so
what is missing is waited for only so long.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from attrs import define, field

from trio_bridge.dora.contract import SAMPLE_RATE, Float32
from trio_bridge.dora.hub.messages import BLOCK, Message, microphone
from trio_bridge.dora.hub.pacing import Pacing
from trio_bridge.messages import (
    BackendEvent,
    Failure,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)

PADDING_MS = 300
"""Speech has begun this long before the monitor says so: it wants to be sure."""

SEGMENT_PATIENCE = 2.0
"""Seconds that a segment may come after the end of its question. Dora does not order two
outputs of a node against each other: segments are large and go another way than the word that
there is one, a third of a second slower where all cores are busy."""

TRANSCRIPT_PATIENCE = 5.0
"""Seconds to wait for transcripts of a question that has ended, beyond the time that it takes
to say all that the recogniser still has. Whatever is not there then was not understood."""

UNHEARD = 20.0
"""Seconds of audio that a push-to-talk session may have committed without a transcript of it,
before it has to wait."""

HEARD_LIMIT = 60 * SAMPLE_RATE
"""Samples that are kept for a commit: recognisers of the hub take no more at a time."""

HUSH_BLOCK = SAMPLE_RATE // 2
HUSH_BLOCKS = 4
"""Samples of a message, and messages of silence behind a session: 2 s, so that the monitor ends
what it was hearing and does not take the next session's first words for more of it. Of a single
large message Dora would complain."""


@define(eq=False)
class _Utterance:
    name: str
    item_id: str | None = None
    question: int | None = None
    """The monitor's number for it; not all monitors give one from the start."""
    segments: dict[int, float] = field(factory=dict)
    """Number → seconds, in the order in which they were said."""
    pauses: int = 0
    """How often the monitor said that speech has ended. There is a segment for each, and may be
    more: not all monitors say so."""
    texts: dict[int, str] = field(factory=dict)
    failure: Failure | None = None
    deadline: float = math.inf

    @property
    def stopped(self) -> bool:
        return self.deadline < math.inf

    @property
    def complete(self) -> bool:
        return self.recognised and len(self.segments) >= self.pauses

    @property
    def recognised(self) -> bool:
        """All segments that are there have transcripts."""
        return bool(self.segments) and len(self.texts) == len(self.segments)

    @property
    def unheard(self) -> float:
        """Seconds of its segments that have no transcript yet."""
        return sum(each for number, each in self.segments.items() if number not in self.texts)

    @property
    def text(self) -> str:
        parts = (self.texts.get(number, "").strip() for number in self.segments)
        return " ".join(part for part in parts if part)


@define
class Listening:
    """Follows what is said.

    Args:
        numbers: Numbers for segments, never the same twice on an instance.
        pacing: How fast audio goes to the monitor.
        send: Takes messages to the nodes.
        tell: Takes events to the session.
    """

    _numbers: Iterator[int]
    _pacing: Pacing
    _send: Callable[[Message], None]
    _tell: Callable[[BackendEvent], None]
    _detecting: bool = field(default=True, init=False)
    _clock: int = field(default=0, init=False)
    _block: list[Float32] = field(factory=list, init=False)
    _heard: deque[Float32] = field(factory=deque, init=False)
    _kept: int = field(default=0, init=False)
    _speaking: _Utterance | None = field(default=None, init=False)
    _open: list[_Utterance] = field(factory=list, init=False)

    def begin(self) -> None:
        """A session begins; its audio clock is at 0."""
        self._clock = 0
        self._detecting = True
        self._pacing.begin()

    def end(self) -> None:
        """The session is over: nothing of it is left to the next."""
        self.clear()
        self._open.clear()
        for _ in range(HUSH_BLOCKS):
            self._send(microphone(np.zeros(HUSH_BLOCK, np.float32)))

    # --- from the session -------------------------------------------------------------------

    @property
    def room_at(self) -> float:
        """From when on it takes more from the session, if nothing happens until then. What is
        not looked at for speech is only kept, so that a push-to-talk session waits for its
        transcripts alone."""
        if self._detecting:
            return self._pacing.room_at()
        return math.inf if self._unheard >= UNHEARD else -math.inf

    def configure(self, turn_detection: dict[str, Any] | None) -> None:
        """Look for speech, or leave the turns to the client."""
        self._detecting = turn_detection is not None
        if not self._detecting and self._speaking is not None:
            self._drop(self._speaking)

    def audio(self, samples: Float32, now: float) -> None:
        """Take input audio. It leaves in messages that are short, as from a microphone: of a
        long one a monitor makes all speech, or all silence."""
        self._clock += len(samples)
        self._heard.append(samples)
        self._kept += len(samples)
        while self._kept > HEARD_LIMIT:
            self._kept -= len(self._heard.popleft())
        if not self._detecting:
            return
        self._pacing.said(len(samples) / SAMPLE_RATE, now)
        self._block.append(samples)
        if sum(len(part) for part in self._block) >= BLOCK:
            rest = np.concatenate(self._block)
            self._block.clear()
            while len(rest) >= 2 * BLOCK:
                self._send(microphone(rest[:BLOCK]))
                rest = rest[BLOCK:]
            self._send(microphone(rest))

    def commit(self, item_id: str, now: float) -> None:
        """The client ends its turn: what was heard goes to the recogniser as one segment."""
        heard = np.concatenate([*self._heard, np.zeros(0, np.float32)])
        self.clear()
        utterance = _Utterance(f"hub-{next(self._numbers)}", item_id, deadline=now)
        self._open.append(utterance)
        self._recognise(utterance, heard, SAMPLE_RATE, now)

    def clear(self) -> None:
        """The client takes back what it has said and not committed."""
        self._forget_heard()
        self._block.clear()
        if self._speaking is not None:
            self._drop(self._speaking)

    # --- from the nodes ---------------------------------------------------------------------

    def receive(self, message: Message, now: float) -> None:
        """Take what monitor or recogniser say."""
        match message.port:
            case "speech_started":
                self._started(message)
            case "speech_ended":
                if self._speaking is not None:
                    self._speaking.pauses += 1
            case "audio_segment":
                self._segment(message, now)
            case "question_ended":
                self._ended(now)
            case "transcription":
                self._transcript(message)

    @property
    def deadline(self) -> float:
        """When `tick` will next have something to do."""
        return min((utterance.deadline for utterance in self._open), default=math.inf)

    def tick(self, now: float) -> None:
        """Give up waiting for what is due."""
        for utterance in [each for each in self._open if now >= each.deadline]:
            self._finish(utterance)

    def _started(self, message: Message) -> None:
        # A pause within a question ends speech and starts it again.
        if self._detecting and self._speaking is None:
            name = f"hub-{next(self._numbers)}"
            self._speaking = _Utterance(name, question=message.number)
            self._open.append(self._speaking)
            started = max(0, self._clock_ms - PADDING_MS)
            self._tell(SpeechStarted(self._speaking.name, started))

    def _segment(self, message: Message, now: float) -> None:
        # The next question may have begun before the last segment of this one is here.
        number = message.number
        named = (u for u in self._open if number is not None and u.question == number)
        others = (u for u in reversed(self._open) if u.item_id is None)
        utterance = next(named, None) or self._speaking or next(others, None)
        if utterance is not None and message.samples is not None:
            self._recognise(utterance, message.samples, message.sample_rate, now)

    def _ended(self, now: float) -> None:
        utterance, self._speaking = self._speaking, None
        if utterance is None:
            return
        self._forget_heard()
        self._tell(SpeechStopped(utterance.name, self._clock_ms))
        waiting = bool(utterance.segments) and not utterance.recognised
        utterance.deadline = self._understood_by(now) if waiting else now + SEGMENT_PATIENCE
        if utterance.complete:
            self._finish(utterance)

    def _recognise(
        self, utterance: _Utterance, samples: Float32, sample_rate: int, now: float
    ) -> None:
        number = next(self._numbers)
        utterance.segments[number] = len(samples) / sample_rate
        if utterance.stopped:
            utterance.deadline = self._understood_by(now)
        metadata = {"question_id": number, "sample_rate": sample_rate}
        self._send(Message("segment", samples=samples, metadata=metadata))

    @property
    def _unheard(self) -> float:
        return sum(utterance.unheard for utterance in self._open)

    def _understood_by(self, now: float) -> float:
        return now + TRANSCRIPT_PATIENCE + self._unheard

    def _transcript(self, message: Message) -> None:
        number = message.number
        utterance = next((u for u in self._open if number in u.segments), None)
        if utterance is None or number is None or number in utterance.texts:
            return
        utterance.texts[number] = message.text
        if message.error:
            utterance.failure = Failure("recogniser_failed", message.error)
        if utterance.stopped and utterance.complete:
            self._finish(utterance)
        elif message.text.strip():
            self._say(utterance, final=False)

    def _finish(self, utterance: _Utterance) -> None:
        # What was told before may have ended the session, and with it all that was open.
        if utterance in self._open:
            self._open.remove(utterance)
            self._say(utterance, final=True)

    def _say(self, utterance: _Utterance, *, final: bool) -> None:
        text = utterance.text
        failure = utterance.failure if final and not text else None
        self._tell(
            Transcript(
                utterance.name, text, final=final, item_id=utterance.item_id, failure=failure
            )
        )

    def _drop(self, utterance: _Utterance) -> None:
        if utterance in self._open:
            self._open.remove(utterance)
        self._speaking = None

    def _forget_heard(self) -> None:
        self._heard.clear()
        self._kept = 0

    @property
    def _clock_ms(self) -> int:
        return self._clock * 1000 // SAMPLE_RATE
