"""What sessions leave behind, and what a long one gathers.

    python benchmarks/soak.py [row|hour] [--sessions 1000] [--dataflow echo] [--json]

*Row*: one session after another against a server with a real dataflow, each with a turn and its
answer; memory, threads and files of the bridge and of every process below it, before and after.
With `echo` a session says a fifth of a second, as fast as it is taken; with `voice` it speaks a
recording, which is heard and answered.

*Hour*: one session with a backend in plain Python on a virtual clock, an hour of audio in
real-time steps: turns, answers, and the end that comes at the limit. Memory is compared with
that of the first quarter, when the recordings that a session keeps have reached their cap.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import trio
import trio.testing
from attrs import asdict, define, field, frozen

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import recordings
from tests.support.client import RATE, Client, connected, to_24k
from tests.support.resources import count, settled
from tests.support.server import resident_mb, running_server

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.backend import Emit, InProcessBackend
from trio_bridge.bench.usage import tree
from trio_bridge.errors import TransportClosed
from trio_bridge.messages import (
    AudioDelta,
    Cancel,
    Capabilities,
    Command,
    Credit,
    InputAudio,
    Respond,
    ResponseFinished,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from trio_bridge.realtime.config import SessionConfig
from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.session import Session
from trio_bridge.transport import MemoryTransport, memory_transport_pair

GROWTH_MB: Final = 5.0
"""More than this is a leak."""

WARM_UP: Final = 20
"""Sessions before the first look: what is made once, is made then."""

FRAME: Final = RATE // 10
PERIOD: Final = 10.0
"""Seconds from one turn to the next."""

SPOKEN: Final = (1.0, 4.0)
"""When in a period somebody speaks."""

ANSWER: Final = 5.5
"""Seconds of speech in an answer."""


# --- sessions in a row ---------------------------------------------------------------------


@frozen
class Held:
    """What a process holds."""

    mb: float
    threads: int
    files: int


def held(root: int) -> dict[str, Held]:
    """By process name and pid: a process that is replaced is a growth, too."""
    found = {}
    for pid, process in tree(root).items():
        mb = resident_mb(pid)
        found[f"{process.name} {pid}"] = Held(mb, count(pid, "task"), count(pid, "fd"))
    return found


async def echo_turn(client: Client, number: int) -> None:
    """Say a little, all at once, and hear it again."""
    session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    await client.send("session.update", session=session)
    t = np.arange(RATE // 5) / RATE
    tone = (0.3 * np.sin(2 * np.pi * (300 + number % 1000) * t)).astype(np.float32)
    pcm = float32_to_pcm16(tone)
    for at in range(0, len(pcm), 1920):
        audio = base64.b64encode(pcm[at : at + 1920]).decode()
        await client.send("input_audio_buffer.append", audio=audio)
    await client.send("input_audio_buffer.commit")
    await client.wait_for("response.done")
    heard = client.audio()
    assert abs(len(heard) - len(t)) <= 4, f"said {len(t)} samples, heard {len(heard)}"


async def voice_turn(client: Client, number: int) -> None:
    """Speak a command, and be answered. The answer is cut short by leaving."""
    del number
    said = to_24k(recordings.load("go_forward_ten_meters"), 16_000)
    quiet = np.zeros(RATE, np.float32)
    pcm = float32_to_pcm16(np.concatenate([said, quiet]))
    await client.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}},
    )
    for at in range(0, len(pcm), 9600):
        audio = base64.b64encode(pcm[at : at + 9600]).decode()
        await client.send("input_audio_buffer.append", audio=audio)
    heard = await client.wait_for("conversation.item.input_audio_transcription.completed")
    assert "meters" in heard.event["transcript"], heard.event["transcript"]
    await client.wait_for("response.output_audio.delta")


async def in_a_row(sessions: int, dataflow: str) -> dict[str, Any]:
    """One session after another; what every process held before and after."""
    turn = {"echo": echo_turn, "voice": voice_turn}[dataflow]
    with tempfile.TemporaryDirectory() as folder:
        async with running_server(Path(folder) / "log", "--dataflow", dataflow) as server:

            async def several(number: int) -> dict[str, Held]:
                for each in range(number):
                    async with connected(server.ws_url) as client:
                        await turn(client, each)
                resources = await settled(server)
                assert resources.node_sessions == 0, "a node still holds a session"
                found = held(server.process.pid)
                # Whoever asks for its health holds a file for a moment.
                (bridge,) = (name for name in found if name.startswith("bridge "))
                found[bridge] = Held(found[bridge].mb, resources.threads, resources.files)
                return found

            before = await several(min(WARM_UP, sessions))
            after = await several(sessions)
    nobody = Held(0, 0, 0)
    return {
        "dataflow": dataflow,
        "sessions": sessions,
        "before": {name: asdict(each) for name, each in before.items()},
        "after": {name: asdict(each) for name, each in after.items()},
        "growth": {
            name: {
                "mb": each.mb - before.get(name, nobody).mb,
                "threads": each.threads - before.get(name, nobody).threads,
                "files": each.files - before.get(name, nobody).files,
            }
            for name, each in after.items()
        },
    }


# --- an hour -------------------------------------------------------------------------------


@define
class Listener:
    """A backend for one session: hears speech by the clock, and answers each turn."""

    _heard: float = field(default=0.0, init=False)
    _turns: int = field(default=0, init=False)
    _speaking: bool = field(default=False, init=False)
    _response: str = field(default="", init=False)
    _said: float = field(default=0.0, init=False)
    _credit: float = field(default=0.0, init=False)

    async def __call__(self, commands: trio.MemoryReceiveChannel[Command], emit: Emit) -> None:
        async for command in commands:
            match command:
                case InputAudio(samples, rate):
                    self._heard += len(samples) / rate
                    await self._listen(emit)
                case Respond(response_id):
                    self._response, self._said, self._credit = response_id, 0.0, 0.0
                case Credit(response_id, seconds) if response_id == self._response:
                    self._credit = seconds
                    await self._speak(emit)
                case Cancel(response_id) if response_id == self._response:
                    self._response = ""
                case _:
                    pass

    async def _listen(self, emit: Emit) -> None:
        begins, ends = SPOKEN
        speaking = begins <= self._heard % PERIOD < ends
        if speaking == self._speaking:
            return
        self._speaking = speaking
        at = round(self._heard * 1000)
        if speaking:
            self._turns += 1
            await emit(SpeechStarted(f"u{self._turns}", at))
        else:
            await emit(SpeechStopped(f"u{self._turns}", at))
            await emit(Transcript(f"u{self._turns}", f"turn {self._turns}", final=True))

    async def _speak(self, emit: Emit) -> None:
        while self._response and self._said + 0.1 <= min(self._credit, ANSWER) + 1e-6:
            # Noise, since what is always the same could be kept once.
            noise = np.random.default_rng(round(self._said * 10)).random(FRAME, np.float32)
            await emit(AudioDelta(self._response, noise - 0.5, RATE, f"{self._said:.1f} "))
            self._said += 0.1
        if self._response and self._said >= ANSWER - 1e-6:
            await emit(ResponseFinished(self._response))
            self._response = ""


@define
class Hour:
    """What a long session has come to."""

    seconds: float = 0.0
    """Of audio sent."""
    answered: float = 0.0
    """Seconds of audio that came back."""
    turns: int = 0
    """Answers that came to their end."""
    first: tuple[float, float] = (0.0, 0.0)
    """Memory after the first quarter: allocated by Python, and resident; in MB."""
    last: tuple[float, float] = (0.0, 0.0)
    ended: tuple[int | None, str] = (None, "")

    @property
    def growth(self) -> tuple[float, float]:
        """From the first quarter to the end."""
        return self.last[0] - self.first[0], self.last[1] - self.first[1]


def memory() -> tuple[float, float]:
    """Allocated by Python, and resident; in MB."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 2**20, resident_mb(os.getpid())


