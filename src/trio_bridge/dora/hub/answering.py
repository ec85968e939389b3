"""The answering side of a hub dataflow: from a question to text, sentences and speech.

Text goes from the language node through the segmenter, sentence by sentence, to the voice, and
every hop passes through the bridge. So each sentence bears a number that its speech and its end
come back with, what was cancelled goes no further, and speech is never ahead of its credit by
more than a sentence.

Nodes of the hub stop late or never, skip sentences, and forget to say that they are done. A
response ends when its text is over and each of its sentences is: spoken, skipped, or waited for
long enough. Audio alone ends nothing; nor does the voice's word that a sentence is spoken end
it before its audio is here. Dora carries large messages by another way than small ones, so that
the word may come first, by a third of a second where all cores are busy.

Nor is what the bridge says on one port ordered against what it says on another. A cancel may
meet the question after the one that it was for, which is then asked again. What the segmenter
still has of a cancelled response is not reset but ended, on the port on which it came there, so
that it neither gets into the next response nor takes the beginning of that away.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from attrs import define, field

from trio_bridge.dora.hub.answers import Answer, Sentence, continued, question_of, weight
from trio_bridge.dora.hub.messages import Message
from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    Failure,
    ResponseFinished,
    ResponseRequest,
    TextDelta,
)

FIRST_TEXT_PATIENCE = 30.0
"""Seconds until a language node must have begun to answer."""

TEXT_PATIENCE = 5.0
"""Seconds between two pieces of an answer. One that is silent for longer is taken to be over:
some nodes never say so."""

SEGMENT_PATIENCE = 5.0
"""Seconds that the segmenter may keep text back after the last of it, or after its last
sentence was spoken. It holds sentences and splits; it computes nothing."""

SPEECH_PATIENCE = 20.0
"""Seconds that a sentence may take until its first audio, or until more of it; and its first
audio after it was said to be spoken."""

PIECE_PATIENCE = 2.0
"""Seconds that a response is kept open for a sentence's last piece of audio after its end. Only
for a voice that speaks in pieces: of any other the one piece is all."""

OVER = frozenset({"ended", "cancelled", "error"})
"""What `session_status` says with the last piece of an answer."""


@define
class Answering:
    """Makes responses.

    Args:
        numbers: Numbers for answers and sentences, never the same twice on an instance.
        voice: The dataflow has a segmenter and a voice.
        send: Takes messages to the nodes.
        tell: Takes events to the session.
    """

    _numbers: Iterator[int]
    _voice: bool
    _send: Callable[[Message], None]
    _tell: Callable[[BackendEvent], None]
    _answers: dict[str, Answer] = field(factory=dict, init=False)
    _asked: deque[Answer] = field(factory=deque, init=False)
    """Whose text is not over, in the order of asking; the language node takes one at a time.
    Cancelled ones stay until it is through with them."""
    _speaking: deque[Sentence] = field(factory=deque, init=False)
    """What the voice was given and is not through with, in order."""
    _spoken_of: dict[int, Sentence] = field(factory=dict, init=False)
    """Sentences that are over, of responses that are not, by number."""
    _in_pieces: bool = field(default=False, init=False)
    """The voice has given a sentence in more than one message."""
    _skipped: bool = field(default=False, init=False)
    _texts_numbered: bool = field(default=False, init=False)
    _segments_numbered: bool = field(default=False, init=False)
    """Language node, segmenter: whether they pass numbers on, so that what they say can be told
    apart."""
    _session_id: str = field(default="", init=False)

    def reset(self) -> None:
        """Have the nodes forget what was before. Done while nobody is there: when a session
        begins it might come after its first question."""
        self._control("reset", self._session_id)
        self._reset_segmenter()

    def begin(self, session_id: str) -> None:
        """A session begins."""
        self._session_id = session_id

    def end(self) -> None:
        """The session is over: nothing more is told of its responses; the nodes forget it."""
        for response_id in list(self._answers):
            self.cancel(response_id)
        self._control("reset", self._session_id)
        if not self._segments_numbered:
            self._reset_segmenter()

    # --- from the session -------------------------------------------------------------------

    def respond(self, response_id: str, request: ResponseRequest, now: float) -> None:
        """Ask for a response. The language node keeps the conversation itself: it is given what
        was said since its last answer."""
        question = question_of(request)
        if not question:
            # Nothing was understood, so there is nothing to answer.
            self._tell(ResponseFinished(response_id))
            return
        speaks = self._voice and request.output_modality == "audio"
        answer = Answer(response_id, self._session_id, next(self._numbers), question, speaks)
        self._answers[response_id] = answer
        self._asked.append(answer)
        if self._asked[0] is answer:
            answer.deadline = now + FIRST_TEXT_PATIENCE
        self._ask(answer)

    def cancel(self, response_id: str) -> None:
        """Stop a response; nothing more is told of it."""
        answer = self._answers.pop(response_id, None)
        if answer is None:
            return
        answer.cancelled = True
        self._forget_spoken(answer)
        if self._asked and self._asked[0] is answer:
            self._cancel_text(answer)
        if self._segments_numbered:
            self._rid_segmenter_of(answer)
        elif not any(other.speaks for other in self._answers.values()):
            self._reset_segmenter()
        answer.sentences.clear()

    def credit(self, response_id: str, seconds: float, now: float) -> None:
        """So much of a response may be spoken."""
        answer = self._answers.get(response_id)
        if answer is not None:
            answer.credit = max(answer.credit, seconds)
            self._speak_next(now)

    # --- from the nodes ---------------------------------------------------------------------

    def receive(self, message: Message, now: float) -> None:
        """Take what the nodes say."""
        match message.port:
            case "text":
                self._text(message, now)
            case "text_segment":
                self._segment(message, now)
            case "speech":
                self._speech(message, now)
            case "segment_complete":
                self._spoken(message, now)

    @property
    def deadline(self) -> float:
        """When `tick` will next have something to do."""
        return min(
            (
                *(answer.deadline for answer in (*self._answers.values(), *self._asked)),
                *(sentence.deadline for sentence in self._speaking),
            ),
            default=math.inf,
        )

    def tick(self, now: float) -> None:
        """Give up waiting for what is due."""
        for sentence in [each for each in self._speaking if now >= each.deadline]:
            sentence.answer.failure = Failure("voice_silent", "the voice did not answer")
            self._sentence_over(sentence, now)
        if self._asked and now >= self._asked[0].deadline:
            self._text_over(self._asked[0], "", now)
        for answer in [each for each in self._answers.values() if now >= each.deadline]:
            answer.all_segmented = True
            self._advance(answer, now)

    # --- text -------------------------------------------------------------------------------

    def _text(self, message: Message, now: float) -> None:
        self._texts_numbered = self._texts_numbered or message.number is not None
        if message.number is None and self._texts_numbered and message.status == "cancelled":
            return  # beside the end of what was cancelled, and perhaps after it
        if not self._asked:
            return
        answer: Answer | None = self._asked[0]
        if message.number is not None:
            answer = next((a for a in self._asked if a.number == message.number), None)
        elif message.status == "started" and self._asked[0].begun and len(self._asked) > 1:
            # The end of the one before went missing.
            self._text_over(self._asked[0], "", now)
            answer = self._asked[0]
        if answer is None:
            return
        while self._asked[0] is not answer:
            self._text_over(self._asked[0], "", now)
        if message.error:
            answer.failure = Failure("language_node_failed", message.error)
        answer.begun = True
        answer.deadline = now + TEXT_PATIENCE
        over = message.status in OVER
        answer.said_something = answer.said_something or bool(message.text)
        if message.status == "cancelled" and self._was_met(answer):
            self._ask_again(answer, now)
            return
        if message.text and not answer.cancelled:
            if answer.speaks:
                self._write(answer, message.text, "ended" if over else "ongoing")
            else:
                self._tell(TextDelta(answer.response_id, message.text))
        if over:
            self._text_over(answer, message.status, now)

    def _was_met(self, answer: Answer) -> bool:
        """Whether it was cancelled by what was meant for another response."""
        return not (answer.cancelled or answer.said_something or answer.asked_again)

    def _ask_again(self, answer: Answer, now: float) -> None:
        answer.asked_again, answer.begun = True, False
        answer.deadline = math.inf
        self._asked.remove(answer)
        self._asked.append(answer)
        self._ask(answer)
        self._follow(now)

    def _write(self, answer: Answer, text: str, status: str) -> None:
        answer.written += weight(text)
        answer.flushed = status == "ended"
        metadata = {"question_id": answer.number, "session_status": status}
        self._send(Message("draft", text, metadata=metadata))

    def _text_over(self, answer: Answer, status: str, now: float) -> None:
        self._asked.remove(answer)
        answer.text_over, answer.status = True, status
        answer.deadline = math.inf
        if self._asked:
            self._follow(now)
        if answer.cancelled:
            return
        if not answer.begun:
            answer.failure = Failure("language_node_silent", "the language node did not answer")
        elif answer.speaks and not answer.flushed:
            self._write(answer, "", "ended")
        self._await_segments(answer, now)
        self._advance(answer, now)

    def _follow(self, now: float) -> None:
        """The language node is at the next question."""
        following = self._asked[0]
        following.deadline = now + FIRST_TEXT_PATIENCE
        if following.cancelled:
            self._cancel_text(following)

    # --- sentences --------------------------------------------------------------------------

    def _segment(self, message: Message, now: float) -> None:
        number = message.number
        self._segments_numbered = self._segments_numbered or number is not None
        answer = next(
            (a for a in self._answers.values() if a.speaks and number in {None, a.number}), None
        )
        if answer is None:
            # Of a response that is over. The segmenter waits until it has been spoken.
            self._tell_spoken("skipped")
            return
        answer.segmented += weight(message.text)
        if message.status == "ended":
            answer.all_segmented = True
        if message.text.strip():
            answer.sentences.append(continued(answer.said, message.text))
            answer.said = message.text
        else:
            self._tell_spoken("skipped")
        self._await_segments(answer, now)
        self._speak_next(now)
        self._advance(answer, now)

    def _rid_segmenter_of(self, answer: Answer) -> None:
        """Have it give away what it has of a response that was cancelled. Its sentences are
        known by their number, and go no further."""
        spoken = (each for each in self._speaking if each.answer is answer)
        for _ in (*answer.sentences, *spoken):
            self._tell_spoken("skipped")
        if answer.written and not answer.flushed:
            self._write(answer, "", "ended")

    def _await_segments(self, answer: Answer, now: float) -> None:
        busy = answer.sentences or any(s.answer is answer for s in self._speaking)
        if answer.text_over:
            answer.deadline = math.inf if busy else now + SEGMENT_PATIENCE

    # --- speech -----------------------------------------------------------------------------

    def _speak_next(self, now: float) -> None:
        if any(not sentence.answer.cancelled for sentence in self._speaking):
            return
        for answer in self._answers.values():
            if answer.sentences and answer.spoken < answer.credit:
                text = answer.sentences.popleft()
                sentence = Sentence(next(self._numbers), answer, text, now + SPEECH_PATIENCE)
                self._speaking.append(sentence)
                metadata = {"question_id": sentence.number, "session_status": "ongoing"}
                self._send(Message("sentence", text.strip(), metadata=metadata))
                return

    def _sentence_of(self, message: Message) -> Sentence | None:
        """Whose audio or end it is; without a number, that of the oldest that lacks it."""
        number, end = message.number, message.port == "segment_complete"
        if number is not None:
            return next((s for s in self._speaking if s.number == number), None)
        return next((s for s in self._speaking if not (end and s.completed)), None)

    def _speech(self, message: Message, now: float) -> None:
        sentence = self._sentence_of(message)
        if sentence is None and message.number is not None:
            sentence = self._spoken_of.get(message.number)
        if sentence is None or message.samples is None:
            return
        sentence.deadline = now + SPEECH_PATIENCE
        answer = sentence.answer
        if not len(message.samples):
            return
        sentence.pieces += 1
        self._in_pieces = self._in_pieces or sentence.pieces > 1
        if not answer.cancelled:
            self._tell_speech(sentence, message)
        if sentence.completed:
            # It was behind the end of its sentence, and more of it may be.
            self._await_pieces(answer, now)
            if sentence in self._speaking:
                self._sentence_over(sentence, now)
            else:
                self._advance(answer, now)

    def _await_pieces(self, answer: Answer, now: float) -> None:
        if self._in_pieces:
            answer.open_until = now + PIECE_PATIENCE

    def _tell_speech(self, sentence: Sentence, message: Message) -> None:
        answer = sentence.answer
        assert message.samples is not None  # noqa: S101  its caller has looked
        answer.spoken += len(message.samples) / message.sample_rate
        self._tell(
            AudioDelta(
                answer.response_id,
                np.clip(message.samples, -1.0, 1.0),
                message.sample_rate,
                sentence.text,
            )
        )
        sentence.text = ""

    def _spoken(self, message: Message, now: float) -> None:
        if message.number is None:
            # A skip is told twice: `skipped`, then `empty`.
            second, self._skipped = self._skipped, message.text == "skipped"
            if second and message.text == "empty":
                return
        sentence = self._sentence_of(message)
        if sentence is None:
            return
        if message.text == "error":
            words = message.error or "the voice gave no reason"
            sentence.answer.failure = Failure("voice_failed", words)
        elif message.text == "completed":
            sentence.completed = True
            if not sentence.pieces:
                sentence.deadline = now + SPEECH_PATIENCE
                return
            self._await_pieces(sentence.answer, now)
        self._sentence_over(sentence, now)

    def _sentence_over(self, sentence: Sentence, now: float) -> None:
        self._speaking.remove(sentence)
        answer = sentence.answer
        if not answer.cancelled:
            if sentence.completed:
                self._spoken_of[sentence.number] = sentence
            if sentence.text:
                # It was not spoken, but the answer says it.
                self._tell(TextDelta(answer.response_id, sentence.text))
            self._tell_spoken("completed")
            self._await_segments(answer, now)
        self._speak_next(now)
        self._advance(answer, now)

    # --- the end ----------------------------------------------------------------------------

    def _advance(self, answer: Answer, now: float) -> None:
        """End a response that has nothing to wait for."""
        if answer.cancelled or not answer.text_over:
            return
        if answer.sentences or any(s.answer is answer for s in self._speaking):
            return
        whole = answer.all_segmented or answer.segmented >= answer.written
        if answer.speaks and answer.begun and not whole:
            return
        if now < answer.open_until:
            answer.deadline = answer.open_until
            return
        del self._answers[answer.response_id]
        self._forget_spoken(answer)
        if answer.speaks and answer.written and not answer.segmented and not answer.failure:
            answer.failure = Failure("segmenter_silent", "the segmenter gave no sentence")
        answer.cancelled = True  # whatever still comes for it is late
        answer.deadline = math.inf
        if answer.failure is not None and not answer.spoken:
            finished = ResponseFinished(
                answer.response_id, status="failed", failure=answer.failure
            )
        elif answer.status == "cancelled":
            finished = ResponseFinished(answer.response_id, status="cancelled")
        else:
            finished = ResponseFinished(answer.response_id)
        self._tell(finished)

    def _forget_spoken(self, answer: Answer) -> None:
        over = self._spoken_of.items()
        self._spoken_of = {n: sentence for n, sentence in over if sentence.answer is not answer}

    # --- words to the nodes -----------------------------------------------------------------

    def _ask(self, answer: Answer) -> None:
        metadata = {
            "session_id": answer.session_id,
            "role": "user",
            "question_id": answer.number,
        }
        self._send(Message("question", answer.question, metadata=metadata))

    def _cancel_text(self, answer: Answer) -> None:
        self._control("cancel", answer.session_id, question_id=answer.number)

    def _control(self, command: str, session_id: str, **metadata: int) -> None:
        # The language node has a memory for each session, and cancels what is asked in one.
        self._send(Message("control", command, metadata={"session_id": session_id, **metadata}))

    def _reset_segmenter(self) -> None:
        if self._voice:
            self._send(Message("reset", "reset"))

    def _tell_spoken(self, how: str) -> None:
        self._send(Message("spoken", how))
