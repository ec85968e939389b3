"""A session of the voice scenario: it speaks, is answered, and sometimes interrupts.

It has a marker of its own in all that it says: words that no other session speaks, and in
writing a number that no other asks to count from.

    pause ─► speaking ─► until it is heard, answered, and the answer has been played ─► pause
               ▲
    asked in writing for a long answer; the first second of that has come (every k-th turn)

The microphone is always on: silence is sent between utterances.
"""

from __future__ import annotations

from array import array
from typing import Any

import orjson
import pybase64
from attrs import define, field

from trio_bridge.bench.connection import text_frame
from trio_bridge.bench.plan import RATE
from trio_bridge.bench.playout import Playout
from trio_bridge.bench.session import BenchSession
from trio_bridge.bench.speech import Said, Speech
from trio_bridge.nodes.number_words import find_numbers

SILENCE_MS = 500
"""Of silence end a turn. It is part of the time from speech to answer."""

PAUSES = (0.5, 1.5)
"""Seconds between an answer and the next turn, least and most."""

INTO_THE_ANSWER = 1.0
"""Seconds of a long answer that are listened to before it is interrupted."""

PATIENCE = 30.0
"""Seconds after which a turn counts as lost."""

COUNT = 60
"""Numbers in a long answer."""

_CONFIGURE = text_frame(
    orjson.dumps(
        {
            "type": "session.update",
            "session": {
                "type": "realtime",
                "audio": {
                    "input": {
                        "turn_detection": {
                            "type": "server_vad",
                            "silence_duration_ms": SILENCE_MS,
                        },
                        "transcription": {"model": "whisper-1"},
                    }
                },
            },
        }
    )
)


def count_from(session: int) -> int:
    """The number that a session asks to count from: its own."""
    return 101 + session


def ask_for_long(session: int) -> bytes:
    """The frames that ask for a session's long answer in writing."""
    first = count_from(session)
    text = f"Count from {first} to {first + COUNT - 1}."
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    create = orjson.dumps({"type": "conversation.item.create", "item": item})
    return text_frame(create) + text_frame(b'{"type":"response.create"}')


@define
class _Answer:
    """The response under way, or the last one."""

    id: str
    playout: Playout
    words: str = ""
    done: bool = False
    began: float | None = None
    """When its first audio came."""


@define
class _Turn:
    """One thing that this session says, and what came of it."""

    said: Said
    ordered: float
    """When it was to begin."""
    interrupts: bool
    first: int | None = None
    """The number of the frame with which it began."""
    items: dict[str, str | None] = field(factory=dict)
    """Each item that the server made of it, and what was heard in it."""
    under_way: bool = False
    """The server hears somebody speak."""
    answer: _Answer | None = None

    def complete(self, frames: int) -> bool:
        """Whether all of it was said, heard and answered."""
        return (
            self.first is not None
            and frames >= self.first + len(self.said.frames)
            and bool(self.items)
            and None not in self.items.values()
            and not self.under_way
            and self.answer is not None
            and self.answer.done
        )

    @property
    def heard(self) -> str:
        """Everything that was heard."""
        return " ".join(words or "" for words in self.items.values()).strip()


