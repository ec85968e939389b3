"""Cutting text that is still being written into pieces worth speaking.

Where a piece ends depends on the text alone, never on how it was chopped up on its way here,
and nothing is lost: the pieces joined are the text. A wrong cut costs a short pause, a missed
one delays the first sound, so the rules lean towards cutting.
"""

# ruff: noqa: RUF001  the punctuation of other scripts is meant as it stands

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

FIRST_CLAUSE: Final = 40
"""Characters after which an answer's first piece may end at a comma, so that sound comes
early: about two and a half seconds of speech."""

CLAUSE: Final = 120
"""The same for all later pieces, which are made while the earlier ones are heard."""

PIECE_MAX: Final = 240
"""No piece is longer, in characters: it bounds the samples that are held at once. Cut at the
last space before it, or right there if there is none."""

ENDS: Final = ".!?…"
WIDE_ENDS: Final = "。！？｡"
COMMAS: Final = ",;:—–"
WIDE_COMMAS: Final = "，、；："
CLOSERS: Final = "\"')]}»”’*_`"
WIDE_CLOSERS: Final = "」』”’）》】"

ABBREVIATIONS: Final = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "fig", "no", "vol", "approx"}
    | {"dept", "gen", "col", "sgt", "capt", "lt", "rev", "hon", "gov", "sen", "rep"}
    | {"e.g", "i.e", "cf", "ca", "a.m", "p.m", "u.s", "u.k"}
)
"""Words whose full stop seldom ends a sentence, in lower case and without that full stop."""

_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]+$")


@define
class SentenceSplitter:
    """Takes text as it comes and gives pieces as soon as their end is certain."""

    _text: str = field(default="", init=False)
    _scanned: int = field(default=0, init=False)
    _clause: int = field(default=FIRST_CLAUSE, init=False)

    def feed(self, text: str) -> list[str]:
        """Add text; returns the pieces that are now complete."""
        self._text += text
        return self._take(final=False)

    def flush(self) -> list[str]:
        """Returns what is left. The splitter is then as new."""
        pieces = self._take(final=True)
        if self._text:
            pieces.append(self._text)
        self._text, self._scanned, self._clause = "", 0, FIRST_CLAUSE
        return pieces

    def _take(self, *, final: bool) -> list[str]:
        pieces = []
        while (end := self._find_end(final=final)) is not None:
            pieces.append(self._text[:end])
            self._text = self._text[end:]
            self._scanned = 0
            self._clause = CLAUSE
        return pieces

    def _find_end(self, *, final: bool) -> int | None:
        """The end of the first piece, or None while the text does not decide it.

        Every rule looks at one character that has come and all before it, or waits for the
        character after it; that is what makes the result independent of the chunking.
        """
        text = self._text
        for at in range(self._scanned, len(text)):
            if at >= PIECE_MAX:
                return _last_space(text[:PIECE_MAX]) or PIECE_MAX
            if text[at] in WIDE_ENDS + WIDE_COMMAS + WIDE_CLOSERS and at + 1 == len(text):
                if not final:
                    self._scanned = at
                    return None
            elif self._ends_at(at):
                return at + 1
        self._scanned = len(text)
        return None

    def _ends_at(self, at: int) -> bool:
        """Whether the piece ends after the character at `at`."""
        text = self._text
        char = text[at]
        if char.isspace():
            return self._ends_before_space(text[:at], newline=char == "\n")
        following = text[at + 1 : at + 2]
        if char in WIDE_COMMAS:
            return at + 1 >= self._clause
        if char in WIDE_ENDS + WIDE_CLOSERS and following:
            bare = text[: at + 1].rstrip(WIDE_CLOSERS)
            return bare.endswith(tuple(WIDE_ENDS)) and following not in WIDE_ENDS + WIDE_CLOSERS
        return False

    def _ends_before_space(self, before: str, *, newline: bool) -> bool:
        if not before or before[-1].isspace():
            return newline and bool(before.strip())
        if newline:
            return True
        bare = before.rstrip(CLOSERS)
        if bare.endswith(tuple(ENDS)):
            return not _is_abbreviation(bare)
        return len(before) >= self._clause and bare.endswith(tuple(COMMAS))


def _last_space(text: str) -> int:
    """Where the last run of white space ends that leaves words on its left; 0 if none does."""
    words = text.rsplit(maxsplit=1)
    return len(text) - len(words[1]) if len(words) == 2 and not text[-1].isspace() else 0


def _is_abbreviation(before: str) -> bool:
    """Whether the full stop that `before` ends with belongs to its last word."""
    if not before.endswith(".") or before.endswith(".."):
        return False
    found = _LAST_WORD.search(before[:-1])
    if found is None:
        return False
    word = found.group()
    initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    enumerator = word.isdigit() and not before[: found.start()].strip()
    return initial or enumerator or word.lower() in ABBREVIATIONS
