"""Somebody's own Dora: a coordinator and daemons that no bridge has started."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import trio
from attrs import define

from trio_bridge.dora.runtimes.commands import program_path
from trio_bridge.dora.runtimes.lifetime import Child
from trio_bridge.dora.runtimes.processes import children_of


def free_port() -> int:
    """A port for somebody who cannot be given 0. It is none of those that the system gives to
    others, or it may be another's by the time it is listened on."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311  no secret
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def user_environment(directory: Path) -> dict[str, str]:
    """The environment of somebody who runs Dora, and keeps temporary files in a folder."""
    foreign = ("DORA_", "ZENOH_", "TRIO_BRIDGE_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return env | {"PATH": program_path(), "TMPDIR": str(directory), "RUST_BACKTRACE": "0"}


async def run_dora(
    words: Sequence[str], directory: Path, env: Mapping[str, str], prefix: Sequence[str] = ()
) -> CompletedProcess[bytes]:
    """Run one `dora` command; the prefix stands before it."""
    with trio.fail_after(40):
        return await trio.run_process(
            [*prefix, "dora", *words],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=directory,
            env=env,
        )


async def daemons_reported(
    count: int, directory: Path, env: Mapping[str, str], prefix: Sequence[str] = ()
) -> None:
    """Wait until so many daemons are known to the coordinator: they listen before that."""
    with trio.fail_after(10):
        while True:
            done = await run_dora(("cluster", "status"), directory, env, prefix)
            if done.stdout.count(b" ago ") == count:
                return
            await trio.sleep(0.02)


@define
class OwnDora:
    """A coordinator and a daemon."""

    directory: Path
    coordinator_port: int
    daemon_port: int
    coordinator: Child
    daemon: Child
    env: dict[str, str]

    async def command(self, *words: str) -> CompletedProcess[bytes]:
        return await run_dora(words, self.directory, self.env)

    async def start(self, file: Path, name: str) -> None:
        done = await self.command("start", str(file), "--detach", "--name", name)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    async def stop(self, name: str) -> None:
        done = await self.command("stop", "--name", name, "--grace-duration", "5s")
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    async def dataflows(self) -> dict[str, str]:
        """Name → status, of all that the coordinator knows."""
        done = await self.command("list", "--format", "json")
        rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        return {row["name"]: row["status"] for row in rows}

    def pid(self, words: str) -> int:
        """The process of a node of the daemon's, by its command line."""
        for process in children_of(self.daemon.pid):
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes().replace(b"\0", b" ")
            if words in command.decode():
                return process.pid
        raise AssertionError(f"no process runs {words}; a node said:\n{self.said()}")

    def said(self) -> str:
        """All that nodes have printed."""
        logs = sorted(self.directory.glob("**/log_*.jsonl"))
        return "\n".join(
            f"{log.stem}: {json.loads(line)['msg']}"
            for log in logs
            for line in log.read_text().splitlines()
        )


@asynccontextmanager
async def own_dora(directory: Path) -> AsyncGenerator[OwnDora, None]:
    """Run a coordinator and a daemon on free ports, in the way of a user, in a folder."""
    ports = (free_port(), free_port())
    env = user_environment(directory) | {"DORA_COORDINATOR_PORT": str(ports[0])}
    coordinate = ["dora", "coordinator", "--store", "memory", "--quiet"]
    serve = ["dora", "daemon", "--quiet", "--local-listen-port", f"{ports[1]}"]
    async with AsyncExitStack() as stack:
        children = []
        for words, port in ((coordinate, ports[0]), (serve, ports[1])):
            child = Child.start(words[1], words, cwd=directory, env=env)
            stack.push_async_callback(child.stop)
            children.append(child)
            await listening(port)
        await daemons_reported(1, directory, env)
        yield OwnDora(directory, ports[0], ports[1], children[0], children[1], env)


async def listening(port: int, seconds: float = 10) -> None:
    with trio.fail_after(seconds):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.02)
            else:
                return
