"""What the bridge does with its processor time under load.

    python benchmarks/where_time_goes.py [--sessions 50] [--seconds 12] [--runs 3]

An echo server under `bench`'s load (frames of 40 ms, full duplex), and py-spy looking fifty
times a second at what each of its threads computes. A look counts for the part of the bridge
that is innermost on the stack: numpy's time within the resampler is the resampler's, what Trio
does to wake a task is the loop's. Waiting counts for nothing. Shares are medians over the runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from trio_bridge.bench.fleet import started_server
from trio_bridge.bench.plan import SETTLE, Plan
from trio_bridge.bench.run import Progress, echo_look_ahead, run

PARTS = {
    "Trio: tasks, channels, epoll": ("trio/",),
    "resampling, PCM16": ("trio_bridge/audio/",),
    "Dora: rows, Arrow, sending, reading": ("trio_bridge/dora/", "pyarrow/"),
    "WebSocket and its socket": ("trio_bridge/doors/", "websockets/"),
    "JSON, base64, dialects": ("trio_bridge/realtime/wire", "trio_bridge/realtime/beta"),
    "protocol: turns, responses, pacing": ("trio_bridge/realtime/",),
    "session: reader, hearing, speaking, pump": ("trio_bridge/",),
}
"""Parts, and how the paths of their files begin. Of several the first counts."""

WAITING = ("EpollIOManager.get_events", "Inbox._read")
"""Where a thread stands that waits, as far as py-spy does not know it."""

LOOKS = 50
"""A second."""


def part_of(stack: list[str]) -> str | None:
    """What a look counts for, the innermost function last; None for none."""
    if stack[-1].startswith(WAITING):
        return None
    for function in reversed(stack):
        path = function.rpartition("(")[2]
        for part, beginnings in PARTS.items():
            if path.startswith(beginnings):
                return part
    return "the rest"


def shares(raw: str) -> dict[str, float]:
    """Each part's share of the looks."""
    looks: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        part = part_of(stack.split(";"))
        if part is not None:
            looks[part] += int(number)
    return {part: number / looks.total() for part, number in looks.items()}


async def once(sessions: int, seconds: float) -> tuple[dict[str, float], dict[str, Any]]:
    """One run: the shares, and what `bench` measured."""
    all_joined = trio.Event()

    def show(progress: Progress) -> None:
        if progress.joined == sessions:
            all_joined.set()

    with tempfile.TemporaryDirectory() as folder:
        looks = Path(folder) / "looks"

        async def look(pid: int) -> None:
            await all_joined.wait()
            await trio.sleep(SETTLE)
            how = ["-d", str(round(seconds - 2)), "-r", str(LOOKS)]
            what = ["-p", str(pid), "-f", "raw", "--function", "-o", str(looks)]
            await trio.run_process(
                ["py-spy", "record", *how, *what], capture_stdout=True, capture_stderr=True
            )

        async with (
            started_server(["--dataflow", "echo"], Path(folder) / "log") as (url, pid),
            trio.open_nursery() as nursery,
        ):
            plan = Plan(
                url=url,
                numbers=tuple(range(sessions)),
                of=sessions,
                frame_ms=40,
                seconds=seconds,
                ramp=0.02 * sessions,
                look_ahead=echo_look_ahead(),
                playout=0.06,
            )
            nursery.start_soon(look, pid)
            measured = await run(plan, 1, pid, show)
        return shares(looks.read_text()), measured


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    results = []
    for number in range(options.runs):
        found, measured = trio.run(once, options.sessions, options.seconds)
        results.append(found)
        print(
            f"run {number}: p99 {measured['added_delay_ms']['p99']:.1f} ms, "
            f"bridge {measured['processes']['bridge']['cores']:.2f} of a core",
            flush=True,
        )
    medians = {part: statistics.median(r.get(part, 0) for r in results) for part in results[0]}
    for part, share in sorted(medians.items(), key=lambda each: -each[1]):
        print(f"{share:6.1%}  {part}")


if __name__ == "__main__":
    main()
