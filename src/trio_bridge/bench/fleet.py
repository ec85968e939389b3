"""The other processes of a run: the server, if it is ours to start, and the workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from trio_bridge.bench.plan import Plan
from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.parent_death import before_exec
from trio_bridge.errors import BridgeError

READY = b"listening on "
START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0

PREPARE_TIMEOUT = 120.0
"""Workers make all sound and all frames beforehand: some ms for each session."""


class BenchError(BridgeError):
    """The load generator cannot do its work."""


@asynccontextmanager
async def started_server(
    arguments: Sequence[str], log: Path
) -> AsyncGenerator[tuple[str, int], None]:
    """A server of our own, as the command starts it.

    Args:
        arguments: More of its command line.
        log: Where its standard error goes.

    Yields:
        Its WebSocket address and its process.

    Raises:
        BenchError: It does not start.
    """
    command = [sys.executable, "-m", "trio_bridge", "--port", "0", *arguments]
    with log.open("wb") as stderr:
        # Not with Trio's own means, which fork in a thread that ends: a server must not
        # outlive a generator that is killed. (Workers end when their pipes do.)
        process = subprocess.Popen(  # noqa: ASYNC220, S603  # a ms; the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=before_exec,  # noqa: PLW1509  # one system call, no locks
        )
    with process:
        assert process.stdout is not None  # noqa: S101
        async with (
            _ended(process),
            trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as out,
        ):
            yield await _address(out, log), process.pid


async def _address(output: trio.abc.ReceiveStream, log: Path) -> str:
    said = b""
    with trio.move_on_after(START_TIMEOUT):
        async for chunk in output:
            said += chunk
            for line in said.splitlines(keepends=True):
                if line.startswith(READY) and line.endswith(b"\n"):
                    http = line.removeprefix(READY).decode().strip()
                    return http.replace("http", "ws", 1) + "/v1/realtime"
    raise BenchError(f"the server did not start; its last words: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "(none)"


@define(eq=False)
class LoadWorker:
    """A worker of the load generator, seen from outside; see `worker.py` for what is said to it
    and what it answers."""

    process: trio.Process
    saved: Path
    joined: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _said: bytes = field(default=b"", init=False)

    async def prepare(self, plan: Plan) -> None:
        """Hand it its plan, and wait until it can begin."""
        await self._tell(plan.dump())
        with trio.move_on_after(PREPARE_TIMEOUT):
            if await self._line() == b"ready":
                return
        raise BenchError("a worker process did not start")

    async def run(self, begun: float) -> None:
        """Let it begin at `begun`; returns when it has saved what it saw."""
        await self._tell(f"{begun!r}\n".encode())
        while line := await self._line():
            _, joined, failed = line.split()
            self.joined, self.failed = int(joined), int(failed)
        if status := await self.process.wait():
            raise BenchError(f"a worker process ended with status {status}")

    async def _tell(self, line: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101
        try:
            await self.process.stdin.send_all(line)
        except trio.BrokenResourceError as exc:
            raise BenchError("a worker process has died") from exc

    async def _line(self) -> bytes:
        """The next line it prints; nothing at its end."""
        assert self.process.stdout is not None  # noqa: S101
        while b"\n" not in self._said:
            if not (chunk := await self.process.stdout.receive_some()):
                return b""
            self._said += chunk
        line, _, self._said = self._said.partition(b"\n")
        return line


@asynccontextmanager
async def started_worker(saved: Path) -> AsyncGenerator[LoadWorker, None]:
    """A worker that saves what it sees in a file."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trio_bridge.bench.worker", str(saved)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    async with _ended(process):
        yield LoadWorker(process, saved)


@asynccontextmanager
async def _ended(process: trio.Process | subprocess.Popen[bytes]) -> AsyncGenerator[None, None]:
    """Stops a process on the way out, gently at first."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_TIMEOUT):
            if process.poll() is None:
                process.terminate()
                await wait_ended(process.pid)
        if process.poll() is None:
            process.kill()
