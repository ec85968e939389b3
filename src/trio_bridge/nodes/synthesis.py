"""What the synthesis node asks of a speech engine, and where the words are in what it made."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

VOICES: Final = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
"""The names that the protocol has for voices; each engine says what it speaks them in."""


class EngineError(Exception):
    """An engine did not start, or cannot speak a piece. Its message is fit for a user."""


@frozen
class Mark:
    """A word begins: at character `offset` of the text, at sample `sample` of the audio."""

    offset: int
    sample: int


@frozen
class Utterance:
    """A piece of speech: mono float32 in [-1, 1), shape ``(n,)``, and marks as the engine gave
    them, in any order."""

    samples: Float32 = field(eq=False)
    marks: tuple[Mark, ...] = ()


@frozen
class TimedWord:
    """Characters ``[start, end)`` of a text, heard in samples ``[first, last)``.

    Attributes:
        upto: Where the next word's share of the text begins (white space and all), so that
            the shares joined are the text.
    """

    start: int
    end: int
    upto: int
    first: int
    last: int


class Engine(Protocol):
    """Makes speech, one piece at a time, in a worker thread."""

    def rate_of(self, voice: str) -> int:
        """The rate of all that it makes in a voice, in Hz."""

    def synthesise(
        self, text: str, *, voice: str, speed: float, stop: threading.Event
    ) -> Utterance:
        """Speak a text.

        Args:
            text: One piece, already without what should not be read.
            voice: As the session asked for it; an unknown one gets the default.
            speed: 1.0 is natural; the engine clamps what it cannot do.
            stop: When it is set, return soon with what there is.

        Raises:
            EngineError: It cannot.
        """


_NOT_READ = re.compile(
    "[*_#`"  # marks of Markdown
    "\x00-\x1f\x7f-\x9f"  # controls, some of which are commands to engines
    "\u200d\ufe0e\ufe0f\u2600-\u27bf\U0001f000-\U0001faff\U000e0020-\U000e007f"  # emoji
    "\ud800-\udfff]"
)

_WIDE = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_WIDE}]|[^\s{_WIDE}]+")


def readable(text: str) -> str:
    """The text with a space for every character that is written but not read aloud.

    Same length, so an offset into one is an offset into the other.
    """
    return _NOT_READ.sub(" ", text)


def time_words(text: str, marks: Sequence[Mark], length: int) -> list[TimedWord]:
    """Give every word of a text its place in the audio.

    A word is a run without white space, or a single character in scripts that write without
    spaces; punctuation that stands alone is one only if the engine marked it (it reads `%`, not
    a dash). Engines mark some words several times (numbers, read digit by digit), some out of
    order and some not at all: a word starts at its earliest mark, never before the word ahead
    of it; a word without one gets its share by characters of the time between its neighbours.

    Args:
        text: What was spoken.
        marks: The engine's marks.
        length: Samples in all.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    marked = _earliest_marks(spans, marks)
    words = [
        (start, end)
        for start, end in spans
        if start in marked or any(map(str.isalnum, text[start:end]))
    ]
    if not words:
        return []
    heard = [*_starts(words, marked, length), length]
    shares = [*(start for start, _ in words[1:]), len(text)]
    return [
        TimedWord(start, end, upto, first, last)
        for (start, end), upto, first, last in zip(
            words, shares, heard[:-1], heard[1:], strict=True
        )
    ]


def _earliest_marks(spans: list[tuple[int, int]], marks: Sequence[Mark]) -> dict[int, int]:
    """The first character of a span → the earliest sample of the marks within the span."""
    earliest: dict[int, int] = {}
    index = 0
    for mark in sorted(marks, key=lambda mark: mark.offset):
        while index < len(spans) and spans[index][1] <= mark.offset:
            index += 1
        if index < len(spans) and spans[index][0] <= mark.offset:
            start = spans[index][0]
            earliest[start] = min(earliest.get(start, mark.sample), mark.sample)
    return earliest


def _starts(words: list[tuple[int, int]], marked: dict[int, int], length: int) -> list[int]:
    """Where each word begins, in samples: straightened marks, and shares between them."""
    characters, samples = [words[0][0]], [0]
    for start, _ in words[1:]:
        if start in marked:
            characters.append(start)
            samples.append(min(max(marked[start], samples[-1]), length))
    characters.append(words[-1][1])
    samples.append(length)
    starts = np.interp([start for start, _ in words], characters, samples)
    return [int(start) for start in starts]
