"""Who plays a script: the engine alone, or a live server over a real WebSocket.

Both take a step and return when nothing more follows from it. Time stands still unless a
script waits, in the live server too: its clock jumps once nobody has anything to do.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from attrs import define, field
from tests.support.client import Client, connected
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge import open_bridge
from trio_bridge.backend import Emit, InProcessBackend
from trio_bridge.closing import Ending
from trio_bridge.messages import BackendEvent, Capabilities, Command, InputAudio
from trio_bridge.outgoing import Outgoing, SpeechEncoder
from trio_bridge.realtime.config import Kind, initial
from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.ids import Ids
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.step import Step
from trio_bridge.realtime.wire import Codec, Dialect
from trio_bridge.settings import ServerSettings, Settings

CUSHION = 0.002
"""Real seconds without anything to do after which a step counts as done. Loopback delivers at
once, so this is no measure of how fast anything is."""

IDLE = 0.02
"""Real seconds without anything to do after which the clock jumps."""

HEARD_SLACK_MS = 60
"""How much of the input the resampler may hold back for its look-ahead."""


class Player(Protocol):
    """A session to play a script in."""

    @property
    def events(self) -> list[Json]:
        """All that the client was sent."""

    @property
    def commands(self) -> list[Command]:
        """All that the backend was asked."""

    @property
    def closed(self) -> tuple[int, str] | None:
        """How the server closed the connection, if it did."""

    async def say(self, frame: str | bytes) -> None:
        """The client sends a frame."""

    async def append(self, frame: str, ms: int) -> None:
        """The client sends so much audio."""

    async def report(self, event: BackendEvent) -> None:
        """The backend reports."""

    async def wait(self, seconds: float) -> None:
        """Time passes."""


@define
class EngineAlone:
    """A session without I/O: frames in, frames out."""

    engine: RealtimeEngine
    codec: Codec
    now: float
    events: list[Json] = field(factory=list, init=False)
    commands: list[Command] = field(factory=list, init=False)
    closed: tuple[int, str] | None = field(default=None, init=False)
    _outgoing: Outgoing = field(init=False)

    def __attrs_post_init__(self) -> None:
        encoder = SpeechEncoder(self.engine.ids.event, self.engine.conversation.recordings)
        self._outgoing = Outgoing(encoder, self.codec)
        self._take(self.engine.start())

    async def say(self, frame: str | bytes) -> None:
        """See `Player`."""
        try:
            event = self.codec.load(frame)
        except ProtocolError as problem:
            self._take(self.engine.reject(problem, self.now))
        else:
            self._take(self.engine.receive(event, self.now))

    async def append(self, frame: str, ms: int) -> None:
        """See `Player`."""
        del ms
        await self.say(frame)

    async def report(self, event: BackendEvent) -> None:
        """See `Player`."""
        self._take(self.engine.report(event, self.now))

    async def wait(self, seconds: float) -> None:
        """See `Player`."""
        end = self.now + seconds
        while self.engine.deadline <= end:
            self.now = max(self.now, self.engine.deadline)
            self._take(self.engine.tick(self.now))
        self.now = end

    def _take(self, step: Step) -> None:
        self.commands += step.commands
        self._outgoing.put(step)
        while (message := self._outgoing.next()) is not None:
            self._outgoing.sent()
            if isinstance(message, Ending):
                self.closed = (message.code, message.reason)
            else:
                self.events.append(json.loads(message))


@asynccontextmanager
async def engine_alone(
    dialect: Dialect, kind: Kind, *, strict: bool
) -> AsyncGenerator[Player, None]:
    """A session without I/O."""
    engine = RealtimeEngine(
        session_id="sess_1",
        model="test",
        config=initial(kind),
        capabilities=Capabilities(),
        now=100.0,
        expires_at=int(time.time()) + 3600,
        ids=Ids("t"),
        strict=strict,
    )
    yield EngineAlone(engine, Codec(dialect, strict=strict), 100.0)


@define
class PlayedBackend:
    """The backend of the one session that a script plays."""

    commands: list[Command] = field(factory=list, init=False)
    heard_ms: float = field(default=0.0, init=False)
    emit: Emit = field(init=False)

    async def handle(self, commands: trio.MemoryReceiveChannel[Command], emit: Emit) -> None:
        """Note down what it is asked."""
        self.emit = emit
        async for command in commands:
            self.commands.append(command)
            if isinstance(command, InputAudio):
                self.heard_ms += len(command.samples) * 1000 / command.sample_rate


@define
class LiveServer:
    """A session with a server in this process, over a real WebSocket."""

    client: Client
    backend: PlayedBackend
    _said_ms: float = field(default=0.0, init=False)

    @property
    def events(self) -> list[Json]:
        """See `Player`."""
        return [arrival.event for arrival in self.client.events]

    @property
    def commands(self) -> list[Command]:
        """See `Player`."""
        return self.backend.commands

    @property
    def closed(self) -> tuple[int, str] | None:
        """See `Player`."""
        return self.client.closed

    async def say(self, frame: str | bytes) -> None:
        """See `Player`."""
        await self.client.send_raw(frame)
        await wait_all_tasks_blocked(CUSHION)

    async def append(self, frame: str, ms: int) -> None:
        """See `Player`."""
        self._said_ms += ms
        await self.say(frame)
        assert self.backend.heard_ms >= self._said_ms - HEARD_SLACK_MS, "the audio got lost"

    async def report(self, event: BackendEvent) -> None:
        """See `Player`."""
        await self.backend.emit(event)
        await wait_all_tasks_blocked(CUSHION)

    async def wait(self, seconds: float) -> None:
        """See `Player`."""
        await trio.sleep(seconds)
        await wait_all_tasks_blocked(CUSHION)


@asynccontextmanager
async def live_server(
    clock: MockClock, dialect: Dialect, kind: Kind, *, strict: bool
) -> AsyncGenerator[Player, None]:
    """A server of its own for one session."""
    clock.autojump_threshold = IDLE
    backend = PlayedBackend()
    settings = Settings(server=ServerSettings(port=0, strict=strict))
    async with open_bridge(settings, backend=InProcessBackend(backend.handle)) as bridge:
        query = {"intent": "transcription"} if kind == "transcription" else {}
        headers = {"OpenAI-Beta": "realtime=v1"} if dialect == "beta" else {}
        async with connected(bridge.url, headers=headers, **query) as client:
            await wait_all_tasks_blocked(CUSHION)
            yield LiveServer(client, backend)
