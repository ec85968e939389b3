"""What the synthesis node asks of a speech engine, and where the words are in what it made."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


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

    @property
    def sample_rate(self) -> int:
        """The rate of all it makes, in Hz."""

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
    spaces. Engines mark some words several times (numbers, read digit by digit), some out of
    order and some not at all: a word starts at its earliest mark, never before the word ahead
    of it; a word without one gets its share by characters of the time between its neighbours.

    Args:
        text: What was spoken.
        marks: The engine's marks.
        length: Samples in all.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    if not spans:
        return []
    starts = _starts(spans, marks, length)
    words = []
    for index, (start, end) in enumerate(spans):
        last_word = index + 1 == len(spans)
        words.append(
            TimedWord(
                start,
                end,
                len(text) if last_word else spans[index + 1][0],
                starts[index],
                length if last_word else starts[index + 1],
            )
        )
    return words


def _starts(spans: list[tuple[int, int]], marks: Sequence[Mark], length: int) -> list[int]:
    earliest: dict[int, int] = {}
    ordered = sorted(marks, key=lambda mark: mark.offset)
    index = 0
    for mark in ordered:
        while index < len(spans) and spans[index][1] <= mark.offset:
            index += 1
        if index < len(spans) and spans[index][0] <= mark.offset:
            earliest[index] = min(earliest.get(index, length), mark.sample)
    # Anchors: (character, sample), never going back.
    anchors = [(spans[0][0], 0)]
    for index in sorted(earliest):
        anchors.append((spans[index][0], min(max(earliest[index], anchors[-1][1]), length)))
    anchors.append((spans[-1][1], length))
    characters, samples = zip(*anchors, strict=True)
    starts = np.interp([start for start, _ in spans], characters, samples).astype(int)
    # Two anchors on one character (the first word's own mark) count as the earlier of them.
    starts[0] = 0
    return [int(start) for start in np.maximum.accumulate(starts)]
