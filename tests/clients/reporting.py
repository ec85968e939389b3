"""What a client's program shares with the others: what it saw, how it speaks, what it reports.

A program runs scenarios, each on a connection of its own, and prints one JSON line for each:
`{"scenario": …, …facts}`, or `{"scenario": …, "failure": …}`. It judges nothing.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

FRAME_SECONDS = 0.04
BYTES_PER_SECOND = 48_000  # 24 kHz, PCM16, mono
SCENARIO_TIMEOUT = 60.0

QUESTION = "What is the weather in Paris?"
FORECAST = '{"sky": "sunny"}'
COUNT_A_LITTLE = "Count to five."
COUNT_LONG = "Count to sixty."
HEARD_BEFORE_BARGE_IN = 1.0
"""Seconds of an answer that are heard before the user speaks into it."""

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}

Facts = dict[str, Any]
Scenario = Callable[[], Awaitable[Facts]]


class Complaint(Exception):
    """The server, or the client's library, reported an error."""


class Seen:
    """What a client has seen, by kind, in the order it came."""

    def __init__(self) -> None:
        self._by_kind: dict[str, list[Any]] = {}
        self._end: BaseException | None = None
        self._changed = asyncio.Event()

    def add(self, kind: str, what: Any = None) -> None:
        self._by_kind.setdefault(kind, []).append(what)
        self._wake()

    def end(self, why: BaseException) -> None:
        """Nothing more will come: whoever waits is told why."""
        self._end = self._end or why
        self._wake()

    def of(self, kind: str) -> list[Any]:
        return self._by_kind.get(kind, [])

    async def wait(self, kind: str, count: int = 1) -> Any:
        """The `count`-th thing of a kind."""
        while len(self.of(kind)) < count:
            if self._end is not None:
                raise self._end
            await self._changed.wait()
        return self.of(kind)[count - 1]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def speak(send: Callable[[bytes], Awaitable[object]], recording: Path) -> None:
    """Send a recording (24 kHz PCM16) frame by frame, at real-time pace."""
    pcm = await asyncio.to_thread(recording.read_bytes)
    size = int(FRAME_SECONDS * BYTES_PER_SECOND)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, start in enumerate(range(0, len(pcm), size)):
        await asyncio.sleep(began + number * FRAME_SECONDS - loop.time())
        await send(pcm[start : start + size])


async def run_all(scenarios: Mapping[str, Scenario]) -> None:
    """Run the scenarios side by side; each prints its line when it ends."""
    await asyncio.gather(*(_run(name, scenario) for name, scenario in scenarios.items()))


async def _run(name: str, scenario: Scenario) -> None:
    try:
        facts = await asyncio.wait_for(scenario(), SCENARIO_TIMEOUT)
    except Exception:  # noqa: BLE001  # whatever a client raises is what is reported
        facts = {"failure": traceback.format_exc()}
    print(json.dumps({"scenario": name, **facts}), flush=True)  # noqa: T201
