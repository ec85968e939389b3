"""One session's ear in the speech monitor: audio in, `speech` and `segment` rows out.

An *utterance* is audio that gets one transcript. With turn detection it opens where speech
starts and ends with the silence that was asked for, or with a commit. Without (push-to-talk) it
opens with the first audio and ends with a commit. From its first sample on, its audio goes to
the recogniser as it comes in, and what it understands comes back while speech goes on: how
long a silence has to be may depend on it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from attrs import define, field

from trio_bridge.audio.pcm import float32_to_pcm16, pcm16_to_float32
from trio_bridge.dora.contract import SAMPLE_RATE, Float32, Segment, Speech, Transcript
from trio_bridge.nodes.turn_ending import how_finished
from trio_bridge.nodes.vad import FRAME, MS, Edge, Int16, VadSettings, VoiceActivity

Out = Callable[[Speech | Segment], None]

KEPT: Final = 5 * SAMPLE_RATE
"""Samples kept that belong to no utterance yet: the prefix of the next one, and what a commit
means when the detector heard nothing. 160 kB a session."""

LONGEST_TURN: Final = 60 * SAMPLE_RATE
"""Speech without a pause is cut here: the utterance stops as if a pause had come, and the next
one starts at once. A recogniser's search grows with the length of what it hears."""

LONGEST_PUSH: Final = 600 * SAMPLE_RATE
"""The most of one push-to-talk utterance that goes to the recogniser. It cannot be cut, since
one commit asks for one transcript; what comes after is left out of the transcript."""


@define
class _Utterance:
    id: str
    begin: int
    cut: bool = False


