"""A conversation as its user lives it: turns, what was heard, what is answered, and when."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from math import inf
from typing import Any

import trio
from attrs import define, field

from trio_bridge.audio.pcm import pcm16_to_float32
from trio_bridge.client.connection import ClientError, RealtimeConnection
from trio_bridge.client.report import Report

FRAME_SECONDS = 0.02

LOUD = 10 ** (-25 / 20)
"""A frame this near to the loudest so far (-25 dB; a quiet room is below) is speech. Only
latencies hang on it: they count from the end of what was said, not of the recording."""

LAST_WORD_GRACE = 1.0
"""Seconds after the recording in which the server may still notice that somebody speaks."""

SILENCE_PATIENCE = 5.0
"""Seconds after the recording in which it must have noticed that somebody spoke at all."""

TRANSCRIPT_PATIENCE = 5.0
"""Seconds without any event after which a transcript is not waited for any more."""

ANSWER_PATIENCE = 60.0
"""The same for an answer: language models may take their time."""

ANSWER_LIMIT = 300.0
"""Seconds after which an answer that still goes on is not waited for: an echo never ends."""

TRANSCRIPTION = {"model": "whisper-1"}
"""Servers tell what they heard only when asked to. This is the name all of them take."""


@define
class Turn:
    """One thing that was said, and the answer to it.

    `ended` is when the user had said it, on Trio's clock; `marks` is when things came.
    """

    ended: float
    item_id: str | None = None
    """The item that was spoken; None for a turn in writing."""
    heard: str | None = None
    answer: str = ""
    status: str | None = None
    marks: dict[str, float] = field(factory=dict)
    reported: bool = False

    @property
    def complete(self) -> bool:
        """Answered, and heard if there was something to hear."""
        return self.status is not None and (self.item_id is None or self.heard is not None)

    def mark(self, name: str) -> None:
        """Note the first time that something comes."""
        self.marks.setdefault(name, trio.current_time())

    def summary(self) -> dict[str, Any]:
        """The turn as a JSON object; `latency_ms` counts from the end of what was said."""
        return {
            "spoken": self.item_id is not None,
            "heard": self.heard,
            "answer": self.answer,
            "status": self.status,
            "latency_ms": {
                name: round((when - self.ended) * 1000, 1) for name, when in self.marks.items()
            },
        }


@define(eq=False)
class Conversation:
    """Follows the events of one connection.

    Args:
        connection: Where they come from.
        report: Is told as they come.
        play: Is given the answer's audio as it comes: PCM16, 24 kHz.
    """

    connection: RealtimeConnection
    report: Report
    play: Callable[[bytes], None]
    turns: list[Turn] = field(factory=list, init=False)
    _speaking: bool = field(default=False, init=False)
    _said_all_at: float | None = field(default=None, init=False)
    _grace: float = field(default=0.0, init=False)
    _frames: list[tuple[float, float]] = field(factory=list, init=False)
    """When each frame was sent, and how loud it is."""
    _last_event_at: float = field(factory=trio.current_time, init=False)
    _waiting: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    # --- saying ----------------------------------------------------------------------------

    async def ask(self, text: str) -> None:
        """Say something in writing."""
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
        await self.connection.send("conversation.item.create", item=item)
        await self.connection.send("response.create")
        self.turns.append(Turn(ended=trio.current_time()))
        self._said_all()

    async def prepare_to_speak(self) -> None:
        """Ask the server to tell what it hears."""
        session = {
            "type": "realtime",
            "audio": {"input": {"transcription": TRANSCRIPTION}},
        }
        await self.connection.send("session.update", session=session)

    async def say(self, frame: bytes) -> None:
        """Send `FRAME_SECONDS` of audio: PCM16, 24 kHz."""
        level = float(abs(pcm16_to_float32(frame)).max(initial=0.0))
        self._frames.append((trio.current_time(), level))
        audio = base64.b64encode(frame).decode("ascii")
        await self.connection.send("input_audio_buffer.append", audio=audio)

    def said_all_speech(self) -> None:
        """What is sent from here on is silence: the server has to come to an end."""
        if self._said_all_at is None:
            self._grace = LAST_WORD_GRACE
            self._said_all()

    def _said_all(self) -> None:
        self._said_all_at = trio.current_time()
        # `listen` may be waiting already, without a deadline.
        self._waiting.deadline = self._deadline()

    # --- listening -------------------------------------------------------------------------

    async def listen(self, *, one_turn: bool = False) -> None:
        """Follow events until everything that was said has been heard and answered.

        Args:
            one_turn: What was said ends with the first turn the server makes of it.

        Raises:
            ClientError: The server reports an error, hears nobody, does not answer, or goes.
        """
        while True:
            with trio.CancelScope(deadline=self._deadline()) as self._waiting:
                event = await self.connection.receive()
            if self._waiting.cancelled_caught:
                break
            self._last_event_at = trio.current_time()
            self._handle(event)
            if one_turn and self.turns:
                self.said_all_speech()
        if not self.turns:
            raise ClientError("the server heard nobody speak")
        if not self._answered():
            if trio.current_time() < self._last_event_at + ANSWER_PATIENCE:
                raise ClientError(f"the answer did not end within {ANSWER_LIMIT:g} s")
            raise ClientError(f"the server gave no answer for {ANSWER_PATIENCE:g} s")
        for turn in self.turns:
            self._report(turn)

    def _answered(self) -> bool:
        everything = all(turn.status is not None for turn in self.turns)
        return bool(self.turns) and not self._speaking and everything

    def _deadline(self) -> float:
        if self._said_all_at is None:
            return inf
        if not self.turns and not self._speaking:
            return self._said_all_at + SILENCE_PATIENCE
        if not self._answered():
            quiet_since = max(self._said_all_at, self._last_event_at)
            return min(quiet_since + ANSWER_PATIENCE, self._said_all_at + ANSWER_LIMIT)
        if not all(turn.complete for turn in self.turns):
            return self._last_event_at + TRANSCRIPT_PATIENCE
        return self._said_all_at + self._grace

    def _handle(self, event: dict[str, Any]) -> None:
        try:
            match event["type"]:
                case "error":
                    error = event["error"]
                    code = f" ({error['code']})" if error.get("code") else ""
                    raise ClientError(f"the server reports an error: {error['message']}{code}")
                case "input_audio_buffer.speech_started":
                    self._speaking = True
                case "input_audio_buffer.speech_stopped":
                    self._speaking = False
                    ended = self._end_of_speech(event["audio_end_ms"])
                    self.turns.append(Turn(ended=ended, item_id=event["item_id"]))
                case "conversation.item.input_audio_transcription.delta":
                    self.report.heard(event["delta"])
                case "conversation.item.input_audio_transcription.completed":
                    self._heard(event["item_id"], event["transcript"])
                case "conversation.item.input_audio_transcription.failed":
                    self._heard(event["item_id"], "")
                case "response.output_audio_transcript.delta" | "response.output_text.delta":
                    self._answer(event["delta"])
                case "response.output_audio.delta":
                    self._turn().mark("first_audio")
                    self.play(base64.b64decode(event["delta"], validate=True))
                case "response.done":
                    self._done(event["response"])
                case _:
                    pass
        except (KeyError, TypeError, binascii.Error) as exc:
            raise ClientError(
                f"the server sent an event of a shape not known: {event['type']}"
            ) from exc

    def _turn(self) -> Turn:
        if not self.turns:
            # The server speaks unasked.
            self.turns.append(Turn(ended=trio.current_time()))
        return self.turns[-1]

    def _heard(self, item_id: str, transcript: str) -> None:
        for turn in self.turns:
            if turn.item_id == item_id:
                turn.heard = transcript
                turn.mark("heard")
                self.report.heard_all(transcript)
                self._report_if_complete(turn)

    def _answer(self, delta: str) -> None:
        turn = self._turn()
        turn.mark("first_text")
        turn.answer += delta
        self.report.answered(delta)

    def _done(self, response: dict[str, Any]) -> None:
        if response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            why = error.get("message") or error.get("code") or "no reason given"
            raise ClientError(f"the answer failed: {why}")
        turn = self._turn()
        turn.status = response["status"]
        turn.mark("done")
        self._report_if_complete(turn)

    def _end_of_speech(self, audio_end_ms: float) -> float:
        frames = self._frames[: max(1, round(audio_end_ms / 1000 / FRAME_SECONDS))]
        if not frames:
            return trio.current_time()
        floor = max(level for _, level in frames) * LOUD
        return next(sent for sent, level in reversed(frames) if level >= floor)

    def _report_if_complete(self, turn: Turn) -> None:
        if turn.complete:
            self._report(turn)

    def _report(self, turn: Turn) -> None:
        if not turn.reported:
            turn.reported = True
            self.report.turn(turn.summary())
