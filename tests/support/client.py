"""A plain client for tests and benchmarks: sends at fixed deadlines, notes when things came."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import trio
from attrs import define, field
from numpy.typing import NDArray
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler

RATE = 24_000
HANDSHAKE_WITHIN = 40.0


@define
class Arrival:
    """An event and when it came, on Trio's clock."""

    at: float
    event: dict[str, Any]


@define(eq=False)
class Client:
    """One connection. `events` holds all that has come; `wait_for` waits for more."""

    _ws: WebSocketConnection
    events: list[Arrival] = field(factory=list)
    closed: tuple[int, str] | None = None
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def send(self, event_type: str, **fields: Any) -> None:
        await self._ws.send_message(json.dumps({"type": event_type, **fields}))

    async def send_raw(self, message: str | bytes) -> None:
        await self._ws.send_message(message)

    async def receive(self) -> None:
        try:
            while True:
                message = await self._ws.get_message()
                self.events.append(Arrival(trio.current_time(), json.loads(message)))
                self._changed.unpark_all()
        except ConnectionClosed as exc:
            code = exc.reason.code if exc.reason is not None else 1006
            self.closed = (code, (exc.reason.reason if exc.reason else None) or "")
            self._changed.unpark_all()

    async def wait_for(
        self,
        event_type: str,
        *,
        after: int = 0,
        where: Callable[[dict[str, Any]], bool] = lambda _: True,
        timeout: float = 20.0,
    ) -> Arrival:
        """The first event of a type at or after index `after`."""
        seen = after
        with trio.move_on_after(timeout):
            while True:
                while seen < len(self.events):
                    arrival = self.events[seen]
                    seen += 1
                    if arrival.event["type"] == event_type and where(arrival.event):
                        return arrival
                if self.closed is not None:
                    break
                await self._changed.park()
        came = [arrival.event["type"] for arrival in self.events[after:]]
        raise AssertionError(f"no {event_type} came; closed: {self.closed}; came: {came[-40:]}")

    async def wait_until_open(self, timeout: float = 20.0) -> None:
        """Wait for the first event."""
        with trio.fail_after(timeout):
            while not self.events:
                await self._changed.park()
        first = self.events[0].event
        assert first["type"].endswith("session.created"), first

    async def wait_closed(self, timeout: float = 20.0) -> tuple[int, str]:
        with trio.fail_after(timeout):
            while self.closed is None:
                await self._changed.park()
        return self.closed

    def of_type(self, event_type: str, after: int = 0) -> list[dict[str, Any]]:
        return [a.event for a in self.events[after:] if a.event["type"] == event_type]

    def audio(self, after: int = 0) -> NDArray[np.float32]:
        """All audio received, 24 kHz."""
        deltas = self.of_type("response.output_audio.delta", after)
        pcm = b"".join(base64.b64decode(delta["delta"]) for delta in deltas)
        return (np.frombuffer(pcm, "<i2") / 32768).astype(np.float32)

    async def speak(
        self, samples: NDArray[np.float32], *, rate: int = 16_000, frame_ms: int = 20
    ) -> list[float]:
        """Append audio at real-time pace; returns when each frame was sent."""
        pcm = float32_to_pcm16(to_24k(samples, rate))
        size = RATE * frame_ms // 1000 * 2
        began = trio.current_time()
        sent = []
        for number, start in enumerate(range(0, len(pcm), size)):
            await trio.sleep_until(began + number * frame_ms / 1000)
            chunk = base64.b64encode(pcm[start : start + size]).decode()
            sent.append(trio.current_time())
            await self.send("input_audio_buffer.append", audio=chunk)
        return sent

    async def close(self) -> None:
        await self._ws.aclose(1000, "done")


def to_24k(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Resample a whole recording for the wire."""
    resampler = StreamResampler(rate, RATE, quality="best")
    return np.concatenate([resampler.process(samples), resampler.flush()])


@asynccontextmanager
async def connected(
    url: str, model: str = "test", *, headers: Mapping[str, str] | None = None, **query: str
) -> AsyncGenerator[Client, None]:
    """Connect, wait until the session is there, close on the way out.

    Args:
        url: The server's.
        model: What to ask for.
        headers: Sent with the request.
        query: Added to the address.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    # Not the library's `open_websocket_url`: it leaves the socket open when the server closes.
    stream = await trio.open_tcp_stream(parts.hostname, parts.port)
    async with stream, trio.open_nursery() as nursery:
        resource = f"{parts.path}?{urlencode({'model': model, **query})}"
        # Whoever listens there may be no server of ours, and never answer.
        with trio.fail_after(HANDSHAKE_WITHIN):
            ws = await wrap_client_stream(
                nursery,
                stream,
                parts.netloc,
                resource,
                extra_headers=[
                    (name.encode(), value.encode()) for name, value in (headers or {}).items()
                ],
                max_message_size=2**25,
            )
        client = Client(ws)
        nursery.start_soon(client.receive)
        await client.wait_until_open()
        yield client
        await client.close()
        nursery.cancel_scope.cancel()