async def long_session(seconds: float, **engine_settings: Any) -> Hour:
    """One session of so many seconds, to be run on a virtual clock.

    Args:
        seconds: How long it may last; its end comes then.
        engine_settings: More of `RealtimeEngine`.
    """
    hour = Hour()
    engine = RealtimeEngine(
        session_id="sess_soak",
        model="any",
        config=SessionConfig(),
        capabilities=Capabilities(),
        now=trio.current_time(),
        expires_at=4_000_000_000,
        lead=2.0,
        max_seconds=seconds,
        **engine_settings,
    )
    session = Session("sess_soak", engine, InProcessBackend(Listener()))
    near, far = memory_transport_pair()
    session.attach(far)
    tracemalloc.start()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            nursery.start_soon(_follow, near, hour)
            await _speak(near, hour, seconds)
    finally:
        tracemalloc.stop()
    hour.ended = near.closed or (None, "")
    return hour


async def _speak(transport: MemoryTransport, hour: Hour, seconds: float) -> None:
    noise = np.random.default_rng(1).integers(-3000, 3000, RATE, np.int16).tobytes()
    frames = [
        orjson.dumps(
            {
                "type": "input_audio_buffer.append",
                "audio": base64.b64encode(noise[at : at + 2 * FRAME]).decode(),
            }
        )
        for at in range(0, len(noise), 2 * FRAME)
    ]
    began = trio.current_time()
    number, total = 0, round(seconds * RATE / FRAME)
    try:
        while True:
            await trio.sleep_until(began + number * FRAME / RATE)
            await transport.send(frames[number % len(frames)])
            number += 1
            hour.seconds = number * FRAME / RATE
            if number == total // 4:
                hour.first = memory()
            elif number == total - 2:
                hour.last = memory()
    except TransportClosed:
        return


