"""The input audio, in milliseconds: how much was appended, how much is not committed yet."""

from __future__ import annotations

from attrs import define, field

from trio_bridge.realtime import problems

BYTES_PER_SAMPLE = 2


@define
class InputLedger:
    """Counts input audio; it holds none, but for half a sample.

    Args:
        sample_rate: Of the PCM16 that is appended, in Hz.
    """

    sample_rate: int
    _samples: int = field(default=0, init=False)
    _uncommitted_from_ms: float = field(default=0.0, init=False)
    _half: bytes = field(default=b"", init=False)

    @property
    def clock_ms(self) -> float:
        """The session's audio clock: all audio ever appended."""
        return self._samples * 1000 / self.sample_rate

    @property
    def uncommitted_ms(self) -> float:
        """How much would be committed now."""
        return self.clock_ms - self._uncommitted_from_ms

    def append(self, audio: bytes) -> bytes:
        """Count what the client appended.

        Returns:
            Its whole samples; an odd byte waits for the next.
        """
        audio = self._half + audio
        whole = len(audio) - len(audio) % BYTES_PER_SAMPLE
        self._half = audio[whole:]
        self._samples += whole // BYTES_PER_SAMPLE
        return audio[:whole]

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
        self._uncommitted_from_ms = self.clock_ms
        return ms

    def commit_until(self, ms: float) -> None:
        """Speech that ended at `ms` was committed."""
        self._uncommitted_from_ms = min(max(ms, self._uncommitted_from_ms), self.clock_ms)

    def clear(self) -> None:
        """The client takes back what it has not committed. The clock goes on."""
        self._uncommitted_from_ms = self.clock_ms
        self._half = b""
