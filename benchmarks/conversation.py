"""The two delays that make or break a conversation, with the default dataflow.

    python benchmarks/conversation.py [--talkers 1,4] [--runs 3] [--json]

*Answer*: from the end of speech to the first audio of the answer, beyond the silence that the
client asked for: counted from sending the frame in which `audio_end_ms` lies, the place in the
input at which that silence was complete. (Counted from the last sample louder than -35 dB of
the peak it is less, even negative: the detector takes a fading syllable for silence.)

*Barge-in*: from sending the frame that makes voice activity fire to the last audio delta of
the answer it interrupts (or to its `response.done`, if that is later), in the middle of a
long, paced answer. Which frame that is, is found
by running the node's own detector over the same audio.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trio
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import recordings
from tests.support.client import RATE, Client, connected, to_24k
from tests.support.server import running_server

from trio_bridge.audio.resample import StreamResampler
from trio_bridge.nodes.listening import Listener

FRAME = RATE // 50
SILENCE_MS = 500
DETECTION = {"type": "server_vad", "silence_duration_ms": SILENCE_MS}
NAMES = list(recordings.SPOKEN)


def quiet(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(RATE * seconds), np.float32)


async def configure(client: Client) -> None:
    await client.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}},
    )
    await client.wait_for("session.updated")


async def answer_delay(url: str, talker: int, delays: list[float]) -> None:
    """One voice turn; adds seconds beyond the silence asked for."""
    async with connected(url) as client:
        await configure(client)
        await trio.sleep(0.3 * talker)
        said = recordings.load(NAMES[talker % len(NAMES)])
        samples = np.concatenate([quiet(0.5), to_24k(said, 16_000), quiet(2)])
        sent = await client.speak(samples, rate=RATE)
        stopped = client.of_type("input_audio_buffer.speech_stopped")[-1]
        created = len(client.events) - 1
        while client.events[created].event is not stopped:
            created -= 1
        first = await client.wait_for("response.output_audio.delta", after=created)
        delays.append(first.at - sent[stopped["audio_end_ms"] * RATE // 1000 // FRAME])


def firing_frame(samples: NDArray[np.float32]) -> int:
    """The number of the 20 ms frame after which the monitor reports speech."""
    fired: list[str] = []
    listener = Listener("s", lambda row: fired.append(getattr(row, "event", "")), print)
    listener.configure(json.dumps({"turn_detection": DETECTION, "transcription": None}))
    resampler = StreamResampler(RATE, 16_000, quality="best")
    for number, start in enumerate(range(0, len(samples), FRAME)):
        listener.audio(resampler.process(samples[start : start + FRAME]))
        if "started" in fired:
            return number
    raise AssertionError("the detector hears no speech in this recording")


async def barge_in(url: str, talker: int, delays: list[float]) -> None:
    """Interrupt a long answer; adds seconds from the firing frame to the last audio delta."""
    interruption = np.concatenate(
        [quiet(1), to_24k(recordings.load(NAMES[0]), 16_000), quiet(0.2)]
    )
    frame = firing_frame(interruption)
    async with connected(url) as client:
        await configure(client)
        content = [{"type": "input_text", "text": "Count to sixty."}]
        await client.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": content},
        )
        await client.send("response.create")
        await client.wait_for("response.output_audio.delta")
        await trio.sleep(3 + 0.3 * talker)
        sent = await client.speak(interruption, rate=RATE)
        done = await client.wait_for("response.done")
        assert done.event["response"]["status_details"]["reason"] == "turn_detected"
        last = max(
            arrival.at
            for arrival in client.events[: client.events.index(done)]
            if arrival.event["type"] == "response.output_audio.delta"
        )
        assert last > sent[0], "the answer was over before it was interrupted"
        # The last delta may have left before the frame did; the end of the response never.
        delays.append(max(last, done.at) - sent[frame])


def summary(delays: Sequence[float]) -> dict[str, float]:
    ms = np.asarray(delays) * 1000
    return {
        "count": len(ms),
        "median_ms": float(np.median(ms)),
        "p95_ms": float(np.percentile(ms, 95)),
        "max_ms": float(ms.max()),
    }


async def measure(counts: Sequence[int], runs: int) -> dict[str, dict[str, float]]:
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        async with running_server(Path(folder) / "server.log") as server:
            for talkers in counts:
                for name, act in (("answer", answer_delay), ("barge-in", barge_in)):
                    delays: list[float] = []
                    for _ in range(runs):
                        async with trio.open_nursery() as nursery:
                            for talker in range(talkers):
                                nursery.start_soon(act, server.ws_url, talker, delays)
                    results[f"{name}, {talkers} talking"] = summary(delays)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--talkers", default="1,4")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # The measuring client keeps every event; its own collector would show up as delay.
    gc.disable()
    counts = [int(count) for count in options.talkers.split(",")]
    results = trio.run(measure, counts, options.runs)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for name, figures in results.items():
        print(
            f"{name}: median {figures['median_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms, "
            f"max {figures['max_ms']:.0f} ms ({figures['count']:.0f} measured)"
        )


if __name__ == "__main__":
    main()
