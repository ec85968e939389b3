"""`bench`: the command."""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import trio
from attrs import define, evolve

from trio_bridge.bench.connection import Address, ConnectionFailed
from trio_bridge.bench.fleet import BenchError, started_server
from trio_bridge.bench.plan import Plan
from trio_bridge.bench.ramp import Ramp, holds
from trio_bridge.bench.rehearsal import Rehearsal
from trio_bridge.bench.report import ProgressBar, lines
from trio_bridge.bench.run import echo_look_ahead, run
from trio_bridge.bench.speech import Recording, built_in, from_files
from trio_bridge.bench.usage import listener

BOUND_MS = {"echo": 20.0, "voice": 500.0}
"""What p99 may be in a ramp unless asked otherwise."""


async def bench(options: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        The exit status: 1 if anything was lost, doubled, displaced or mixed up, or a session
        failed in another way; in a ramp, if not even the first step held.

    Raises:
        BenchError: The server or a worker cannot be started.
        SpeechError: The utterances of the voice scenario are of no use.
    """
    bar = ProgressBar(sys.stderr)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, server = await _server(options, stack, folder)
        plan = Plan(
            url=url,
            numbers=(),
            of=0,
            frame_ms=options.frame_ms,
            seconds=options.seconds,
            ramp=0.0,
            look_ahead=_look_ahead(options.look_ahead_ms),
            playout=options.buffer_ms / 1000,
            ca=None if options.ca is None else str(options.ca),
            key=options.key,
            scenario=options.scenario,
            barge_in=options.barge_in,
        )
        rehearsal = None
        if plan.scenario == "voice":
            recordings = await trio.to_thread.run_sync(_recordings, options.speech)
            rehearsal = Rehearsal(recordings, folder, bar.show)
        runs = _Runs(plan, options, server, bar, rehearsal)
        return await (_ramp(runs) if options.ramp else _in_turn(runs))


@define
class _Runs:
    """Runs of so many sessions each, told as they end."""

    plan: Plan
    options: argparse.Namespace
    _server: int | None
    _bar: ProgressBar
    _rehearsal: Rehearsal | None

    async def run(self, sessions: int) -> dict[str, Any]:
        plan = for_sessions(self.plan, sessions, self.options.connects_per_second)
        workers = min(self.options.workers, sessions)
        try:
            if self._rehearsal is not None:
                plan = await self._rehearsal.rehearsed(plan)
            found = await run(plan, workers, self._server, self._bar.show)
        finally:
            self._bar.clear()
        self.say("\n".join(lines(found)))
        return found

    def say(self, told: str) -> None:
        """Tell people, if it is they who want to know."""
        if not self.options.json:
            print(told, flush=True)  # noqa: T201

    def end(self, found: Any) -> None:
        """Tell programs."""
        if self.options.json:
            print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())  # noqa: T201


def for_sessions(plan: Plan, sessions: int, connects_per_second: float) -> Plan:
    """The plan for so many sessions."""
    numbers = tuple(range(sessions))
    return evolve(plan, numbers=numbers, of=sessions, ramp=sessions / connects_per_second)


async def _in_turn(runs: _Runs) -> int:
    results = [await runs.run(sessions) for sessions in runs.options.sessions]
    runs.end(results)
    return 1 if any(found["failures"] for found in results) else 0


async def _ramp(runs: _Runs) -> int:
    bound = runs.options.bound or BOUND_MS[runs.plan.scenario]
    ramp = Ramp(runs.options.sessions[0])
    steps: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    while (sessions := ramp.next()) is not None:
        found = await runs.run(sessions)
        held = holds(found, bound)
        ramp.tried(sessions, held=held)
        steps.append(found | {"held": held})
        if held and sessions == ramp.held:
            best = found
        runs.say(f"  {'holds' if held else 'does not hold'} (p99 within {bound:g} ms)\n")
    per_core = None if best is None else best.get("sessions_per_core")
    runs.say(
        f"{ramp.held} sessions hold, {ramp.not_held} do not"
        + (f"; {per_core:.0f} for each core of the server's" if per_core else "")
    )
    highest = {"sessions": ramp.held, "bound_ms": bound, "sessions_per_core": per_core}
    runs.end({"highest": highest, "steps": steps})
    return 0 if ramp.held else 1


def _recordings(files: list[Path] | None) -> list[Recording]:
    return from_files(files) if files else built_in()


def _look_ahead(milliseconds: float | None) -> float:
    return echo_look_ahead() if milliseconds is None else milliseconds / 1000


async def _server(
    options: argparse.Namespace, stack: AsyncExitStack, folder: Path
) -> tuple[str, int | None]:
    """The address to call, and the process behind it if it runs here."""
    if options.url is None:
        return await stack.enter_async_context(
            started_server(["--dataflow", options.scenario], folder / "server.log")
        )
    try:
        uri = Address.of(options.url, options.ca).uri
    except ConnectionFailed as exc:
        raise BenchError(str(exc)) from exc
    return options.url, listener(uri.port) if _is_here(uri.host) else None


def _is_here(host: str) -> bool:
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False