@define
class Listener:
    """One session's ear. Positions are samples of its audio clock, which never turns back.

    Args:
        session_id: Whose it is.
        out: Takes the rows.
        report: Takes what an operator should know.
        transcribed: Whether a recogniser's transcripts come back.
    """

    session_id: str
    out: Out
    report: Callable[[str], None]
    transcribed: bool = False
    _vad: VoiceActivity = field(factory=VoiceActivity, init=False)
    _detecting: bool = field(default=True, init=False)
    _transcription: str | None = field(default=None, init=False)
    _language: str | None = field(default=None, init=False)
    _kept: deque[Int16] = field(factory=lambda: deque(maxlen=KEPT // FRAME), init=False)
    _tail: Int16 = field(factory=lambda: np.zeros(0, np.int16), init=False)
    _used: int = field(default=0, init=False)
    """Audio before this has been part of an utterance, or was cleared."""
    _utterance: _Utterance | None = field(default=None, init=False)
    _utterances: int = field(default=0, init=False)
    _sending: list[Int16] = field(factory=list, init=False)

    @property
    def received(self) -> int:
        """Samples received since the session opened."""
        return self._vad.clock + len(self._tail)

    def configure(self, data: str) -> None:
        """Listen differently from here on.

        Speech that is under way becomes a push-to-talk utterance when detection is switched
        off. When it is switched on, an open push-to-talk utterance is dropped: if somebody is
        speaking, the detector finds the start in the audio that is kept.

        Raises:
            ValueError: `data` is not what the contract says; nothing has changed.
        """
        try:
            settings: dict[str, Any] = json.loads(data)
            transcription: dict[str, Any] = settings.get("transcription") or {}
            language = transcription.get("language")
            detection: dict[str, Any] | None = settings.get("turn_detection")
            vad = None if detection is None else VadSettings.from_turn_detection(detection)
        except (AttributeError, TypeError, OverflowError) as exc:
            raise ValueError(f"not a configuration: {exc}") from exc
        self._transcription = json.dumps(settings.get("transcription"))
        self._language = None if language is None else str(language)
        if vad is None:
            self._detecting = False
            return
        if not self._detecting:
            if self._utterance is not None:
                self._used = self._utterance.begin
                self._close("drop")
            self._vad.forget()
        self._detecting = True
        self._vad.configure(vad)

    def audio(self, samples: Float32) -> None:
        """Hear 16 kHz audio, shape ``(n,)``; any chunking gives the same edges."""
        for frame in self._frames(_to_int16(samples)):
            self._kept.append(frame)
            edge = self._vad.push(frame)
            if self._detecting:
                self._hear(edge)
            else:
                self._push_to_talk(frame)
        self._flush()

    def transcript(self, row: Transcript) -> None:
        """The recogniser has understood so much of an utterance, or has failed."""
        if self._utterance is not None and self._utterance.id == row.utterance_id:
            self._judge(row.text if row.event != "failed" else None)

    def commit(self, item_id: str) -> None:
        """End the utterance for `item_id`. With none open, what is kept is the utterance."""
        if self._utterance is None:
            self._open(self._used)
        if self._utterance is not None and not self._utterance.cut:
            fresh = min(self.received - self._used, self._tail.size)
            self._sending.append(self._tail[self._tail.size - fresh :])
        self._close("end", item_id)
        self._start_over()

    def clear(self) -> None:
        """Forget what was heard and not committed."""
        if self._utterance is not None:
            self._close("drop")
        self._start_over()

    def close(self) -> None:
        """The session has ended; so has all that the recogniser does for it."""
        self._sending.clear()
        self.out(Segment(self.session_id, "", "close"))

    def _frames(self, pcm: Int16) -> Iterator[Int16]:
        pcm = np.concatenate((self._tail, pcm))
        whole = len(pcm) - len(pcm) % FRAME
        for start in range(0, whole, FRAME):
            # The clock counts whole frames; `received` must not count the rest twice.
            self._tail = pcm[start + FRAME :]
            yield pcm[start : start + FRAME]
        self._tail = pcm[whole:].copy()

    def _hear(self, edge: Edge | None) -> None:
        clock = self._vad.clock
        if self._utterance is None:
            if edge is not None and edge.kind == "start":
                begin = self._open(edge.at - self._vad.settings.padding)
                self._judge("" if self.transcribed else None)
                self._say("started", begin)
            return
        self._sending.append(self._kept[-1])
        too_long = clock - self._utterance.begin >= LONGEST_TURN
        if too_long or (edge is not None and edge.kind == "stop"):
            self._say("stopped", clock)
            self._close("end")
            self._used = clock
            self._vad.forget()

    def _push_to_talk(self, frame: Int16) -> None:
        clock = self._vad.clock
        if self._utterance is None:
            self._open(max(self._used, clock - FRAME))
        elif clock - self._utterance.begin <= LONGEST_PUSH:
            self._sending.append(frame)
        elif not self._utterance.cut:
            self._utterance.cut = True
            self.report(
                f"session {self.session_id}: an utterance is longer than "
                f"{LONGEST_PUSH // SAMPLE_RATE} s, the rest is not transcribed"
            )

    def _judge(self, words: str | None) -> None:
        self._vad.finished = None if words is None else how_finished(words, self._language)

    def _open(self, begin: int) -> int:
        """Open an utterance with what is kept from `begin` on; gives where it really begins."""
        clock = self._vad.clock
        begin = max(begin, self._used, clock - len(self._kept) * FRAME)
        self._utterances += 1
        self._utterance = _Utterance(f"u{self._utterances}", begin)
        self._segment("start", data=self._transcription)
        if begin < clock:
            frames = -((begin - clock) // FRAME)
            kept = np.concatenate([self._kept[i] for i in range(-frames, 0)])
            self._sending.append(kept[len(kept) - (clock - begin) :])
        return begin

    def _close(self, event: str, item_id: str | None = None) -> None:
        if event == "end":
            self._flush()
        self._sending.clear()
        self._segment(event, item_id=item_id)
        self._utterance = None

    def _start_over(self) -> None:
        self._used = self.received
        self._vad.forget()

    def _flush(self) -> None:
        pcm = np.concatenate(self._sending) if self._sending else self._tail[:0]
        self._sending.clear()
        if pcm.size:
            self._segment("audio", samples=pcm16_to_float32(pcm.tobytes()))

    def _segment(self, event: str, **fields: Any) -> None:
        if self._utterance is None:
            raise RuntimeError(f"segment {event} outside an utterance")
        self.out(Segment(self.session_id, self._utterance.id, event, **fields))

    def _say(self, event: str, at: int) -> None:
        if self._utterance is None:
            raise RuntimeError(f"speech {event} outside an utterance")
        self.out(Speech(self.session_id, event, self._utterance.id, at // MS))


def _to_int16(samples: Float32) -> Int16:
    try:
        pcm = float32_to_pcm16(samples)
    except ValueError:
        # NaN is nobody's voice, but dropping it would set the session's clock back.
        pcm = float32_to_pcm16(np.nan_to_num(samples))
    return np.frombuffer(pcm, np.int16)
