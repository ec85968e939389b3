"""One run: so many sessions, carried by workers, measured together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import trio
from attrs import evolve, frozen

from trio_bridge.audio.resample import StreamResampler
from trio_bridge.bench.fleet import started_worker
from trio_bridge.bench.plan import Plan, Tally
from trio_bridge.bench.usage import Usage
from trio_bridge.bench.voice import SILENCE_MS

HEAD_START = 0.2
"""Seconds from the word to the beginning, so that all workers have heard it."""

TELL = 0.5
"""Seconds between two looks at the progress."""

VERY_LATE = 0.005
"""Seconds after which a send of the generator's own counts as late: delays measured in its
company are the generator's as well."""


@frozen
class Progress:
    """How far a run is."""

    sessions: int
    joined: int
    failed: int
    done: float
    """From 0 to 1."""


def echo_look_ahead() -> float:
    """Seconds that the filters of the echo dataflow hold back, rounded up to a sample each."""
    filters = [
        StreamResampler(24_000, 16_000, quality="best"),
        StreamResampler(16_000, 32_000, quality="fast"),
        StreamResampler(32_000, 24_000, quality="fast"),
    ]
    return sum(filter_.delay for filter_ in filters) + len(filters) / 24_000


async def run(
    plan: Plan, workers: int, server: int | None, show: Callable[[Progress], None]
) -> dict[str, Any]:
    """Carry out a plan.

    Args:
        plan: For all sessions together.
        workers: Processes that share them.
        server: The bridge's process, if it runs here.
        show: Is told of the progress.

    Returns:
        The figures; see `figures` and `spent`.

    Raises:
        BenchError: A worker does not do its work.
    """
    tally, usage = await carry_out(plan, workers, server, show)
    return figures(plan, tally) | spent(plan, tally, usage)


async def carry_out(
    plan: Plan, workers: int, server: int | None, show: Callable[[Progress], None]
) -> tuple[Tally, list[Usage]]:
    """What `run` does; returns what was seen, before it is made into figures."""
    tally = Tally()
    usage: list[Usage] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = [
            await stack.enter_async_context(started_worker(folder / f"{number}.npz"))
            for number in range(workers)
        ]
        async with trio.open_nursery() as nursery:
            for number, worker in enumerate(fleet):
                share = evolve(plan, numbers=plan.numbers[number::workers])
                nursery.start_soon(worker.prepare, share)
        begun = time.monotonic() + HEAD_START

        sampled = trio.Event()

        async def watch() -> None:
            while True:
                joined = sum(worker.joined for worker in fleet)
                failed = sum(worker.failed for worker in fleet)
                done = min(1.0, max(0.0, (time.monotonic() - begun) / plan.measured_until))
                show(Progress(plan.of, joined, failed, done))
                await trio.sleep(TELL)

        async def sample() -> None:
            for moment in (plan.measured_from, plan.measured_until):
                await trio.sleep(begun + moment - time.monotonic())
                usage.append(Usage.now(server))
            sampled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nursery.start_soon(sample)
            async with trio.open_nursery() as running:
                for worker in fleet:
                    running.start_soon(worker.run, begun)
            # If all sessions are over early, so are the workers, and nothing was measured.
            if time.monotonic() >= begun + plan.measured_until:
                await sampled.wait()
            nursery.cancel_scope.cancel()
        for worker in fleet:
            await trio.to_thread.run_sync(tally.add_saved, worker.saved)
    return tally, usage


def figures(plan: Plan, tally: Tally) -> dict[str, Any]:
    """What was seen, as a JSON object: times in milliseconds."""
    late = sum(seconds > VERY_LATE for seconds in tally.late_sends)
    return {
        "scenario": plan.scenario,
        "sessions": plan.of,
        "frame_ms": plan.frame_ms,
        "seconds": plan.seconds,
        "finished": tally.finished,
        "failures": [{"session": number, "why": why} for number, why in tally.failures],
        **(_echo(plan, tally) if plan.scenario == "echo" else _voice(plan, tally)),
        "created_ms": percentiles(tally.created),
        "playback": {
            "lateness_ms": percentiles(tally.lateness),
            "buffer_ms": plan.playout * 1000,
            "underruns": tally.underruns,
            "stalled_seconds": tally.stalled,
        },
        "late_sends": {
            "ms": percentiles(tally.late_sends),
            "over_ms": VERY_LATE * 1000,
            "share": late / max(1, len(tally.late_sends)),
        },
    }


def _echo(plan: Plan, tally: Tally) -> dict[str, Any]:
    return {
        "frames": len(tally.added),
        "look_ahead_ms": plan.look_ahead * 1000,
        "added_delay_ms": percentiles(tally.added),
    }


def _voice(plan: Plan, tally: Tally) -> dict[str, Any]:
    return {
        "turns": tally.turns,
        "exact_transcripts": tally.exact,
        "silence_ms": SILENCE_MS,
        "answer_ms": percentiles(tally.answer),
        "answer_beyond_silence_ms": percentiles(tally.answer_beyond),
        "barge_ins": len(tally.barge_in),
        "barge_in_ms": percentiles(tally.barge_in),
    }


def spent(plan: Plan, tally: Tally, usage: list[Usage]) -> dict[str, Any]:
    """Processor (in cores) and memory (in MB) while measuring, as a JSON object."""
    generator = tally.worker_cpu / plan.seconds
    if len(usage) < 2:
        # All sessions were over before the end.
        return {"generator_cores": generator, "processes": {}, "other_cores": None}
    before, after = usage
    seconds = after.at - before.at
    processes: dict[str, dict[str, float]] = {}
    for pid, process in after.processes.items():
        if pid in before.processes:
            entry = processes.setdefault(process.name, {"cores": 0.0, "mb": 0.0})
            entry["cores"] += (process.cpu - before.processes[pid].cpu) / seconds
            entry["mb"] += process.resident_mb
    cores = sum(entry["cores"] for entry in processes.values())
    busy = (after.busy - before.busy) / seconds
    return {
        "generator_cores": generator,
        "processes": processes,
        "sessions_per_core": plan.of / cores if cores else None,
        "other_cores": max(0.0, busy - cores - generator),
    }


def percentiles(seconds: list[float]) -> dict[str, float] | None:
    """In milliseconds; None if there is nothing to tell."""
    if not seconds:
        return None
    ms = np.asarray(seconds) * 1000
    p50, p95, p99 = np.percentile(ms, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(ms.max())}
