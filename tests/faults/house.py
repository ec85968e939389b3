"""The server that the failures happen to, and what it holds."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, frozen
from trio_websocket import ConnectionRejected

from tests.support.bad_nodes import DATAFLOW
from tests.support.client import Client, connected
from tests.support.resources import all_segments, command, count, used_by
from tests.support.server import RunningServer, children_of, is_running, running_server

LET_GO = 5.0
"""Seconds within which what a failure leaves must have gone."""

POOLS = ("Trio thread", "Watchdog", "acc-", "app-", "net-", "rx-", "tx-", "tokio-rt-worker")
"""How the names of threads begin that serve the whole process: those that Trio keeps for the
next use, and Zenoh's, which it makes as they are first needed."""

MORE_FILES = 4
"""Files that may be open for a moment: a connection that closes, a command that runs."""


@frozen
class Holdings:
    """What a server and its processes hold."""

    processes: frozenset[int]
    programs: tuple[str, ...]
    threads: int
    files: int
    folders: frozenset[str]
    segments: frozenset[str]


@define(eq=False)
class House:
    """A running server with the dataflow `echo` and copies of the bad one, by their models."""

    server: RunningServer
    temporary: Path
    folder: Path

    @property
    def pid(self) -> int:
        """The server's process."""
        return self.server.process.pid

    def node_of(self, copy: str) -> int:
        """The process of the node of one of the copies."""
        script = str(self.folder / copy / "bad.py")
        (pid,) = (pid for pid in children_of(self.pid) if script in command(pid))
        return pid

    def child(self, name: str) -> int:
        """The coordinator's or the daemon's process."""
        (pid,) = (p for p in children_of(self.pid) if f"\0{name}\0--quiet" in command(p))
        return pid

    def holds(self) -> Holdings:
        """What it holds now."""
        processes = {pid for pid in children_of(self.pid) if is_running(pid)}
        return Holdings(
            frozenset(processes),
            tuple(sorted(program(pid) for pid in processes)),
            threads(self.pid),
            count(self.pid, "fd"),
            frozenset(path.name for path in self.temporary.iterdir()),
            frozenset(used_by({self.pid, *processes})),
        )

    async def left_since(self, before: Holdings) -> str:
        """What there is more than before, after all that had the time to go; empty: nothing."""
        left = "?"
        with trio.move_on_after(LET_GO):
            while left:
                await trio.sleep(0.1)
                left = "; ".join(self._left(before))
        return left

    def _left(self, before: Holdings) -> Iterator[str]:
        now = self.holds()
        if now.programs != before.programs:
            yield f"processes: {len(now.programs)}, and {len(before.programs)} before"
        gone = before.processes - now.processes
        orphans = [pid for pid in gone if is_running(pid)]
        if orphans:
            yield f"processes that nobody owns: {len(orphans)}"
        if now.threads > before.threads:
            yield f"{now.threads - before.threads} threads"
        if now.files > before.files + MORE_FILES:
            yield f"{now.files - before.files} open files"
        if len(now.folders) > len(before.folders):
            yield f"{len(now.folders) - len(before.folders)} folders"
        segments = (before.segments - now.segments) & all_segments()
        if segments:
            yield f"{len(segments)} segments of shared memory"


def threads(pid: int) -> int:
    """The threads of a process, without those of pools that a process has but one of."""
    names = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
    return sum(not name.startswith(POOLS) for name in names)


def program(pid: int) -> str:
    """What a process runs, without what changes from one to the next."""
    words = command(pid).split("\0")
    changing = ("trio_bridge-", *"0123456789")
    names = (word.rpartition("/")[2] for word in words if "trio_bridge-dora-" not in word)
    return " ".join(name for name in names if name and not name.startswith(changing))


@asynccontextmanager
async def open_house(
    folder: Path, copies: Sequence[str], *arguments: str
) -> AsyncGenerator[House, None]:
    """Start a server in a folder, which may have been another's; stop it on the way out."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    for name in copies:
        shutil.copytree(DATAFLOW.parent, folder / name, dirs_exist_ok=True)
    models = "".join(f'"{name}" = "{folder / name / DATAFLOW.name}"\n' for name in copies)
    config = folder / "config.toml"
    config.write_text(f'[dora]\ndataflow = "echo"\nmax_instances = 1\n[models]\n{models}')
    environment = {"TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("--config", str(config), *arguments)
    async with running_server(folder / "log", *options, env=environment) as server:
        yield House(server, temporary, folder)


async def ask(client: Client, text: str) -> None:
    """Have a session's node answer a text."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")


async def served(url: str, model: str) -> None:
    """Return once a new session has had an answer; tries until then, as a client would."""
    while True:
        try:
            async with connected(url, model) as client:
                await ask(client, "hello")
                done = await client.wait_for("response.done")
                if done.event["response"]["status"] == "completed":
                    return
        except* (ConnectionRejected, OSError, AssertionError):
            pass
        await trio.sleep(0.05)
