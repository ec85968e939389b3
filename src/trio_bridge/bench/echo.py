"""A session of the echo scenario: it talks without a pause and must hear itself, in time."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import orjson
import pybase64
from attrs import define, field

from trio_bridge.bench.connection import Connection, ConnectionFailed, text_frame
from trio_bridge.bench.marker import MarkerCheck, marker_pcm
from trio_bridge.bench.plan import RATE, Plan, Tally
from trio_bridge.bench.playout import Playout

_CONFIGURE = text_frame(
    b'{"type":"session.update","session":'
    b'{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'
)
_COMMIT = text_frame(b'{"type":"input_audio_buffer.commit"}')


def append_frames(pcm: bytes, frame_samples: int) -> list[bytes]:
    """Appends of PCM16, each as a masked WebSocket frame ready to be sent."""
    size = 2 * frame_samples
    texts = (pybase64.b64encode(pcm[at : at + size]) for at in range(0, len(pcm), size))
    return [
        text_frame(b'{"type":"input_audio_buffer.append","audio":"%b"}' % text)
        for text in texts
    ]


@define(eq=False)
class EchoSession:
    """One session: what it sends when, and what it makes of what comes."""

    number: int
    _plan: Plan
    _tally: Tally
    _connection: Connection
    begun: float = field(default=0.0, init=False)
    """When the run began, on the clock of `time.monotonic`, like all times here."""
    _joined: float | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    """Configured: it may talk."""
    over: bool = field(default=False, init=False)
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
    def descriptor(self) -> int:
        """Of its socket."""
        return self._connection.descriptor

    def act(self, now: float, due: float) -> float | None:
        """Do what was due; returns when there is more to do, if ever."""
        if self.over:
            return None
        if self._joined is None:
            self._joined = now
            self._connection.connect()
        if due >= self.begun + self._plan.measured_until:
            self._committed = True
            if self._ready:
                self._guarded(lambda: self._connection.send(_COMMIT))
            return None
        if self._ready:
            self._say(now, due)
        return due + self._plan.frame_seconds

    def _say(self, now: float, due: float) -> None:
        frame = self._frames[len(self._sent) % len(self._frames)]
        self._sent.append(now)
        if due >= self.begun + self._plan.measured_from:
            self._tally.late_sends.append(now - due)
        self._guarded(lambda: self._connection.send(frame))

    def writable(self) -> None:
        """The socket has room."""
        self._guarded(self._connection.writable)

    def read(self) -> bytes | None:
        """What has come; None if the connection is gone."""
        try:
            return self._connection.read()
        except ConnectionFailed as exc:
            self.fail(str(exc))
            return None

    def take(self, data: bytes, at: float) -> None:
        """Handle what `read` returned, which was there at the time `at`."""
        try:
            for message in self._connection.messages(data):
                self._event(message, at)
                if self.over:
                    return
        except ConnectionFailed as exc:
            self.fail(str(exc))
        except (ValueError, KeyError, TypeError) as exc:
            self.fail(f"the server sent something of a shape not known: {exc!r}")

    def fail(self, why: str) -> None:
        """End here, with a failure."""
        if not self.over:
            self._tally.fail(self.number, why)
            self._end()

    def _end(self) -> None:
        self.over = True
        self._tally.underruns += self._playout.underruns
        self._tally.stalled += self._playout.stalled
        self._connection.close()

    def _event(self, message: bytes, at: float) -> None:
        event = orjson.loads(message)
        match event["type"]:
            case "response.output_audio.delta":
                self._audio(pybase64.b64decode(event["delta"]), at)
            case "session.created":
                self._tally.created.append(at - (self._joined or at))
                self._connection.send(_CONFIGURE)
            case "session.updated":
                self._ready = True
            case "response.done" if self._committed:
                self._done()
            case "error":
                self.fail(f"the server reports an error: {event['error'].get('message')}")

    def _audio(self, pcm: bytes, at: float) -> None:
        late = self._playout.arrived(at, len(pcm) / 2 / RATE)
        measured = self.begun + self._plan.measured_from
        if at >= measured:
            self._tally.lateness.append(late)
        if wrong := self._check.hear(pcm):
            self.fail(wrong)
            return
        whole = (self._check.heard + self._held_back) // self._plan.frame_samples
        for number in range(self._returned, min(whole, len(self._sent))):
            if self._sent[number] >= measured:
                self._tally.added.append(at - self._sent[number])
        self._returned = max(self._returned, min(whole, len(self._sent)))

    def _done(self) -> None:
        if wrong := self._check.end(len(self._sent) * self._plan.frame_samples):
            self.fail(wrong)
            return
        self._tally.finished += 1
        self._end()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ConnectionFailed as exc:
            self.fail(str(exc))
