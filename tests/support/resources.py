"""What a process holds, to see that it holds no more afterwards."""

from __future__ import annotations

import fcntl
import json
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from tests.support.server import RunningServer, children_of, resident_mb
from trio_bridge.dora.runtimes.shared_memory import SHARED_MEMORY, mapped_segments


@frozen
class Resources:
    """What the bridge and everything below it holds."""

    threads: int
    files: int
    processes: int
    memory_mb: float
    node_sessions: int


def segments_of(pids: Iterable[int]) -> set[str]:
    """Shared memory of Dora's transport that processes use, by name."""
    return {segment for pid in pids for segment in mapped_segments(pid)}


def used_by(pids: Iterable[int]) -> set[str]:
    """The same, where some of the processes may have ended meanwhile."""
    found: set[str] = set()
    for pid in pids:
        try:
            found |= segments_of([pid])
        except OSError:
            continue
    return found


def command(pid: int) -> str:
    """A process's command line, its words apart by NUL; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").strip("\0")
    except OSError:
        return ""


def all_segments() -> set[str]:
    """Shared memory of Dora's transport on this machine, by name."""
    return {path.name for path in SHARED_MEMORY.glob("*.zenoh")}


def health(server: RunningServer) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.http_url}/health", timeout=5) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


def is_warm(server: RunningServer, other_than: str) -> bool:
    """Whether an instance takes sessions that is not the one of that name."""
    flows = health(server)["dataflows"]
    return any(flow["state"] == "warm" and flow["name"] != other_than for flow in flows)


async def settled(server: RunningServer, seconds: float = 10.0) -> Resources:
    """The resources once no session is left anywhere; waits for it, bounded."""
    deadline = trio.current_time() + seconds
    while True:
        answer = await trio.to_thread.run_sync(health, server)
        held = sum(sum(instance["nodeSessions"].values()) for instance in answer["dataflows"])
        if (answer["activeSessions"] == 0 and held == 0) or trio.current_time() > deadline:
            break
        await trio.sleep(0.1)
    pid = server.process.pid
    # The last look at its health holds a connection open for a moment.
    files = []
    for _ in range(15):
        files.append(count(pid, "fd"))
        await trio.sleep(0.1)
    return Resources(
        threads=count(pid, "task"),
        files=min(files),
        processes=len(children_of(pid)),
        memory_mb=resident_mb(pid),
        node_sessions=held,
    )


def count(pid: int, what: str) -> int:
    """Entries of a folder of /proc/PID."""
    return len(list(Path(f"/proc/{pid}/{what}").iterdir()))


def abandoned_segments() -> set[str]:
    """Shared memory of Dora's transport that no process holds any more (whoever uses a segment
    holds a shared lock on it): other dataflows on this machine do not count."""
    found = set()
    for path in SHARED_MEMORY.glob("*.zenoh"):
        try:
            with path.open("rb") as segment:
                fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.add(path.name)
        except OSError:
            continue
    return found
