"""The delay that the bridge adds: echo dataflow, frames at real-time pace.

    python benchmarks/echo_delay.py [--sessions 1,4] [--seconds 20] [--runs 3]
                                    [--frame-ms 20] [--json]

Every frame of a session is timed from when it was sent to when the audio of its last sample
has come back, beyond the look-ahead of the filters on the way (24→16, 16→32, 32→24 kHz). The
audio is checked as well: each session sends a tone of its own and must hear nothing else.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import trio
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.client import RATE, Client, connected
from tests.support.server import running_server

from trio_bridge.audio.resample import StreamResampler

SETTLE = 50
"""Frames not counted at the start: the first second holds the handshake's own costs."""

LEAVING = 5
"""Frames not counted at the end: all sessions leave at once, and that is a burst of its own.
What is measured is the delay while all of them talk."""

REST = 0.5
"""Seconds between the end of a session and the check of what it heard: all sessions of a run
end within a frame of each other."""


def look_ahead() -> int:
    """Samples at 24 kHz that the filters on the way hold back."""
    filters = [
        StreamResampler(24_000, 16_000, quality="best"),
        StreamResampler(16_000, 32_000, quality="fast"),
        StreamResampler(32_000, 24_000, quality="fast"),
    ]
    return round(sum(f.delay for f in filters) * RATE) + 3


def tone(number: int, seconds: float) -> NDArray[np.float32]:
    """A session's own tone: 300 Hz and 50 Hz more per session."""
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 50 * number) * t)).astype(np.float32)


async def one_session(
    url: str, number: int, seconds: float, delays: list[float], frame_ms: int = 20
) -> None:
    async with connected(url) as client:
        await client.send(
            "session.update",
            session={"type": "realtime", "audio": {"input": {"turn_detection": None}}},
        )
        await client.wait_for("session.updated")
        sent = tone(number, seconds)
        # Spread the sessions over a frame's time, as independent clients are.
        await trio.sleep(frame_ms / 1000 * (number * 0.618 % 1))
        times = await client.speak(sent, rate=RATE, frame_ms=frame_ms)
        await client.send("input_audio_buffer.commit")
        await client.wait_for("response.done")
        # The others may still be talking, and what is computed here would delay their clocks.
        await trio.sleep(REST)
        check_tone(client, number, len(sent))
        delays.extend(frame_delays(client, times, frame_ms)[SETTLE:-LEAVING])


def frame_delays(client: Client, times: list[float], frame_ms: int) -> list[float]:
    """Seconds from each frame's sending to the return of its last sample."""
    held_back = look_ahead()
    received, arrivals = 0, []
    for arrival in client.events:
        if arrival.event["type"] == "response.output_audio.delta":
            received += len(base64.b64decode(arrival.event["delta"])) // 2
            arrivals.append((received, arrival.at))
    totals = [total for total, _ in arrivals]
    delays = []
    for number, sent_at in enumerate(times):
        wanted = (number + 1) * RATE * frame_ms // 1000 - held_back
        place = int(np.searchsorted(totals, wanted))
        delays.append(arrivals[place][1] - sent_at)
    return delays


def check_tone(client: Client, number: int, length: int) -> None:
    """Nothing lost, nothing of anybody else: what came back is the session's tone alone."""
    heard = client.audio()
    assert abs(len(heard) - length) <= 4, f"sent {length} samples, got {len(heard)}"
    middle = heard[RATE // 10 : -RATE // 10].astype(np.float64)
    t = np.arange(len(middle)) / RATE
    angle = 2 * np.pi * (300 + 50 * number) * t
    basis = np.stack([np.sin(angle), np.cos(angle)])
    weights = np.linalg.lstsq(basis.T, middle, rcond=None)[0]
    residue = np.sqrt(np.mean((middle - weights @ basis) ** 2) / np.mean(middle**2))
    assert residue < 0.001, f"session {number} heard something else: residue {residue:.4f}"


def figures(delays: list[float]) -> dict[str, float]:
    p50, p95, p99 = (float(p) * 1000 for p in np.percentile(delays, [50, 95, 99]))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(delays) * 1000}


async def measure(
    sessions: int, seconds: float, runs: int, frame_ms: int
) -> list[dict[str, float]]:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        async with running_server(log, "--dataflow", "echo") as server:
            for _ in range(runs):
                delays: list[float] = []
                async with trio.open_nursery() as nursery:
                    for number in range(sessions):
                        nursery.start_soon(
                            one_session, server.ws_url, number, seconds, delays, frame_ms
                        )
                results.append(figures(delays))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", default="1,4")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--frame-ms", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # The measuring client keeps every event; its own collector would show up as delay.
    gc.disable()
    summary: dict[str, Any] = {"look_ahead_ms": look_ahead() / RATE * 1000}
    for sessions in map(int, options.sessions.split(",")):
        results = trio.run(measure, sessions, options.seconds, options.runs, options.frame_ms)
        medians = {key: float(np.median([r[key] for r in results])) for key in results[0]}
        summary[f"{sessions} sessions"] = {"median": medians, "runs": results}
        if not options.json:
            print(
                f"{sessions:3} session(s), {options.runs} runs, medians: "
                + ", ".join(
                    f"{key.removesuffix('_ms')} {value:.2f} ms"
                    for key, value in medians.items()
                ),
                flush=True,
            )
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        print(f"beyond a look-ahead of {summary['look_ahead_ms']:.2f} ms")


if __name__ == "__main__":
    main()
