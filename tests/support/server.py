"""The server as a user runs it: a process of its own, on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define

READY = "listening on "
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0


@define
class RunningServer:
    """A `python -m trio_bridge` that listens."""

    process: trio.Process
    http_url: str
    seconds_to_listen: float
    log: Path

    @property
    def ws_url(self) -> str:
        return self.http_url.replace("http", "ws", 1) + "/v1/realtime"

    async def stop(self, signum: int = signal.SIGTERM) -> float:
        """Signal it; returns the seconds until it had exited."""
        began = time.monotonic()
        self.process.send_signal(signum)
        with trio.fail_after(STOP_TIMEOUT):
            await self.process.wait()
        return time.monotonic() - began


@asynccontextmanager
async def running_server(
    log: Path, *arguments: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> AsyncGenerator[RunningServer, None]:
    """Start the server on a free port; stop it on the way out, whatever happened.

    Args:
        log: Where its standard error goes.
        arguments: More of its command line.
        env: Added to its environment.
        prefix: Stands before the command.
    """
    command: Sequence[str] = [
        *prefix,
        sys.executable,
        "-m",
        "trio_bridge",
        "--port",
        "0",
        *arguments,
    ]
    began = time.monotonic()
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
        )
    try:
        url = await _wait_until_ready(process, log)
        yield RunningServer(process, url, time.monotonic() - began, log)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_TIMEOUT):
            if process.poll() is None:
                process.terminate()
            await process.wait()
        if process.poll() is None:
            process.kill()


async def _wait_until_ready(process: trio.Process, log: Path) -> str:
    assert process.stdout is not None
    said = b""
    with trio.move_on_after(START_TIMEOUT):
        async for chunk in process.stdout:
            said += chunk
            for line in said.decode().splitlines():
                if line.startswith(READY):
                    return line.removeprefix(READY).strip()
    raise AssertionError(
        f"the server does not listen; it said {said!r} and logged:\n" + log.read_text()
    )


def children_of(pid: int) -> set[int]:
    """All processes below `pid`, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Look again and again at something outside this process that nobody announces."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.05)


def resident_mb(pid: int) -> float:
    """Resident memory of one process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no resident memory")
