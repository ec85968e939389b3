"""A session of the echo scenario: it talks without a pause and must hear itself, in time."""

from __future__ import annotations

from array import array
from typing import Any

import pybase64
from attrs import define, field

from trio_bridge.bench.connection import text_frame
from trio_bridge.bench.marker import MarkerCheck, marker_pcm
from trio_bridge.bench.plan import RATE
from trio_bridge.bench.playout import Playout
from trio_bridge.bench.session import BenchSession, append_frames

_CONFIGURE = text_frame(
    b'{"type":"session.update","session":'
    b'{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'
)
_COMMIT = text_frame(b'{"type":"input_audio_buffer.commit"}')


@define(eq=False)
class EchoSession(BenchSession):
    """Says its marker again and again."""

    _frames: list[bytes] = field(init=False)
    _check: MarkerCheck = field(init=False)
    _playout: Playout = field(init=False)
    _sent: array[float] = field(factory=lambda: array("d"), init=False)
    """When each frame was sent."""
    _returned: int = field(default=0, init=False)
    """Frames whose last sample has come back."""
    _held_back: int = field(init=False)
    _committed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._frames = append_frames(marker_pcm(self.number), self._plan.frame_samples)
        self._check = MarkerCheck(self.number)
        self._playout = Playout(self._plan.playout)
        self._held_back = round(self._plan.look_ahead * RATE)

    @property
    def configuration(self) -> bytes:
        """See `BenchSession`: the turn ends when it says so."""
        return _CONFIGURE

    def talk(self, now: float, due: float) -> bool:
        """See `BenchSession`."""
        if due >= self.begun + self._plan.talked_until:
            self._committed = True
            self.send(_COMMIT)
            return False
        frame = self._frames[len(self._sent) % len(self._frames)]
        self._sent.append(now)
        if self.measuring(due):
            self._tally.late_sends.append(now - due)
        self.send(frame)
        return True

    def hear(self, event: dict[str, Any], at: float) -> None:
        """See `BenchSession`."""
        match event["type"]:
            case "response.output_audio.delta":
                self._audio(pybase64.b64decode(event["delta"]), at)
            case "response.done" if self._committed:
                self._done()

    def close(self) -> None:
        """See `BenchSession`."""
        self._tally.underruns += self._playout.underruns
        self._tally.stalled += self._playout.stalled
        self._connection.close()

    def _audio(self, pcm: bytes, at: float) -> None:
        if self.measuring(at):
            self._tally.lateness.append(self._playout.arrived(at, len(pcm) / 2 / RATE))
        if wrong := self._check.hear(pcm):
            self.fail(wrong)
            return
        whole = (self._check.heard + self._held_back) // self._plan.frame_samples
        for number in range(self._returned, min(whole, len(self._sent))):
            if self.measuring(self._sent[number]):
                self._tally.added.append(at - self._sent[number])
        self._returned = max(self._returned, min(whole, len(self._sent)))

    def _done(self) -> None:
        if wrong := self._check.end(len(self._sent) * self._plan.frame_samples):
            self.fail(wrong)
            return
        self.finish()
