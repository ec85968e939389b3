"""What every session of the load generator does: join, configure itself, talk, end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import orjson
import pybase64
from attrs import define, field

from trio_bridge.bench.connection import Connection, ConnectionFailed, text_frame
from trio_bridge.bench.plan import Plan, Tally


def append_frames(pcm: bytes, frame_samples: int) -> list[bytes]:
    """Appends of PCM16, each as a masked WebSocket frame ready to be sent."""
    size = 2 * frame_samples
    texts = (pybase64.b64encode(pcm[at : at + size]) for at in range(0, len(pcm), size))
    return [
        text_frame(b'{"type":"input_audio_buffer.append","audio":"%b"}' % text)
        for text in texts
    ]


@define(eq=False)
class BenchSession(ABC):
    """One session: what it sends when, and what it makes of what comes."""

    number: int
    _plan: Plan
    _tally: Tally
    _connection: Connection
    begun: float = field(default=0.0, init=False)
    """When the run began, on the clock of `time.monotonic`, like all times here."""
    over: bool = field(default=False, init=False)
    _joined: float | None = field(default=None, init=False)
    _ready: bool = field(default=False, init=False)
    """Configured: it may talk."""

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        return self._connection.descriptor

    @property
    @abstractmethod
    def configuration(self) -> bytes:
        """The frame that makes the session what it is to be."""

    @abstractmethod
    def talk(self, now: float, due: float) -> bool:
        """Send the frame that was due; returns whether another one follows."""

    @abstractmethod
    def hear(self, event: dict[str, Any], at: float) -> None:
        """Take an event of the server's that came at the time `at`."""

    def close(self) -> None:
        """The session is over: add up, and hang up."""
        self._connection.close()

    def act(self, now: float, due: float) -> float | None:
        """Do what was due; returns when there is more to do, if ever."""
        if self.over:
            return None
        if self._joined is None:
            self._joined = now
            self.guarded(self._connection.connect)
        more = due < self.begun + self._plan.talked_until
        if self._ready:
            more = self.talk(now, due)
        return due + self._plan.frame_seconds if more else None

    def send(self, frame: bytes) -> None:
        """Send a frame; a connection that is gone ends the session."""
        self.guarded(lambda: self._connection.send(frame))

    def measuring(self, at: float) -> bool:
        """Whether all have joined and settled by then, and none is about to leave."""
        return self._plan.measured_from <= at - self.begun < self._plan.measured_until

    def writable(self) -> None:
        """The socket has room."""
        self.guarded(self._connection.writable)

    def read(self) -> bytes | None:
        """What has come; None if that is nothing, or the connection is gone."""
        try:
            return self._connection.read()
        except ConnectionFailed as exc:
            self.fail(str(exc))
            return None

    def take(self, data: bytes, at: float) -> None:
        """Handle what `read` returned, which was there at the time `at`."""
        try:
            for message in self._connection.messages(data):
                self._event(orjson.loads(message), at)
                if self.over:
                    return
        except ConnectionFailed as exc:
            self.fail(str(exc))
        except (ValueError, KeyError, TypeError) as exc:
            self.fail(f"the server sent something of a shape not known: {exc!r}")

    def finish(self) -> None:
        """End here, with nothing wrong."""
        self._tally.finished += 1
        self.over = True
        self.close()

    def fail(self, why: str) -> None:
        """End here, with a failure."""
        if not self.over:
            self._tally.fail(self.number, why)
            self.over = True
            self.close()

    def guarded(self, act: Callable[[], None]) -> None:
        """Do what a connection that is gone cannot do."""
        try:
            act()
        except ConnectionFailed as exc:
            self.fail(str(exc))

    def _event(self, event: dict[str, Any], at: float) -> None:
        match event["type"]:
            case "session.created":
                self._tally.created.append(at - (self._joined or at))
                self._connection.send(self.configuration)
            case "session.updated":
                self._ready = True
            case "error":
                self.fail(f"the server reports an error: {event['error'].get('message')}")
            case _:
                self.hear(event, at)
