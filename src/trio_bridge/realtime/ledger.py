"""The input audio, in milliseconds: how much was appended, how much is not committed yet."""

from __future__ import annotations

from typing import Final

from attrs import define, field

from trio_bridge.audio.encodings import Coding
from trio_bridge.realtime import problems
from trio_bridge.realtime.values import AudioFormat

TICKS: Final = 24
"""Ticks of the count in a millisecond. A sample of either rate is a whole number of them, so
that 100 ms are 100 ms however they were appended."""


@define
class InputLedger:
    """Counts input audio; it holds none, but for half a sample.

    Args:
        format: Of the audio that is appended.

    Attributes:
        coding: The format's encoding.
    """

    format: AudioFormat
    coding: Coding = field(init=False)
    _appended: int = field(default=0, init=False)
    _committed: int = field(default=0, init=False)
    _half: bytes = field(default=b"", init=False)
    _ahead: list[tuple[float, float]] = field(factory=lambda: [(0.0, 0.0)], init=False)

    def __attrs_post_init__(self) -> None:
        self.coding = self.format.coding

    @property
    def clock_ms(self) -> float:
        """The session's audio clock: all audio ever appended."""
        return self._appended / TICKS

    @property
    def uncommitted_from_ms(self) -> float:
        """Where on that clock begins what is not committed."""
        return self._committed / TICKS

    @property
    def uncommitted_ms(self) -> float:
        """How much would be committed now."""
        return (self._appended - self._committed) / TICKS

    def use(self, audio: AudioFormat) -> None:
        """What is appended from here on is in another format; half a sample is dropped."""
        if audio != self.format:
            self._half = b""
            self.format = audio
            self.coding = audio.coding

    def append(self, audio: bytes) -> bytes:
        """Count what the client appended.

        Returns:
            Its whole samples; an odd byte waits for the next.
        """
        coding = self.coding
        if self._half:
            audio = self._half + audio
            self._half = b""
        if odd := len(audio) % coding.width:
            audio, self._half = audio[:-odd], audio[-odd:]
        self._appended += len(audio) // coding.width * (TICKS * 1000 // coding.sample_rate)
        return audio

    def commit(self) -> float:
        """The client commits what it has appended since the last commit or clear.

        Returns:
            How much that is, in ms.

        Raises:
            ProtocolError: It is too little to be speech, or ends within a sample.
        """
        ms = self.uncommitted_ms
        if self._half:
            raise problems.odd_byte()
        if ms < problems.MIN_COMMIT_MS:
            raise problems.buffer_too_small(ms)
        self._committed = self._appended
        return ms

    def commit_until(self, ms: float) -> None:
        """Speech that ended at `ms` was committed."""
        self._committed = min(max(round(ms * TICKS), self._committed), self._appended)

    def backend_heard(self, ms: float, again_ms: float) -> None:
        """The backend hears what is not on this clock: `ms` of other audio, and the last
        `again_ms` of the input once more."""
        _, ahead = self._ahead[-1]
        begin = self.clock_ms + ahead + ms
        self._ahead = [*self._ahead[-1:], (begin, ahead + ms + again_ms)]

    def on_clock(self, backend_ms: float) -> int:
        """A moment of the backend's clock, which counts all that it has heard, on this one. One
        so late that what was ahead then is forgotten is taken as of the oldest remembered."""
        oldest = self._ahead[0][1]
        known = (ahead for begin, ahead in reversed(self._ahead) if backend_ms >= begin)
        return max(0, round(backend_ms - next(known, oldest)))

    def clear(self) -> None:
        """The client takes back what it has not committed. The clock goes on."""
        self._committed = self._appended
        self._half = b""
