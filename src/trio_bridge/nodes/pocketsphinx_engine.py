"""PocketSphinx as a recogniser that keeps pace with speech and loses no words by it.

Its features are taken relative to their mean over the utterance (cepstral mean normalisation),
which cancels microphone and room, and after an estimate of the noise has been subtracted. A
whole file has that mean; live speech does not, and a cold start doubles the word errors. So an
utterance is *primed*: its first 2 s go through the front end once, for the mean and to warm up
the noise estimate, then they are searched, and the search catches up at many times real time.
An utterance shorter than that is primed at its first pause, and searched anew should it go on;
or at its end.

Every utterance is primed afresh, the noise estimate with it: over 12 recordings, clean and with
noise 20 dB below, the errors grew by an eighth both with a cold noise estimate and with the
mean carried over from the utterance before, which would let the search begin at once. So
primed, it is no worse than PocketSphinx given the whole files: 19 word errors in 101 words
(files: 20), and with white and pink noise 20 and 10 dB below, three times each, 636 in 1,212
words (files: 650; the difference is -14 with a standard error of 17). Which words are lost
changes with the noise's pattern, so a single recording tells little.

The mean of the whole utterance would help in noise (394 errors instead of 420, in a narrower
search) and harm without (29 instead of 19), and the search could not begin before the end. A
mean made better as the utterance goes on changed nothing.

The second and third pass over an utterance (`fwdflat`, `bestpath`) would begin when speech has
ended and take 60 to 270 ms, in noise up to 0.8 s. On the same recordings they found no more
words than the first pass, which is done about 15 ms after the last frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pocketsphinx import Decoder

from trio_bridge.nodes.gently import gently
from trio_bridge.nodes.recognition import Heard

BYTES_PER_SECOND: Final = 32_000

PRIMING: Final = 2 * BYTES_PER_SECOND
"""Audio after which the mean is good enough for the whole utterance; 1 s is not (measured)."""

PRIMING_LATEST: Final = 3 * BYTES_PER_SECOND
"""Priming waits for a pause to end, since it may be the turn's: the search that began with the
pause is then all that is needed, and a new one would make the transcript late. Until here."""

SHORTEST: Final = BYTES_PER_SECOND // 25
"""Less than 40 ms holds no frame of features and no word."""

PAUSE_BLOCK: Final = BYTES_PER_SECOND // 10
PAUSE_BLOCKS: Final = 2
PAUSE_DROP: Final = 0.1
PAUSE_DROP_NOISY: Final = 0.4
PAUSE_NEAR: Final = 1.4
"""A pause: 200 ms, each tenth of a second of them 20 dB below the loudest so far, or, where a
room is too noisy for that, 8 dB below it and within 3 dB of the quietest. Shorter than the
silence that ends a turn, so that a short answer is searched by the time that it is over."""

SEARCH_WIDTH: Final = {"maxhmmpf": 8_000, "maxwpf": 20}
"""States and words that the search follows in a frame, the fewest of those tried that lose no
words: over 11 recordings with white noise 20 dB below, 5,000 and 15 make 44 word errors, these
37, 10,000 and 30 make 38, 30,000 and 30 make 37; clean and at 10 dB all are alike. Of real time
these take 0.14 (clean), 0.15 (20 dB) and 0.20 (10 dB), 10,000 and 30: 0.14, 0.17, 0.23."""

_SPEECH: Final = "_default"
_PRIMER: Final = "primer"


class PocketSphinx:
    """A `Recogniser`: the US English model of the wheel, about 120 MB, most of it its own."""

    def __init__(self) -> None:
        self._decoder = Decoder(loglevel="FATAL", fwdflat=False, bestpath=False, **SEARCH_WIDTH)
        # Priming wants features, not words: the cheapest search there is stands in.
        self._decoder.add_keyphrase(_PRIMER, "oh")
        self._audio = bytearray()
        self._primed = False
        self._searching = False

    def begin(self, settings: Mapping[str, Any]) -> None:
        """See `Recogniser.begin`. There is one model and one language: `settings` is unused."""
        del settings
        self._reset()

    def feed(self, pcm: bytes) -> None:
        """See `Recogniser.feed`."""
        if not self._primed:
            self._audio += pcm
            paused = self._pauses()
            wanted = PRIMING_LATEST if paused and self._searching else PRIMING
            if len(self._audio) >= wanted:
                self._search_anew()
                self._primed = True
                self._audio.clear()
                return
            if paused and not self._searching:
                self._search_anew()
                return
        if self._searching:
            self._decoder.process_raw(pcm)

    def partial(self) -> str:
        """See `Recogniser.partial`."""
        return self._words() if self._searching else ""

    def finish(self) -> Heard:
        """See `Recogniser.finish`."""
        if not self._searching:
            if len(self._audio) < SHORTEST:
                self._reset()
                return Heard("")
            self._search_anew()
        self._stop()
        self._reset()
        return Heard(self._words())

    def drop(self) -> None:
        """See `Recogniser.drop`."""
        if self._searching:
            self._stop()
        self._reset()

    def _reset(self) -> None:
        self._audio.clear()
        self._primed = False
        self._searching = False

    def _search_anew(self) -> None:
        if self._searching:
            self._stop()
        pcm = bytes(self._audio)
        self._decoder.set_cmn(self._prime(pcm))
        self._decoder.start_utt()
        self._decoder.process_raw(pcm)
        self._searching = True

    def _stop(self) -> None:
        self._decoder.end_utt()
        self._searching = False

    def _prime(self, pcm: bytes) -> str:
        """Warm up the noise estimate, and give the cepstral mean."""
        # A new front end: both the noise estimate and the sums behind the mean outlive an
        # utterance, and the last one may have been somebody else's. Setting the mean does not
        # do: it counts as 5 s of audio, against which 2 s weigh little.
        self._decoder.reinit_feat()
        self._decoder.activate_search(_PRIMER)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, no_search=True, full_utt=True)
        mean: str = self._decoder.get_cmn()
        self._decoder.end_utt()
        self._decoder.activate_search(_SPEECH)
        return mean

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
        quiet = min(PAUSE_NEAR * level.min(), PAUSE_DROP_NOISY * level.max())
        return bool(np.all(level[-PAUSE_BLOCKS:] < max(PAUSE_DROP * level.max(), quiet)))


def open_engine(environment: Mapping[str, str]) -> PocketSphinx:
    """The engine. Nothing in the environment is for it."""
    del environment
    return gently(PocketSphinx)
