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
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from attrs import define, field

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

_IDEOGRAPHIC = "\u2e80"
"""From here on come the scripts of East Asia and their punctuation."""


@define(eq=False)
class _Answer:
    response_id: str
    number: int
    speaks: bool
    deadline: float = math.inf
    begun: bool = False
    text_over: bool = False
    cancelled: bool = False
    status: str = ""
    written: int = 0
    """Characters given to the segmenter; blanks do not count, since it trims."""
    segmented: int = 0
    all_segmented: bool = False
    sentences: deque[str] = field(factory=deque)
    said: str = ""
    """The sentence that came last."""
    spoken: float = 0.0
    open_until: float = -math.inf
    """Until then audio of its last sentence may still be on its way."""
    credit: float = 0.0
    failure: Failure | None = None


@define(eq=False)
class _Sentence:
    number: int
    answer: _Answer
    text: str
    deadline: float
    pieces: int = 0
    """Messages of audio that have come."""
    completed: bool = False
    """The voice says so; its audio may still be on its way."""


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
    _answers: dict[str, _Answer] = field(factory=dict, init=False)
    _asked: deque[_Answer] = field(factory=deque, init=False)
    """Whose text is not over, in the order of asking; the language node takes one at a time.
    Cancelled ones stay until it is through with them."""
    _speaking: deque[_Sentence] = field(factory=deque, init=False)
    """What the voice was given and is not through with, in order."""
    _spoken_of: dict[int, _Sentence] = field(factory=dict, init=False)
    """Sentences that are over, of responses that are not, by number."""
    _in_pieces: bool = field(default=False, init=False)
    """The voice has given a sentence in more than one message."""
    _skipped: bool = field(default=False, init=False)

    def begin(self) -> None:
        """A session begins; the nodes forget the one before."""
        self._control("reset")
        self._reset_segmenter()

    def end(self) -> None:
        """The session is over: nothing more is told of its responses."""
        for response_id in list(self._answers):
            self.cancel(response_id)

    # --- from the session -------------------------------------------------------------------

    def respond(
        self, response_id: str, request: ResponseRequest, session_id: str, now: float
    ) -> None:
        """Ask for a response. The language node keeps the conversation itself: it is given what
        was said since its last answer."""
        question = _question(request)
        if not question:
            # Nothing was understood, so there is nothing to answer.
            self._tell(ResponseFinished(response_id))
            return
        speaks = self._voice and request.output_modality == "audio"
        answer = _Answer(response_id, next(self._numbers), speaks)
        self._answers[response_id] = answer
        self._asked.append(answer)
        if self._asked[0] is answer:
            answer.deadline = now + FIRST_TEXT_PATIENCE
        metadata = {"session_id": session_id, "role": "user", "question_id": answer.number}
        self._send(Message("question", question, metadata=metadata))

    def cancel(self, response_id: str) -> None:
        """Stop a response; nothing more is told of it."""
        answer = self._answers.pop(response_id, None)
        if answer is None:
            return
        answer.cancelled = True
        answer.sentences.clear()
        self._forget_spoken(answer)
        if self._asked and self._asked[0] is answer:
            self._control("cancel")
        if not any(other.speaks for other in self._answers.values()):
            self._reset_segmenter()

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
        if not self._asked:
            return
        answer: _Answer | None = self._asked[0]
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
        if message.text and not answer.cancelled:
            if answer.speaks:
                self._write(answer, message.text, "ended" if over else "ongoing")
            else:
                self._tell(TextDelta(answer.response_id, message.text))
        if over:
            self._text_over(answer, message.status, now, flushed=bool(message.text))

    def _write(self, answer: _Answer, text: str, status: str) -> None:
        answer.written += _weight(text)
        metadata = {"question_id": answer.number, "session_status": status}
        self._send(Message("draft", text, metadata=metadata))

    def _text_over(
        self, answer: _Answer, status: str, now: float, *, flushed: bool = False
    ) -> None:
        self._asked.remove(answer)
        answer.text_over, answer.status = True, status
        answer.deadline = math.inf
        if self._asked:
            following = self._asked[0]
            following.deadline = now + FIRST_TEXT_PATIENCE
            if following.cancelled:
                self._control("cancel")
        if answer.cancelled:
            return
        if not answer.begun:
            answer.failure = Failure("language_node_silent", "the language node did not answer")
        elif answer.speaks and not flushed:
            self._write(answer, "", "ended")
        self._await_segments(answer, now)
        self._advance(answer, now)

    # --- sentences --------------------------------------------------------------------------

    def _segment(self, message: Message, now: float) -> None:
        number = message.number
        answer = next(
            (a for a in self._answers.values() if a.speaks and number in {None, a.number}), None
        )
        if answer is None:
            # Of a response that is over. The segmenter waits until it has been spoken.
            self._tell_spoken("skipped")
            return
        answer.segmented += _weight(message.text)
        if message.status == "ended":
            answer.all_segmented = True
        if message.text.strip():
            answer.sentences.append(_continued(answer.said, message.text))
            answer.said = message.text
        else:
            self._tell_spoken("skipped")
        self._await_segments(answer, now)
        self._speak_next(now)
        self._advance(answer, now)

    def _await_segments(self, answer: _Answer, now: float) -> None:
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
                sentence = _Sentence(next(self._numbers), answer, text, now + SPEECH_PATIENCE)
                self._speaking.append(sentence)
                metadata = {"question_id": sentence.number, "session_status": "ongoing"}
                self._send(Message("sentence", text.strip(), metadata=metadata))
                return

    def _sentence_of(self, message: Message) -> _Sentence | None:
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

    def _await_pieces(self, answer: _Answer, now: float) -> None:
        if self._in_pieces:
            answer.open_until = now + PIECE_PATIENCE

    def _tell_speech(self, sentence: _Sentence, message: Message) -> None:
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

    def _sentence_over(self, sentence: _Sentence, now: float) -> None:
        self._speaking.remove(sentence)
        answer = sentence.answer
        if not answer.cancelled:
            if sentence.text:
                # It was not spoken, but the answer says it.
                self._tell(TextDelta(answer.response_id, sentence.text))
            if sentence.completed:
                self._spoken_of[sentence.number] = sentence
            self._tell_spoken("completed")
            self._await_segments(answer, now)
        self._speak_next(now)
        self._advance(answer, now)

    # --- the end ----------------------------------------------------------------------------

    def _advance(self, answer: _Answer, now: float) -> None:
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

    def _forget_spoken(self, answer: _Answer) -> None:
        over = self._spoken_of.items()
        self._spoken_of = {n: sentence for n, sentence in over if sentence.answer is not answer}

    # --- words to the nodes -----------------------------------------------------------------

    def _control(self, command: str) -> None:
        self._send(Message("control", command))

    def _reset_segmenter(self) -> None:
        if self._voice:
            self._send(Message("reset", "reset"))

    def _tell_spoken(self, how: str) -> None:
        self._send(Message("spoken", how))


def _weight(text: str) -> int:
    return sum(not character.isspace() for character in text)


def _continued(before: str, text: str) -> str:
    """A sentence as it stands behind another: the segmenter trims, and Chinese and Japanese
    have no blanks between sentences."""
    if not before or before[-1].isspace() or text[0].isspace():
        return text
    return text if before[-1] >= _IDEOGRAPHIC or text[0] >= _IDEOGRAPHIC else f" {text}"


def _question(request: ResponseRequest) -> str:
    """What was said since the last answer."""
    parts: list[str] = []
    for item in reversed(request.items):
        if item.get("role") == "assistant":
            break
        if item.get("type") == "message":
            said = (p.get("text") or p.get("transcript") or "" for p in item["content"])
            parts.append(" ".join(words for words in said if words))
    return "\n".join(part for part in reversed(parts) if part.strip())
