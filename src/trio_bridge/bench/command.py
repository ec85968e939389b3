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

from trio_bridge.bench.connection import Address, ConnectionFailed
from trio_bridge.bench.fleet import BenchError, started_server
from trio_bridge.bench.plan import Plan
from trio_bridge.bench.report import ProgressBar, lines
from trio_bridge.bench.run import echo_look_ahead, run
from trio_bridge.bench.usage import listener

RAMP_PER_SESSION = 0.02
"""Seconds between two sessions that join, unless asked otherwise."""


async def bench(options: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        The exit status: 1 if anything was lost, doubled, displaced or mixed up, or a session
        failed in another way.

    Raises:
        BenchError: The server or a worker cannot be started.
    """
    results: list[dict[str, Any]] = []
    bar = ProgressBar(sys.stderr)
    async with AsyncExitStack() as stack:
        url, server = await _server(options, stack)
        for sessions in options.sessions:
            ramp = RAMP_PER_SESSION * sessions if options.ramp is None else options.ramp
            plan = Plan(
                url=url,
                numbers=tuple(range(sessions)),
                of=sessions,
                frame_ms=options.frame_ms,
                seconds=options.seconds,
                ramp=ramp,
                look_ahead=_look_ahead(options.look_ahead_ms),
                playout=options.buffer_ms / 1000,
            )
            try:
                found = await run(plan, min(options.workers, sessions), server, bar.show)
            finally:
                bar.clear()
            results.append(found)
            if not options.json:
                print("\n".join(lines(found)), flush=True)  # noqa: T201
    if options.json:
        print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())  # noqa: T201
    return 1 if any(found["failures"] for found in results) else 0


def _look_ahead(milliseconds: float | None) -> float:
    return echo_look_ahead() if milliseconds is None else milliseconds / 1000


async def _server(options: argparse.Namespace, stack: AsyncExitStack) -> tuple[str, int | None]:
    """The address to call, and the process behind it if it runs here."""
    if options.url is None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return await stack.enter_async_context(
            started_server(["--dataflow", "echo"], folder / "server.log")
        )
    try:
        uri = Address.of(options.url).uri
    except ConnectionFailed as exc:
        raise BenchError(str(exc)) from exc
    return options.url, listener(uri.port) if _is_here(uri.host) else None


def _is_here(host: str) -> bool:
    try:
        return ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False
