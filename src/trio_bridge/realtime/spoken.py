"""What was said, and how much of it a listener had heard at a given moment."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise

from attrs import define, field, frozen

from trio_bridge.messages import Word

SEARCH_AHEAD = 80
"""Characters beyond the last word in which the next one is looked for: a word that is spoken
otherwise than it is written must not tie the rest of the speech to a namesake far away."""

_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+(?:['\u2019-]\w+)*")
"""A word; of scripts that put no spaces between words, a character."""

_WORD_OR_SPACE = re.compile(r"\w|\s")


@frozen
class Anchor:
    """At `ms` of the audio, `chars` characters of the text had been spoken."""

    chars: int
    ms: float


@define
class SpokenText:
    """The text of an item's speech, tied to its audio at as many points as are known.

    Between two such points speech is taken to run evenly over the characters. A synthesiser
    that tells its word timings gives two points a word; one that does not gives one a chunk.
    """

    text: str = ""
    audio_ms: float = 0.0
    _anchors: list[Anchor] = field(factory=list, init=False)
    _searched: int = field(default=0, init=False)

    def add(self, text: str, audio_ms: float, words: Iterable[Word] = ()) -> None:
        """Append a chunk: `text` begins with it, it lasts `audio_ms`.

        Args:
            text: What begins to be spoken in this chunk, perhaps nothing.
            audio_ms: How long the chunk is.
            words: Timings that came with it, in ms of the item's audio. Words that are not
                found in the text, or run backwards, are passed over.
        """
        if text:
            self._anchor(len(self.text), self.audio_ms)
            self.text += text
        for word in words:
            start = self._find(word.text)
            if start >= 0:
                self._searched = start + len(word.text)
                self._anchor(start, word.start_ms)
                self._anchor(self._searched, word.end_ms)
        self.audio_ms += audio_ms

    def heard(self, ms: float) -> str:
        """The text as far as it was spoken by `ms`: whole words, with the punctuation that
        follows the last."""
        # Positions are told in whole ms: a word that ends within this one is over.
        chars = self._chars_at(math.floor(ms) + 1)
        if chars >= len(self.text):
            return self.text
        end = 0
        for word in _WORD.finditer(self.text):
            if word.end() > chars:
                break
            end = word.end()
        if end == 0:
            return ""
        while end < len(self.text) and not _WORD_OR_SPACE.match(self.text, end):
            end += 1
        return self.text[:end]

    def cut(self, ms: float) -> None:
        """Forget what was said after `ms`."""
        self.text = self.heard(ms)
        self.audio_ms = min(ms, self.audio_ms)
        self._searched = min(self._searched, len(self.text))
        self._anchors = [
            anchor
            for anchor in self._anchors
            if anchor.ms <= ms and anchor.chars <= len(self.text)
        ]

    def _find(self, word: str) -> int:
        if not word:
            return -1
        return self.text.find(word, self._searched, self._searched + len(word) + SEARCH_AHEAD)

    def _anchor(self, chars: int, ms: float) -> None:
        # Timings of spelt-out numbers overlap, and a chunk's text may begin before the words
        # of the last chunk have ended: time and text only ever go forward here.
        if self._anchors and (ms < self._anchors[-1].ms or chars < self._anchors[-1].chars):
            return
        self._anchors.append(Anchor(chars, ms))

    def _chars_at(self, ms: float) -> int:
        points = [Anchor(0, 0.0), *self._anchors]
        if self.audio_ms >= points[-1].ms:
            points.append(Anchor(len(self.text), self.audio_ms))
        for before, after in pairwise(points):
            if before.ms <= ms < after.ms:
                share = (ms - before.ms) / (after.ms - before.ms)
                return before.chars + int(share * (after.chars - before.chars))
        return points[-1].chars if ms >= points[-1].ms else 0