async def _follow(transport: MemoryTransport, hour: Hour) -> None:
    try:
        while True:
            event = orjson.loads(await transport.receive())
            if event["type"] == "response.output_audio.delta":
                hour.answered += len(base64.b64decode(event["delta"])) / 2 / RATE
            elif event["type"] == "response.done":
                hour.turns += event["response"]["status"] == "completed"
    except TransportClosed:
        return


# --- the command ---------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("row", "hour"))
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--dataflow", choices=("echo", "voice"), default="echo")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.what != "hour":
        found["row"] = trio.run(in_a_row, options.sessions, options.dataflow)
    if options.what != "row":
        clock = trio.testing.MockClock(autojump_threshold=0)
        hour = trio.run(long_session, options.seconds, clock=clock)
        found["hour"] = asdict(hour) | {"growth": hour.growth}
    grown = [each["mb"] for each in found.get("row", {}).get("growth", {}).values()]
    grown += found.get("hour", {}).get("growth", ())
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)))
    sys.exit(max(grown) > GROWTH_MB)


def lines(found: dict[str, Any]) -> list[str]:
    told = []
    if row := found.get("row"):
        told.append(f"{row['sessions']} sessions in a row, {row['dataflow']}:")
        for name, grown in row["growth"].items():
            now = row["after"][name]
            told.append(
                f"  {name:<24} {now['mb']:6.1f} MB ({grown['mb']:+.1f}),"
                f" {now['threads']} threads ({grown['threads']:+d}),"
                f" {now['files']} files ({grown['files']:+d})"
            )
    if hour := found.get("hour"):
        told.append(
            f"a session of {hour['seconds']:.0f} s, {hour['turns']} answers,"
            f" {hour['answered']:.0f} s of them; ended {hour['ended']}:"
        )
        for name, first, grown in zip(
            ("allocated", "resident"), hour["first"], hour["growth"], strict=True
        ):
            told.append(f"  {name:<24} {first + grown:6.1f} MB ({grown:+.2f})")
    return told


if __name__ == "__main__":
    main()
