"""What the sessions of the voice scenario say, and how it is told whose it was.

Every session has words of its own, which are its marker: whatever comes of them belongs to it
and to no other. Recognisers err, more so with a synthetic voice, but they err alike: what one
makes of an utterance when hardly anybody else speaks, it makes of it under load. So every
utterance is first spoken by itself (see `rehearsal.py`), as a session's first words and again,
and these transcripts are what it is known by. Later a transcript must be more like its own
utterance's than like any other session's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import permutations
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
    "The children were playing with a ball in the garden.",
    "She bought a new red car from her brother last year.",
    "Please open the window before you go to sleep.",
    "There is nothing better than a cup of coffee.",
    "The doctor will not see you until next Thursday.",
    "It began to rain when the ship left the harbour.",
    "Nobody knew why the king had sent his army away.",
    "Turn left at the church and follow the river.",
)
"""What is said unless the user has recordings."""

GAP = 0.2
"""Seconds between two recordings that are said in one breath: too short to end a turn."""

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

TOO_LIKE = 0.9
"""How like each other the transcripts of two utterances are that cannot be told apart for
sure."""

Float32 = NDArray[np.float32]


class SpeechError(BridgeError):
    """There is nothing to say, or it cannot be told apart."""


@frozen
class Recording:
    """Something that can be said: PCM16 at 24 kHz."""

    name: str
    pcm: bytes = field(repr=False)


def built_in() -> list[Recording]:
    """The sentences, spoken by the engine that ships.

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
            spoken.append(Recording(repr(sentence), float32_to_pcm16(samples)))
    except EngineError as exc:
        raise SpeechError(str(exc)) from exc
    return spoken


def from_files(paths: Sequence[Path]) -> list[Recording]:
    """Recordings of the user's.

    Raises:
        SoundError: One is not there, or no sound.
    """
    return [Recording(str(path), float32_to_pcm16(read_sound(path))) for path in paths]


def sayings(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """All that can be said with recordings: each of them, then any two in one breath."""
    yield from recordings
    gap = bytes(2 * int(GAP * RATE))
    for one, other in permutations(recordings, 2):
        yield Recording(
            f"{one.name} with {other.name}", _trimmed(one.pcm) + gap + _trimmed(other.pcm)
        )


def _trimmed(pcm: bytes) -> bytes:
    samples = np.frombuffer(pcm, "<i2")
    first, last = spoken(samples) or _loud(samples)
    return pcm[2 * first : 2 * (last + 1)]


@frozen
class Said:
    """An utterance.

    Args:
        number: Whose it is: the session's.
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
    """All utterances of a run, one for each session."""

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

    def wrong(self, said: Said, heard: str, answer: str) -> str | None:
        """What is wrong with what was heard and answered, if anything is."""
        if not heard:
            return "the server heard nothing"
        if not said.heard:
            return None
        own = said.likeness(heard)
        if own < LIKE or any(
            more_like(heard, known, own) for other in self.utterances for known in other.heard
        ):
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
    return _matcher(one, other).ratio()


def more_like(one: str, other: str, bound: float) -> bool:
    """Whether two transcripts are more alike than that."""
    if bound >= 1:
        return False
    matcher = _matcher(one, other)
    # Cheap upper bounds first: a worker has many others to compare with, and little time.
    return (
        matcher.real_quick_ratio() > bound
        and matcher.quick_ratio() > bound
        and matcher.ratio() > bound
    )


def _matcher(one: str, other: str) -> SequenceMatcher[str]:
    return SequenceMatcher(None, _plain(one), _plain(other), autojunk=False)


def repeats(answer: str, heard: str) -> bool:
    """Whether an answer has in it what was heard."""
    return _plain(heard) in _plain(answer)


def heard_alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two utterances cannot be told apart for sure by what the server hears in them,
    each time."""
    return any(more_like(words, others, TOO_LIKE) for words in one for others in other)


def _plain(words: str) -> str:
    return " ".join(re.findall(r"\w+", words.lower()))
