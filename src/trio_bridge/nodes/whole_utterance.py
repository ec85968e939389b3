"""A recogniser around a model that only hears whole utterances.

Its partial transcripts are drafts: all audio so far, decoded anew. They are made when they can
be afforded and not by the clock, because a worker that drafts hears nothing meanwhile, and a
draft under way when speech ends makes the final transcript late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from trio_bridge.audio.pcm import pcm16_to_float32
from trio_bridge.nodes.recognition import Heard
from trio_bridge.nodes.variables import Variable

Float32 = NDArray[np.float32]

SAMPLE_RATE: Final = 16_000

SHORTEST: Final = SAMPLE_RATE // 10
"""Samples under which there is no word, and some models fail."""

DRAFT_SHARE: Final = 1 / 3
"""The part of the time that drafts may take."""

DRAFT_LONGEST: Final = 0.5
"""Seconds that a draft may be expected to take: so much later may the final transcript be."""


class WholeModel(Protocol):
    """A model that hears whole utterances."""

    def decode(self, samples: Float32, settings: Mapping[str, Any], *, draft: bool) -> Heard:
        """What was said.

        Args:
            samples: Mono, 16 kHz, in [-1, 1).
            settings: The session's `transcription` object, perhaps empty.
            draft: Quick rather than right: more is coming.
        """


@define(eq=False)
class WholeUtterance:
    """A `Recogniser`. Decodes a second of silence when it is made: the first decoding is slow
    in most libraries, and what it costs is then known.

    Args:
        model: What decodes.
        grain: Samples under which decoding costs about the same; beyond, it grows with them.
        clock: Tells seconds.
    """

    model: WholeModel
    grain: int = SAMPLE_RATE
    clock: Callable[[], float] = time.monotonic
    _settings: Mapping[str, Any] = field(factory=dict, init=False)
    _pcm: bytearray = field(factory=bytearray, init=False)
    _said: str = field(default="", init=False)
    _rested: float = field(default=0.0, init=False)
    """When the next draft may be made."""
    _cost: float = field(default=0.0, init=False)
    """Seconds that the last decoding took."""
    _length: int = field(default=SAMPLE_RATE, init=False)
    """Samples that it decoded."""

    def __attrs_post_init__(self) -> None:
        silence = np.zeros(SAMPLE_RATE, np.float32)
        self.model.decode(silence, {}, draft=True)
        self._decode(silence, draft=True)
        self._rested = 0.0

    def begin(self, settings: Mapping[str, Any]) -> None:
        """See `Recogniser.begin`."""
        self.drop()
        self._settings = settings

    def feed(self, pcm: bytes) -> None:
        """See `Recogniser.feed`."""
        self._pcm += pcm

    def partial(self) -> str:
        """See `Recogniser.partial`: a new draft if one can be afforded, else the last."""
        samples = self._samples()
        expected = self._cost * max(1.0, len(samples) / max(self._length, self.grain))
        affordable = expected <= DRAFT_LONGEST and self.clock() >= self._rested
        if affordable and len(samples) >= SHORTEST:
            self._said = self._decode(samples, draft=True).text
        return self._said

    def finish(self) -> Heard:
        """See `Recogniser.finish`."""
        samples = self._samples()
        heard = Heard("")
        if len(samples) >= SHORTEST:
            heard = self._decode(samples, draft=False)
        self.drop()
        return heard

    def drop(self) -> None:
        """See `Recogniser.drop`."""
        self._settings = {}
        self._pcm.clear()
        self._said = ""

    def _samples(self) -> Float32:
        return pcm16_to_float32(bytes(self._pcm))

    def _decode(self, samples: Float32, *, draft: bool) -> Heard:
        began = self.clock()
        heard = self.model.decode(samples, self._settings, draft=draft)
        ended = self.clock()
        self._cost, self._length = ended - began, len(samples)
        self._rested = ended + self._cost * (1 / DRAFT_SHARE - 1)
        return heard


def language_of(settings: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    """The language that a session asks for, else the one set, without its region; None: any."""
    given = settings.get("language") or environment.get(Variable.ASR_LANGUAGE)
    return str(given).replace("_", "-").partition("-")[0].lower() if given else None