@define(eq=False)
class VoiceSession(BenchSession):
    """Speaks utterance after utterance."""

    _speech: Speech
    _ask: bytes = field(init=False)
    """The frames that ask for its long answer."""
    _sent: array[float] = field(factory=lambda: array("d"), init=False)
    """When each frame was sent."""
    _turns: int = field(default=0, init=False)
    _turn: _Turn | None = field(default=None, init=False)
    _next: float | None = field(default=None, init=False)
    """When the next turn begins."""
    _long: _Answer | None = field(default=None, init=False)
    """The answer that the next utterance interrupts."""
    _answer: _Answer | None = field(default=None, init=False)
    _stopped_ms: int | None = field(default=None, init=False)
    """Where in the session's audio the server took the last turn to have ended."""

    def __attrs_post_init__(self) -> None:
        self._ask = ask_for_long(self.number)

    @property
    def configuration(self) -> bytes:
        """See `BenchSession`: the server detects turns, and tells what it hears."""
        return _CONFIGURE

    # --- speaking --------------------------------------------------------------------------

    def talk(self, now: float, due: float) -> bool:
        """See `BenchSession`."""
        if self._turn is None and not self._begin(now, due):
            self.finish()
            return False
        turn = self._turn
        if turn is not None and now > turn.ordered + PATIENCE:
            self.fail(f"turn {self._turns}: {_missing(turn)} within {PATIENCE:g} s")
            return False
        frame = self._speech.silence
        if turn is not None:
            if turn.first is None and self._may_speak(turn, now):
                turn.first = len(self._sent)
            if turn.first is not None and len(self._sent) - turn.first < len(turn.said.frames):
                frame = turn.said.frames[len(self._sent) - turn.first]
        self._sent.append(now)
        if self.measuring(due):
            self._tally.late_sends.append(now - due)
        self.send(frame)
        if not self.over:
            self._look(now)
        return not self.over

    def _begin(self, now: float, due: float) -> bool:
        """Begin the next turn if it is time; returns whether the session goes on."""
        if self._next is None:
            self._next = now + self._pause()
        limit = self._plan.turns
        if due >= self.begun + self._plan.measured_until or (limit and self._turns >= limit):
            return False
        if now < self._next:
            return True
        self._turns += 1
        every = self._plan.barge_in
        # Not all sessions in the same turn.
        interrupts = bool(every) and (self.number + self._turns) % every == 0
        self._turn = _Turn(self._speech.utterances[self.number], now, interrupts)
        if interrupts:
            self._long = None
            self.send(self._ask)
        return True

    def _may_speak(self, turn: _Turn, now: float) -> bool:
        if not turn.interrupts:
            return True
        began = None if self._long is None else self._long.began
        return began is not None and now >= began + INTO_THE_ANSWER

    def _look(self, now: float) -> None:
        """See whether the turn has come to its end."""
        turn = self._turn
        if turn is None or not turn.complete(len(self._sent)):
            return
        answer = turn.answer
        assert answer is not None  # noqa: S101
        if now < answer.playout.ends:
            return
        if wrong := self._speech.wrong(turn.said, turn.heard, answer.words):
            self.fail(f"turn {self._turns}: {wrong}")
            return
        self._tally.turns += 1
        self._tally.exact += turn.heard in turn.said.heard
        self._tally.heard.append((turn.said.number, turn.heard, answer.words))
        self._turn, self._next = None, now + self._pause()

    def _pause(self) -> float:
        least, most = PAUSES
        # Anything that differs from session to session and from turn to turn.
        part = (self.number * 0.618034 + self._turns * 0.414214) % 1
        return least + part * (most - least)

    # --- hearing ---------------------------------------------------------------------------

    def hear(self, event: dict[str, Any], at: float) -> None:
        """See `BenchSession`."""
        turn = self._turn
        match event["type"]:
            case "response.output_audio.delta":
                self._audio(event, at)
            case "response.created":
                self._answer = _Answer(event["response"]["id"], Playout(self._plan.playout))
                if turn is not None and turn.interrupts and self._long is None:
                    self._long = self._answer
                elif turn is not None:
                    turn.answer = self._answer
            case "response.output_audio_transcript.delta":
                if self._answer is not None and event["response_id"] == self._answer.id:
                    self._answer.words += event["delta"]
            case "response.done":
                self._done(event["response"], at)
            case "input_audio_buffer.speech_started":
                if turn is None or turn.first is None:
                    self.fail("the server hears speech where there was none")
                else:
                    turn.under_way = True
            case "input_audio_buffer.speech_stopped" if turn is not None:
                turn.under_way = False
                turn.answer = None
                self._stopped_ms = int(event["audio_end_ms"])
            case "input_audio_buffer.committed" if turn is not None:
                turn.items[event["item_id"]] = None
            case "conversation.item.input_audio_transcription.completed":
                if turn is None or event["item_id"] not in turn.items:
                    self.fail("a transcript came for nothing that was said")
                else:
                    turn.items[event["item_id"]] = event["transcript"].strip()
            case "conversation.item.input_audio_transcription.failed":
                self.fail(f"turn {self._turns}: it was not transcribed")

    def _audio(self, event: dict[str, Any], at: float) -> None:
        answer = self._answer
        if answer is None or answer.done or event["response_id"] != answer.id:
            self.fail("audio came for a response that is not under way")
            return
        if answer.began is None:
            answer.began = at
            self._answered(answer, at)
        pcm = pybase64.b64decode(event["delta"])
        stalled = answer.playout.stalled
        underruns = answer.playout.underruns
        late = answer.playout.arrived(at, len(pcm) / 2 / RATE)
        if self.measuring(at):
            self._tally.lateness.append(late)
            self._tally.underruns += answer.playout.underruns - underruns
            self._tally.stalled += answer.playout.stalled - stalled

    def _answered(self, answer: _Answer, at: float) -> None:
        turn = self._turn
        if turn is None or turn.answer is not answer or turn.first is None:
            return
        last = turn.first + turn.said.last_loud
        if self._stopped_ms is None or last >= len(self._sent) or not self.measuring(at):
            return
        self._tally.answer.append(at - self._sent[last])
        stopped = self._stopped_ms * RATE // 1000 // self._plan.frame_samples
        self._tally.answer_beyond.append(at - self._sent[min(stopped, len(self._sent) - 1)])

    def _done(self, response: dict[str, Any], at: float) -> None:
        answer, turn = self._answer, self._turn
        if answer is None or response["id"] != answer.id:
            self.fail("a response ended that is not under way")
            return
        answer.done = True
        status = response["status"]
        if answer is self._long and (wrong := self._counted_wrong(answer.words)):
            self.fail(f"turn {self._turns}: {wrong}")
        elif status == "cancelled" and turn is not None and turn.first is not None:
            if answer is self._long and self.measuring(at):
                began = turn.first + turn.said.first_loud
                self._tally.barge_in.append(at - self._sent[min(began, len(self._sent) - 1)])
            if turn.answer is answer:
                turn.answer = None
        elif status != "completed":
            self.fail(f"turn {self._turns}: the answer ended as {status}")

    def _counted_wrong(self, words: str) -> str | None:
        """What is wrong with a long answer, if anything is, where the one who answers is known
        to do as it is told."""
        first = count_from(self.number)
        # The last number may not be whole.
        counted = find_numbers(words)[:-1]
        if not self._speech.repeated or counted[:1] == [first]:
            return None
        return f"asked to count from {first}, and heard {words!r}"


def _missing(turn: _Turn) -> str:
    if turn.first is None:
        return "no long answer came"
    if not turn.items:
        return "nothing was heard"
    if None in turn.items.values():
        return "no transcript came"
    return "no answer came" if turn.answer is None else "the answer did not end"
