"""What the sessions of the voice scenario say, and how it is told whose it was.

Recognisers err, more so with a synthetic voice, but they err alike: what one makes of an
utterance when hardly anybody else speaks, it makes of it under load. So every utterance is
first spoken by itself, as a session's first words and after others, and these transcripts are
what it is known by. Later a transcript must be
more like its own utterance's than like any other's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations, product
from pathlib import Path

import numpy as np
from attrs import define, evolve, field, frozen
from numpy.typing import NDArray

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.bench.plan import RATE
from trio_bridge.bench.session import append_frames
from trio_bridge.client.sound import read_sound
from trio_bridge.dora.contract import SAMPLE_RATE
from trio_bridge.errors import BridgeError

SENTENCES = (
    "What is the weather in the city today?",
    "Tell me about the market and the company.",
    "The people of the world want to live in peace.",
    "I would like to know more about the history of the house.",
    "He was a man of great power and influence.",
    "They have been in the country for many years.",
    "We will meet again in the morning at the station.",
    "My mother and my father live in the old house.",
)
"""What is said unless the user has recordings."""

LEVEL = 0.3
"""The peak of a built-in utterance: as near to the microphone as people are."""

LOUD = 10 ** (-35 / 20)
"""Of the peak: where the detector finds none, what is louder is speech, and not the voice
fading away."""

AROUND = 1.0
"""Seconds of silence before and after an utterance in which the detector settles, and ends."""

LIKE = 0.6
"""How like its own utterance's a transcript must be, from 0 to 1. Those of different sentences
are alike by 0.25 to 0.53."""

Float32 = NDArray[np.float32]


class SpeechError(BridgeError):
    """There is nothing to say, or it cannot be told apart."""


def built_in() -> list[bytes]:
    """The sentences, spoken by the engine that ships: PCM16 at 24 kHz.

    Raises:
        SpeechError: The engine does not start.
    """
    from trio_bridge.nodes.espeak import Espeak
    from trio_bridge.nodes.synthesis import EngineError

    spoken = []
    try:
        engine = Espeak()
        for sentence in SENTENCES:
            said = engine.synthesise(
                sentence, voice="alloy", speed=0.9, stop=threading.Event()
            ).samples
            resampler = StreamResampler(engine.sample_rate, RATE, quality="best")
            samples = np.concatenate([resampler.process(said), resampler.flush()])
            samples *= np.float32(LEVEL) / np.abs(samples).max()
            spoken.append(float32_to_pcm16(samples))
    except EngineError as exc:
        raise SpeechError(str(exc)) from exc
    return spoken


def from_files(paths: Sequence[Path]) -> list[bytes]:
    """Recordings as PCM16 at 24 kHz.

    Raises:
        SoundError: One is not there, or no sound.
    """
    return [float32_to_pcm16(read_sound(path)) for path in paths]


@frozen
class Said:
    """An utterance.

    Args:
        number: Which it is.
        frames: Its appends, ready to be sent.
        first_loud: The frame in which speech begins.
        last_loud: The frame in which it ends.
        heard: What the server hears when it is spoken alone, each time; empty if that is not
            known.
    """

    number: int
    frames: list[bytes] = field(repr=False)
    first_loud: int
    last_loud: int
    heard: tuple[str, ...] = ()

    def likeness(self, heard: str) -> float:
        """How like what is known of it a transcript is, from 0 to 1."""
        return max(likeness(heard, known) for known in self.heard)


@define
class Speech:
    """All utterances of a run."""

    utterances: list[Said]
    silence: bytes
    """A frame of it."""
    repeated: bool = False
    """Answers repeat what was heard."""

    @classmethod
    def of(
        cls,
        pcm: Sequence[bytes],
        frame_samples: int,
        heard: Sequence[tuple[str, ...]] = (),
        *,
        repeated: bool = False,
    ) -> Speech:
        """Make it ready to be sent.

        Args:
            pcm: Each utterance, PCM16 at 24 kHz.
            frame_samples: Samples in a frame.
            heard: What the server hears in each, each time, if that is known.
            repeated: Answers repeat what was heard.
        """
        utterances = []
        for number, each in enumerate(pcm):
            # Whole frames, since recognisers and detectors count samples.
            padded = each.ljust(-(-len(each) // (2 * frame_samples)) * 2 * frame_samples, b"\0")
            samples = np.frombuffer(padded, "<i2")
            first, last = spoken(samples) or _loud(samples)
            said = Said(
                number,
                append_frames(padded, frame_samples),
                first // frame_samples,
                last // frame_samples,
            )
            utterances.append(evolve(said, heard=heard[number]) if heard else said)
        (silence,) = append_frames(bytes(2 * frame_samples), frame_samples)
        return cls(utterances, silence, repeated)

    def choose(self, session: int, turn: int) -> Said:
        """What a session says in a turn: another order of utterances for each session."""
        # Sessions that join one after the other say different things at the same time.
        place = session + (turn - 1) * (1 + session // len(self.utterances))
        return self.utterances[place % len(self.utterances)]

    def wrong(self, said: Said, heard: str, answer: str) -> str | None:
        """What is wrong with what was heard and answered, if anything is."""
        if not heard:
            return "the server heard nothing"
        if not said.heard:
            return None
        own = said.likeness(heard)
        if own < LIKE or any(other.likeness(heard) > own for other in self.utterances):
            return f"heard {heard!r} instead of {said.heard[0]!r}"
        if self.repeated and not repeats(answer, heard):
            return f"heard {heard!r}, and answered {answer!r}"
        return None


def spoken(samples: NDArray[np.int16]) -> tuple[int, int] | None:
    """The first and the last sample of speech as the detector of the shipped nodes finds it,
    which tells it from the noise of a recording; None if it finds none.

    Args:
        samples: At 24 kHz.
    """
    from trio_bridge.nodes.vad import FRAME, MS, VoiceActivity

    around = np.zeros(int(AROUND * RATE), np.float32)
    sound = np.concatenate([around, samples.astype(np.float32) / 32768, around])
    resampler = StreamResampler(RATE, SAMPLE_RATE, quality="best")
    heard = np.concatenate([resampler.process(sound), resampler.flush()])
    pcm = np.frombuffer(float32_to_pcm16(heard), "<i2")
    ear = VoiceActivity()
    first: int | None = None
    last = 0
    for at in range(0, len(pcm) - FRAME + 1, FRAME):
        edge = ear.push(pcm[at : at + FRAME])
        if edge is None:
            continue
        if edge.kind == "start":
            first = edge.at if first is None else first
        else:
            last = edge.at - round(ear.settings.silence.after(None) * MS)
    if first is None:
        return None
    most = len(samples) - 1

    def place(at: int) -> int:
        return min(max(at * RATE // SAMPLE_RATE - len(around), 0), most)

    return place(first), place(last - 1)


def _loud(samples: NDArray[np.int16]) -> tuple[int, int]:
    levels = np.abs(samples.astype(np.int32))
    loud = np.flatnonzero(levels > LOUD * levels.max())
    return (int(loud[0]), int(loud[-1])) if loud.size else (0, 0)


def likeness(one: str, other: str) -> float:
    """Of two transcripts, from 0 to 1."""
    return SequenceMatcher(None, _plain(one), _plain(other), autojunk=False).ratio()


def repeats(answer: str, heard: str) -> bool:
    """Whether an answer has in it what was heard."""
    return _plain(heard) in _plain(answer)


def check_known(heard: Sequence[tuple[str, ...]], names: Sequence[str]) -> None:
    """See whether utterances can be told apart by what the server hears in them.

    Raises:
        SpeechError: Two of them are too much alike.
    """
    for (name, one), (other, two) in combinations(zip(names, heard, strict=True), 2):
        for words, others in product(one, two):
            if likeness(words, others) > (1 + LIKE) / 2:
                raise SpeechError(
                    f"the server hears nearly the same in {name} and {other}:"
                    f" {words!r}, {others!r}"
                )


def _plain(words: str) -> str:
    return " ".join(re.findall(r"\w+", words.lower()))
