"""A session on another dataflow, which should notice nothing."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import trio
from attrs import define, field
from numpy.typing import NDArray

from tests.support.client import RATE, Client, connected
from trio_bridge.audio.pcm import float32_to_pcm16

FRAME_SECONDS = 0.04
SHORTEST = RATE // 4
"""Samples it says at least."""

TOLERANCE = 0.02
"""Of the signal's amplitude of 0.5: two resamplers and PCM16 lie on the way."""

LONGEST_PAUSE = 1.0
"""Seconds without sound that count as noticed; dozens of milliseconds are heard by nobody with
a playback buffer, but this machine runs the failing part, and everything else, as well."""


def signal(start: int, count: int) -> NDArray[np.float32]:
    """A tone that wanders, so that a piece that is missing or out of place shows."""
    seconds = np.arange(start, start + count) / RATE
    phase = 2 * np.pi * (300 * seconds + 40 * np.sin(2 * np.pi * 0.7 * seconds))
    return np.asarray(0.5 * np.sin(phase), np.float32)


@define(eq=False)
class Bystander:
    """Speaks all the time to an echo, and looks at what comes back."""

    _client: Client
    _sent: int = field(default=0, init=False)
    _stopping: bool = field(default=False, init=False)
    _silent: trio.Event = field(factory=trio.Event, init=False)

    @property
    def closed(self) -> tuple[int, str] | None:
        """How its session was closed, if it was."""
        return self._client.closed

    async def talk(self) -> None:
        size = round(RATE * FRAME_SECONDS)
        began = trio.current_time()
        frame = 0
        while not (self._stopping and self._sent >= SHORTEST) and self._client.closed is None:
            await trio.sleep_until(began + frame * FRAME_SECONDS)
            pcm = float32_to_pcm16(signal(self._sent, size))
            try:
                await self._client.send(
                    "input_audio_buffer.append", audio=base64.b64encode(pcm).decode()
                )
            except Exception:  # noqa: BLE001  the connection has ended: `closed` says how
                break
            self._sent += size
            frame += 1
        self._silent.set()

    async def finish(self) -> str:
        """What it noticed; empty for nothing."""
        self._stopping = True
        if self._client.closed is None:
            await self._silent.wait()
            await self._client.send("input_audio_buffer.commit")
            await self._client.wait_for("response.done")
        if self._client.closed is not None:
            errors = [event["error"]["code"] for event in self._client.of_type("error")]
            code, reason = self._client.closed
            return f"`{', '.join(errors)}`, {int(code)} {reason}" if errors else f"{int(code)}"
        return "; ".join(self._noticed())

    @property
    def pause(self) -> float:
        """The longest time without sound."""
        deltas = "response.output_audio.delta"
        times = [a.at for a in self._client.events if a.event["type"] == deltas]
        return max((after - before for before, after in pairwise(times)), default=0.0)

    def _noticed(self) -> list[str]:
        noticed = []
        heard = self._client.audio()
        if len(heard) != self._sent:
            noticed.append(f"{self._sent} samples sent, {len(heard)} heard")
        else:
            # The filters settle in at the edges.
            inner = slice(2400, -2400)
            off = np.abs(heard - signal(0, self._sent))[inner].max()
            if off > TOLERANCE:
                noticed.append(f"a sound that is off by {off:.2f}")
        if self.pause > LONGEST_PAUSE:
            noticed.append(f"a pause of {self.pause:.1f} s")
        return noticed


@asynccontextmanager
async def bystander(url: str) -> AsyncGenerator[Bystander, None]:
    """One that talks until its `finish`."""
    async with connected(url, "echo") as client, trio.open_nursery() as nursery:
        await client.send(
            "session.update",
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}},
        )
        each = Bystander(client)
        nursery.start_soon(each.talk)
        yield each
        nursery.cancel_scope.cancel()
