"""Voice activity as a pure machine: PCM in, the places where speech starts and stops out.

A frame of 10 ms is *active* when WebRTC's detector calls it speech and it is louder than the
room by a margin. The detector alone does not do: it calls the first tenth of a second of every
stream speech, stretches a click of 2 ms to 80 ms, and takes any loud steady noise for speech
until it has adapted. The room's level is the quietest frame of the last few seconds (minimum
statistics after R. Martin, 2001, without the spectrum: one level instead of one per band).

How `turn_detection.threshold` is understood:

| threshold   | detector's mode | active of 10 frames to start | margin to start | to go on |
|-------------|-----------------|------------------------------|-----------------|----------|
| below 0.25  | 0               | 4                            | 3 dB            | 2 dB     |
| below 0.45  | 1               | 5                            | 4 dB            | 2.7 dB   |
| below 0.75  | 2               | 6                            | 6 dB            | 4 dB     |
| from 0.75   | 3               | 8                            | 9 dB            | 6 dB     |

Going on needs a smaller margin, and silence is broken only by two active frames in a row: that
is the hysteresis. With the default (0.5) speech is noticed 60 ms after it becomes audible.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final, Literal

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray
from pocketsphinx import Vad

from trio_bridge.dora.contract import SAMPLE_RATE
from trio_bridge.nodes.turn_silence import TurnSilence

Int16 = NDArray[np.int16]

FRAME: Final = SAMPLE_RATE // 100
"""Samples in a frame of 10 ms, the shortest that WebRTC's detector takes."""

MS: Final = SAMPLE_RATE // 1000
"""Samples in a millisecond."""

SETTLING: Final = 12
"""Frames after a detector's start in which its word is not taken: measured, it calls the first
7 to 10 of any stream speech, mode 3 included."""

WINDOW: Final = 10
"""Frames in which enough must be active for speech to start."""

UNBROKEN: Final = 2
"""Active frames in a row that break a silence; a single one is a click or the detector's own
wavering."""

GOING_ON: Final = 2 / 3
"""The part of the starting margin that speech needs to go on: low enough for a sentence's last
syllable, high enough that noise at 10 dB below the voice ends a turn."""

LEVEL_BLOCKS: Final = 4
BLOCK_FRAMES: Final = 100
"""The room's level is the quietest frame of the last 3 to 4 s: longer than anyone speaks
without the short gaps between sounds, short enough to learn that a fan was switched on."""

QUIETEST_DB: Final = -66.0
"""A room is never taken for quieter than this (full scale is 0 dB): below it lies dither."""

PADDING_MAX_MS: Final = 5_000
"""The longest prefix padding honoured; more than the audio that a session keeps."""

_LEVELS: Final = (
    (0.25, 0, 4, 3.0),
    (0.45, 1, 5, 4.0),
    (0.75, 2, 6, 6.0),
    (math.inf, 3, 8, 9.0),
)


@frozen
class VadSettings:
    """How to find turns. The first three follow from `threshold`, see the module's table."""

    mode: int = 2
    needed: int = 6
    margin_db: float = 6.0
    padding: int = 300 * MS
    silence: TurnSilence = field(factory=TurnSilence)

    @classmethod
    def from_turn_detection(cls, turn_detection: dict[str, Any]) -> VadSettings:
        """Read a session's `turn_detection` object; what is absent or null takes a default."""

        def number(key: str, default: float) -> float:
            value = turn_detection.get(key)
            return default if value is None else float(value)

        threshold = number("threshold", 0.5)
        _, mode, needed, margin = next(row for row in _LEVELS if threshold < row[0])
        padding = min(max(number("prefix_padding_ms", 300), 0.0), PADDING_MAX_MS)
        return cls(
            mode=mode,
            needed=needed,
            margin_db=margin,
            padding=round(padding) * MS,
            silence=TurnSilence.from_turn_detection(turn_detection),
        )


@frozen
class Edge:
    """Speech starts or stops.

    `at` is where, in samples of the session's clock: for a start the beginning of its first
    active frame (without padding), for a stop the moment at which the silence was long enough.
    """

    kind: Literal["start", "stop"]
    at: int


@define
class _RoomLevel:
    """The quietest frame of the last seconds, in dB of full scale."""

    _blocks: deque[float] = field(factory=lambda: deque(maxlen=LEVEL_BLOCKS - 1), init=False)
    _lowest: float = field(default=math.inf, init=False)
    _frames: int = field(default=0, init=False)

    def update(self, level: float) -> float:
        self._lowest = min(self._lowest, level)
        room = min(self._lowest, *self._blocks) if self._blocks else self._lowest
        self._frames += 1
        if self._frames == BLOCK_FRAMES:
            self._blocks.append(self._lowest)
            self._lowest = math.inf
            self._frames = 0
        return max(room, QUIETEST_DB)


@define
class VoiceActivity:
    """Finds the edges of speech in one session's audio, one frame of 10 ms at a time."""

    settings: VadSettings = field(factory=VadSettings)
    speaking: bool = field(default=False, init=False)
    finished: float | None = field(default=None, init=False)
    """How finished the words of this speech sound, as far as anybody can tell; the silence that
    ends it depends on it."""
    clock: int = field(default=0, init=False)
    """Samples judged so far: the end of the last frame, on the session's clock."""
    _vad: Vad = field(init=False)
    _heard: int = field(default=0, init=False)
    _room: _RoomLevel = field(factory=_RoomLevel, init=False)
    _recent: deque[bool] = field(factory=lambda: deque(maxlen=WINDOW), init=False)
    _in_a_row: int = field(default=0, init=False)
    _last_active: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._open()

    def configure(self, settings: VadSettings) -> None:
        """Go on with other settings; speech that is under way stays so."""
        mode, self.settings = self.settings.mode, settings
        if settings.mode != mode:
            self._open()

    def forget(self) -> None:
        """No speech is under way: the audio so far was committed, cleared or ended."""
        self.speaking = False
        self.finished = None
        self._recent.clear()

    def push(self, frame: Int16) -> Edge | None:
        """Judge the next frame, shape ``(FRAME,)``; gives an edge when there is one."""
        self.clock += FRAME
        active = self._is_active(frame)
        self._in_a_row = self._in_a_row + 1 if active else 0
        if self.speaking:
            if self._in_a_row >= UNBROKEN:
                self._last_active = self.clock
            wait = self.settings.silence.after(self.finished)
            if self.clock - self._last_active >= wait * MS:
                self.forget()
                return Edge("stop", self.clock)
            return None
        self._recent.append(active)
        if sum(self._recent) < self.settings.needed:
            return None
        first = len(self._recent) - self._recent.index(True)
        self.speaking = True
        self._last_active = self.clock
        self._recent.clear()
        return Edge("start", self.clock - first * FRAME)

    def _open(self) -> None:
        self._vad = Vad(self.settings.mode, SAMPLE_RATE, FRAME / SAMPLE_RATE)
        self._heard = 0

    def _is_active(self, frame: Int16) -> bool:
        wide = frame.astype(np.float32)
        # A microphone's offset is no part of the room's level, nor is rumble, whose level goes
        # up and down so much in 10 ms that it alone could hold a turn for seconds.
        wide -= wide.mean()
        power = float(np.dot(wide, wide)) / FRAME
        level = 10 * math.log10(power / 2**30) if power else -math.inf
        over = level - self._room.update(level)
        voiced: bool = self._vad.is_speech(frame.tobytes())
        self._heard += 1
        margin = self.settings.margin_db * (GOING_ON if self.speaking else 1.0)
        return voiced and over >= margin and self._heard > SETTLING
