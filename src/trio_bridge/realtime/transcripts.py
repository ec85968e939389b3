"""A transcript as it grows: what of it may be told before it is final.

Recognisers revise. A word is told once two successive hypotheses agree on it and on all before
it; the rest follows with the final text, if that begins with what was told. So the deltas
joined are the transcript, except where a recogniser changed a word that it had said twice;
then there are no more deltas, and the completed transcript has the last word.
"""

from __future__ import annotations

import re

from attrs import define, field

_WORD = re.compile(r"\S+")


@define
class GrowingTranscript:
    """One utterance's transcript on its way."""

    _latest: str = field(default="", init=False)
    _agreed: str = field(default="", init=False)
    _told: str = field(default="", init=False)

    def update(self, text: str) -> None:
        """A new hypothesis: all that was heard so far."""
        agreed = _common_words(self._latest, text)
        self._latest = text
        if len(agreed) > len(self._agreed) and agreed.startswith(self._agreed):
            self._agreed = agreed

    def delta(self) -> str:
        """What may be told now and was not yet, perhaps nothing."""
        delta = self._agreed[len(self._told) :]
        self._told = self._agreed
        return delta

    def last_delta(self, text: str) -> str:
        """What is left to tell when the transcript is final."""
        return text[len(self._told) :] if text.startswith(self._told) else ""


def _common_words(before: str, after: str) -> str:
    """The beginning of `after`, up to the end of the last word that it shares with `before`."""
    end = 0
    for old, new in zip(_WORD.finditer(before), _WORD.finditer(after), strict=False):
        if old.group() != new.group():
            break
        end = new.end()
    return after[:end]
