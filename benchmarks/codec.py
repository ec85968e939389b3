"""What the JSON codec costs per frame: `python benchmarks/codec.py`.

The figure to compare is a median over rounds; base64 is shown by itself, since no codec of
these events can do without it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import statistics
import timeit
from collections.abc import Callable

from trio_bridge.realtime.events import ResponseOutputAudioDelta, ResponseOutputTextDelta
from trio_bridge.realtime.wire import dump, load

ROUNDS = 15
CALLS = 2_000


def median_us(call: Callable[[], object]) -> float:
    """Microseconds per call: the median of `ROUNDS` rounds."""
    rounds = timeit.repeat(call, number=CALLS, repeat=ROUNDS)
    return statistics.median(rounds) / CALLS * 1e6


def show(name: str, total: float, encoding: float) -> None:
    print(
        f"{name:<44} {total:6.1f} us, base64 alone {encoding:5.1f} us, "
        f"beyond it {total - encoding:5.1f} us"
    )


def append(pcm_bytes: int) -> None:
    text = base64.b64encode(os.urandom(pcm_bytes)).decode()
    frame = json.dumps({"type": "input_audio_buffer.append", "audio": text})
    show(
        f"load append, {pcm_bytes / 48:.0f} ms, frame of {len(frame)} B",
        median_us(lambda: load(frame)),
        median_us(lambda: binascii.a2b_base64(text, strict_mode=True)),
    )


def delta(pcm_bytes: int) -> None:
    pcm = os.urandom(pcm_bytes)
    event = ResponseOutputAudioDelta("event_1", "resp_1", "item_1", 0, 0, pcm)
    show(
        f"dump audio delta, {pcm_bytes / 48:.0f} ms",
        median_us(lambda: dump(event)),
        median_us(lambda: binascii.b2a_base64(pcm, newline=False)),
    )


def main() -> None:
    for milliseconds in (20, 100):
        append(milliseconds * 48)
    for milliseconds in (20, 100):
        delta(milliseconds * 48)
    text = ResponseOutputTextDelta("event_1", "resp_1", "item_1", 0, 0, "hello ")
    show("dump text delta", median_us(lambda: dump(text)), 0.0)
    commit = '{"type":"input_audio_buffer.commit","event_id":"event_1"}'
    show("load commit", median_us(lambda: load(commit)), 0.0)


if __name__ == "__main__":
    main()
