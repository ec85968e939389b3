"""One answer on its way through the synthesis node: rows of text in, rows of audio out."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson
import trio
from attrs import define, field, frozen

from trio_bridge.dora.contract import Answer
from trio_bridge.nodes.sentences import SentenceSplitter
from trio_bridge.nodes.synthesis import EngineError, TimedWord, readable, time_words
from trio_bridge.nodes.voicing import Voicing

CHUNK_SECONDS: Final = 0.2
"""Audio in a row: five rows for a second of speech. Words carry times that are finer."""

SHORTEST_SECONDS: Final = 0.02
"""Credit for less than this is left to grow, unless it is all that a piece has left."""

CHARACTERS_WAITING: Final = 200_000
"""Text and arguments that may wait in one answer: about four hours of speech, so only an
answer that has run away meets it."""

SILENCE_LIMIT: Final = 300.0
"""Seconds without a row or credit after which an answer is given up: then its language node
or its session has gone without a word."""

Emit = Callable[[str, Answer], None]
"""Sends a row on a port; never waits."""

PORT: Final = "answer"


@frozen
class Delivery:
    """How an answer is to be given: the `data` of its first row."""

    modality: str = "audio"
    voice: str = ""
    speed: float = 1.0

    @classmethod
    def parse(cls, data: str | None) -> Delivery:
        """Raises:
        ValueError: It is not a JSON object with these fields.
        """
        if data is None:
            return cls()
        found = orjson.loads(data)
        if not isinstance(found, dict):
            raise ValueError("the delivery of an answer is not an object")
        speed = found.get("speed")
        return cls(
            str(found.get("modality") or "audio"),
            str(found.get("voice") or ""),
            float(speed) if speed is not None else 1.0,
        )


class AnswerBroken(Exception):
    """The rows of an answer do not add up; `code` and the message are for its `done`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@define(eq=False)
class Outgoing:
    """The rows of one answer on their way to the bridge, numbered anew."""

    session_id: str
    response_id: str
    emit: Emit
    finished: bool = field(default=False, init=False)
    _seq: int = field(default=0, init=False)

    def send(self, event: str, **fields: Any) -> None:
        """Send a row; after `done` nothing more goes out."""
        self.forward(Answer(self.session_id, self.response_id, 0, event, **fields))

    def forward(self, row: Answer) -> None:
        """Pass a row on under its new number."""
        if not self.finished:
            self.emit(PORT, attrs.evolve(row, seq=self._seq, data=None))
            self._seq += 1
            self.finished = row.event == "done"


@define(eq=False)
class SpokenAnswer:
    """Turns an answer's text into speech, a piece at a time, never ahead of its credit.

    Args:
        out: Where its rows go.
        delivery: Voice and speed.
        voicing: What speaks.
        credit: Seconds of audio that may have been sent in all.
    """

    out: Outgoing
    delivery: Delivery
    voicing: Voicing
    credit: float = 0.0
    _rows: deque[Answer] = field(factory=deque, init=False)
    _waiting: int = field(default=0, init=False)
    _sent: int = field(default=0, init=False)
    _rate: int = field(init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        # An answer has one voice, and so one rate: what was sent can be counted in samples.
        self._rate = self.voicing.engine.rate_of(self.delivery.voice)

    def add(self, row: Answer) -> None:
        """Take the next row of the answer.

        Raises:
            AnswerBroken: More waits than an answer may have.
        """
        self._waiting += _size(row)
        if self._waiting > CHARACTERS_WAITING:
            raise AnswerBroken("answer_too_long", "the answer is too long to be spoken")
        self._rows.append(row)
        self._woken.set()

    def grant(self, seconds: float) -> None:
        """Allow so much audio in all. Credit never shrinks."""
        if seconds > self.credit:
            self.credit = seconds
            self._woken.set()

    def stop(self) -> None:
        """End `run` now; the engine is told too, or its thread would hold up the end."""
        self._stop.set()
        self._scope.cancel()

    async def run(self) -> None:
        """Speak until the answer is done, or stopped.

        Raises:
            EngineError: The engine cannot speak a piece.
            AnswerBroken: Nothing has come for too long.
        """
        splitter = SentenceSplitter()
        with self._scope:
            while not self.out.finished:
                row = await self._next_row()
                if row.event == "text":
                    pieces = splitter.feed(row.text or "")
                else:
                    pieces = splitter.flush()
                for piece in pieces:
                    await self._speak(piece)
                if row.event != "text":
                    self.out.forward(row)

    async def _next_row(self) -> Answer:
        while not self._rows:
            await self._news()
        row = self._rows.popleft()
        self._waiting -= _size(row)
        return row

    async def _news(self) -> None:
        with trio.move_on_after(SILENCE_LIMIT) as patience:
            await self._woken.wait()
        if patience.cancelled_caught:
            raise AnswerBroken("answer_stalled", "the answer was left unfinished")
        self._woken = trio.Event()

    def _room(self) -> float:
        """Samples that may be sent now."""
        return self.credit * self._rate - self._sent

    async def _speak(self, piece: str) -> None:
        while self._room() < 1:
            await self._news()
        text = readable(piece)
        utterance = await self.voicing.speak(
            text, voice=self.delivery.voice, speed=self.delivery.speed, stop=self._stop
        )
        samples = utterance.samples
        length = len(samples)
        if length == 0:
            raise EngineError("the engine made no sound")
        words = deque(time_words(text, utterance.marks, length))
        start = self._sent
        done = said = 0
        while done < length:
            size = await self._admit(length - done)
            last = done + size == length
            spoken = []
            while words and (last or words[0].first < done + size):
                spoken.append(words.popleft())
            upto = len(piece) if last else spoken[-1].upto if spoken else said
            self._sent += size
            self.out.send(
                "audio",
                samples=samples[done : done + size],
                sample_rate=self._rate,
                text=piece[said:upto],
                words=self._timings(piece, spoken, start),
            )
            done += size
            said = upto

    async def _admit(self, left: int) -> int:
        """Wait until a row may go out; returns how many of the `left` samples it carries."""
        wanted = min(left, round(CHUNK_SECONDS * self._rate))
        enough = min(wanted, round(SHORTEST_SECONDS * self._rate))
        while self._room() < enough:
            await self._news()
        return int(min(wanted, self._room()))

    def _timings(self, piece: str, words: list[TimedWord], start: int) -> str:
        per_ms = self._rate / 1000
        return orjson.dumps(
            [
                (
                    piece[word.start : word.end],
                    round((start + word.first) / per_ms, 1),
                    round((start + word.last) / per_ms, 1),
                )
                for word in words
            ]
        ).decode()


def _size(row: Answer) -> int:
    return 1 + len(row.text or "") + len(row.arguments or "")
