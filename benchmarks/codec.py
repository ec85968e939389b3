"""What the JSON codec costs per frame, in either dialect: `python benchmarks/codec.py`.

The figure to compare is a median over rounds; base64 is shown by itself, since no codec of
these events can do without it, and so is that of the standard library, strict on the way in.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import statistics
import timeit
from collections.abc import Callable

import pybase64

from trio_bridge.realtime.events import (
    ResponseOutputAudioDelta,
    ResponseOutputTextDelta,
    ServerEvent,
)
from trio_bridge.realtime.wire import Codec, Dialect

ROUNDS = 15
CALLS = 2_000


def median_us(call: Callable[[], object]) -> float:
    """Microseconds per call: the median of `ROUNDS` rounds."""
    rounds = timeit.repeat(call, number=CALLS, repeat=ROUNDS)
    return statistics.median(rounds) / CALLS * 1e6


def show(name: str, total: float, encoding: float = 0.0, standard: float = 0.0) -> None:
    alone = f", base64 alone {encoding:4.1f} us (standard library {standard:4.1f} us)"
    print(f"{name:<48} {total:5.1f} us{alone if encoding else ''}")


def append(dialect: Dialect, pcm_bytes: int) -> None:
    text = base64.b64encode(os.urandom(pcm_bytes)).decode()
    frame = json.dumps({"type": "input_audio_buffer.append", "audio": text})
    load = Codec(dialect).load
    show(
        f"{dialect}: load append, {pcm_bytes / 48:.0f} ms, frame of {len(frame)} B",
        median_us(lambda: load(frame)),
        median_us(lambda: pybase64.b64decode(text, validate=True)),
        median_us(lambda: binascii.a2b_base64(text, strict_mode=True)),
    )


def delta(dialect: Dialect, pcm_bytes: int) -> None:
    pcm = os.urandom(pcm_bytes)
    event = ResponseOutputAudioDelta("event_1", "resp_1", "item_1", 0, 0, pcm)
    dump = Codec(dialect).dump
    show(
        f"{dialect}: dump audio delta, {pcm_bytes / 48:.0f} ms",
        median_us(lambda: dump(event)),
        median_us(lambda: pybase64.b64encode_as_string(pcm)),
        median_us(lambda: binascii.b2a_base64(pcm, newline=False).decode()),
    )


def others(dialect: Dialect) -> None:
    codec = Codec(dialect)
    text: ServerEvent = ResponseOutputTextDelta("event_1", "resp_1", "item_1", 0, 0, "hello ")
    show(f"{dialect}: dump text delta", median_us(lambda: codec.dump(text)))
    commit = '{"type":"input_audio_buffer.commit","event_id":"event_1"}'
    show(f"{dialect}: load commit", median_us(lambda: codec.load(commit)))


def main() -> None:
    dialects: tuple[Dialect, ...] = ("ga", "beta")
    for dialect in dialects:
        for milliseconds in (20, 100):
            append(dialect, milliseconds * 48)
        for milliseconds in (20, 100):
            delta(dialect, milliseconds * 48)
        others(dialect)


if __name__ == "__main__":
    main()
