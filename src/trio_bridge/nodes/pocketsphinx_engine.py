"""PocketSphinx as a recogniser that keeps pace with speech and loses no words by it.

Its features are taken relative to their mean over the utterance (cepstral mean normalisation),
which cancels microphone and room. A whole file has that mean; live speech does not, and a cold
start doubles the word errors. So an utterance is *primed*: the mean is computed over its first
2 s before its first frame is searched, and the search catches up at many times real time. An
utterance shorter than that is primed at its first pause, and searched anew should it go on; or
at its end. The session's next utterance starts with the mean that this one ended with.

The second and third pass over an utterance (`fwdflat`, `bestpath`) would begin when speech has
ended and take 60 to 270 ms. Over 12 recordings in 5 kinds of noise they did not find more words
than the first pass, which is done about 10 ms after the last frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pocketsphinx import Decoder

from trio_bridge.nodes.recognition import Heard

BYTES_PER_SECOND: Final = 32_000

PRIMING: Final = 2 * BYTES_PER_SECOND
"""Audio after which the mean is good enough for the whole utterance; 1 s is not (measured)."""

SHORTEST: Final = BYTES_PER_SECOND // 25
"""Less than 40 ms holds no frame of features and no word."""

PAUSE_BLOCK: Final = BYTES_PER_SECOND // 10
PAUSE_BLOCKS: Final = 2
PAUSE_DROP: Final = 0.1
"""A pause: 200 ms, each tenth of a second of them 20 dB below the loudest so far. Shorter than
the silence that ends a turn, so that a short answer is searched by the time that it is over."""

_SPEECH: Final = "_default"
_PRIMER: Final = "primer"
_COLD: Final = "40,3,-1"
"""The mean PocketSphinx itself starts from."""


class PocketSphinx:
    """A `Recogniser`: the US English model of the wheel, about 94 MB."""

    def __init__(self) -> None:
        self._decoder = Decoder(loglevel="FATAL", fwdflat=False, bestpath=False)
        # Priming wants features, not words: the cheapest search there is stands in.
        self._decoder.add_keyphrase(_PRIMER, "oh")
        self._audio = bytearray()
        self._length = 0
        self._primed = False
        self._searching = False

    def begin(self, settings: Mapping[str, Any], carry: str) -> None:
        """See `Recogniser.begin`. There is one model and one language: `settings` is unused."""
        del settings
        self._reset(carry)
        if carry:
            self._start(carry)

    def feed(self, pcm: bytes) -> None:
        """See `Recogniser.feed`."""
        self._length += len(pcm)
        if not self._primed:
            self._audio += pcm
            if len(self._audio) >= PRIMING:
                self._search_anew()
                self._primed = True
                self._audio.clear()
                return
            if not self._searching and self._pauses():
                self._search_anew()
                return
        if self._searching:
            self._decoder.process_raw(pcm)

    def partial(self) -> str:
        """See `Recogniser.partial`."""
        return self._words() if self._searching else ""

    def finish(self) -> Heard:
        """See `Recogniser.finish`."""
        if self._length < SHORTEST:
            self.drop()
            return Heard("")
        if not self._searching:
            self._search_anew()
        self._stop()
        heard = Heard(self._words(), self._decoder.get_cmn() if self._primed else "")
        self._reset("")
        return heard

    def drop(self) -> None:
        """See `Recogniser.drop`."""
        if self._searching:
            self._stop()
        self._reset("")

    def _reset(self, carry: str) -> None:
        self._audio.clear()
        self._length = 0
        self._primed = bool(carry)
        self._searching = False

    def _search_anew(self) -> None:
        if self._searching:
            self._stop()
        self._start(self._mean(bytes(self._audio)))
        self._decoder.process_raw(bytes(self._audio))

    def _start(self, mean: str) -> None:
        self._forget_noise()
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()
        self._searching = True

    def _stop(self) -> None:
        self._decoder.end_utt()
        self._searching = False

    def _mean(self, pcm: bytes) -> str:
        self._decoder.activate_search(_PRIMER)
        self._forget_noise()
        self._decoder.set_cmn(_COLD)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, no_search=True, full_utt=True)
        mean: str = self._decoder.get_cmn()
        self._decoder.end_utt()
        self._decoder.activate_search(_SPEECH)
        return mean

    def _forget_noise(self) -> None:
        # The noise estimate outlives an utterance, and the next one may be somebody else's:
        # the same recording then scores differently. PocketSphinx calls this unnecessary.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._decoder.start_stream()

    def _words(self) -> str:
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _pauses(self) -> bool:
        blocks = len(self._audio) // PAUSE_BLOCK
        if blocks <= PAUSE_BLOCKS:
            return False
        # Counted from the end, so that the pause is seen as soon as it is long enough.
        samples = np.frombuffer(self._audio[-blocks * PAUSE_BLOCK :], "<i2").astype(np.float64)
        level = np.sqrt(np.mean(samples.reshape(blocks, -1) ** 2, axis=1))
        return bool(np.all(level[-PAUSE_BLOCKS:] < PAUSE_DROP * level.max()))
