"""What a broken dataflow costs the others: its nodes are stopped and killed, one by one.

    python benchmarks/broken_nodes.py [--sessions 20] [--signals STOP,KILL]
                                      [--frame-ms 40] [--replace] [--json]

Two dataflow instances run on one runtime, behind one server process: `voice`, which is broken
on purpose, and `echo`, on which the sessions run whose delay is measured, sample by sample
(nothing may be lost, nothing of anybody else heard). For every node of `voice` and each signal:
the delay of the others, and what the sessions of the broken dataflow were told. `--replace`
lets its replacement start meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import trio

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.echo_delay import figures, one_session
from tests.support.client import connected
from tests.support.server import children_of, is_running

import trio_bridge
from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.runtimes.supervision import open_supervisor
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.settings import ServerSettings, Settings

MARK = "places: "
NODES = ("speech_monitor", "asr", "chat", "tts")
SECONDS = 8
"""How long the echo sessions talk; the node is broken 3 s after they began."""

REPLACE = "--replace"


async def house() -> None:
    """The server process: both dataflows on one runtime, each behind a port of its own."""
    settings = Settings(server=ServerSettings(port=0))
    async with (
        open_supervisor() as supervisor,
        open_dora_backend(DoraSettings(dataflow="echo"), grounds=supervisor) as echo,
        open_dora_backend(DoraSettings(dataflow="voice"), grounds=supervisor) as voice,
        trio_bridge.open_bridge(settings, backend=echo) as echo_bridge,
        trio_bridge.open_bridge(settings, backend=voice) as voice_bridge,
    ):
        places = {
            "echo": echo_bridge.url,
            "voice": voice_bridge.url,
            "pids": dict(voice.instances[0].pids),
        }
        if REPLACE not in sys.argv:
            await supervisor.changing.acquire()  # No instance starts while it is held.
        gc.collect()
        gc.freeze()  # as the command does
        print(MARK + json.dumps(places), flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)


@asynccontextmanager
async def running_house() -> AsyncGenerator[tuple[trio.Process, dict[str, Any]], None]:
    process = await trio.lowlevel.open_process(
        [sys.executable, __file__, "--house", *({REPLACE} & set(sys.argv))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    said = b""
    # Dora writes to the standard output as well: the line that counts is marked.
    with trio.fail_after(60):
        while not (said.endswith(b"\n") and MARK in said.decode()):
            said += await process.stdout.receive_some()
    places = next(line for line in said.decode().splitlines() if line.startswith(MARK))
    try:
        yield process, json.loads(places.removeprefix(MARK))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 15):
            await process.stdin.aclose()
            await process.wait()
        if process.poll() is None:
            process.kill()


async def broken_session(url: str, told: list[dict[str, Any]]) -> None:
    async with connected(url) as client:
        code, reason = await client.wait_closed(timeout=30)
        errors = client.of_type("error")
        told.append(
            {
                "error": errors[-1]["error"]["code"] if errors else None,
                "close": code,
                "reason": reason,
                "at": trio.current_time(),
            }
        )


async def once(node: str, signum: int, sessions: int, frame_ms: int) -> dict[str, Any]:
    delays: list[float] = []
    told: list[dict[str, Any]] = []
    async with running_house() as (process, places):
        began = trio.current_time()
        broken_at = began
        async with trio.open_nursery() as nursery:
            for number in range(sessions):
                nursery.start_soon(
                    one_session, places["echo"], number, SECONDS, delays, frame_ms
                )
            for _ in range(3):
                nursery.start_soon(broken_session, places["voice"], told)
            await trio.sleep(3)
            broken_at = trio.current_time()
            os.kill(places["pids"][node], signum)
        children = children_of(process.pid)
        gone = not is_running(places["pids"][node])
    left = [pid for pid in children if is_running(pid)]
    return {
        "node": node,
        "signal": signal.Signals(signum).name,
        **figures(delays),
        "told": sorted({f"{t['error']}, {t['close']}: {t['reason']}" for t in told}),
        "told_after_s": max(t["at"] for t in told) - broken_at,
        "node_gone": gone,
        "left_behind": left,
    }


async def measure(
    sessions: int, signals: list[int], frame_ms: int, show: Callable[[dict[str, Any]], None]
) -> list[dict[str, Any]]:
    results = []
    for signum in signals:
        for node in NODES:
            results.append(await once(node, signum, sessions, frame_ms))
            show(results[-1])
    return results


def show(r: dict[str, Any]) -> None:
    print(
        f"{r['signal']:8} {r['node']:15} others: p50 {r['p50_ms']:.1f}"
        f" p99 {r['p99_ms']:.1f} max {r['max_ms']:.1f} ms; told after"
        f" {r['told_after_s']:.2f} s: {'; '.join(r['told'])};"
        f" left behind: {r['left_behind'] or 'nothing'}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--frame-ms", type=int, default=40)
    parser.add_argument("--signals", default="STOP,KILL")
    parser.add_argument(REPLACE, action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--house", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    # The measuring client keeps every event; its own collector would show up as delay.
    gc.disable()
    if options.house:
        gc.enable()
        trio.run(house)
        return
    signals = [getattr(signal, f"SIG{name}") for name in options.signals.split(",")]
    quiet = bool(options.json)
    results = trio.run(
        measure,
        options.sessions,
        signals,
        options.frame_ms,
        (lambda _: None) if quiet else show,
    )
    if quiet:
        print(json.dumps(results, indent=2))
    else:
        print(f"worst p99 of the others: {np.max([r['p99_ms'] for r in results]):.1f} ms")


if __name__ == "__main__":
    main()
