"""What processes of this machine use, by /proc: processor time and memory."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

from attrs import frozen

from trio_bridge.dora.runtimes.forks import STAND_IN
from trio_bridge.dora.runtimes.processes import parent_of, pids, stat_fields

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_NODES = "trio_bridge.nodes."


@frozen
class Process:
    """A process at one moment.

    Args:
        name: What it is in the bridge's world: `bridge`, a node's name, `dora daemon`…
        cpu: Seconds of processor time since it started.
        resident_mb: Memory in RAM that no file is behind. Of what several share, each has its
            part.
    """

    pid: int
    name: str
    cpu: float
    resident_mb: float


@frozen
class Usage:
    """What the server's processes, and the whole machine, have used until a moment.

    Args:
        processes: By pid; none if the server runs elsewhere.
        busy: Seconds of processor time of all that runs here, and of what the host has taken.
        at: The moment, on the clock of `time.monotonic`.
    """

    processes: dict[int, Process]
    busy: float
    at: float

    @classmethod
    def now(cls, root: int | None) -> Usage:
        """Look at the process `root` and all below it, and at the machine."""
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, steal = map(int, words)
        busy = (user + nice + system + irq + softirq + steal) * _TICK
        return cls({} if root is None else tree(root), busy, time.monotonic())


def tree(root: int) -> dict[int, Process]:
    """A process and all below it, by pid. One that ends meanwhile is left out."""
    children: dict[int, list[int]] = {}
    for pid in pids():
        if (fields := stat_fields(pid)) is not None:
            children.setdefault(parent_of(fields), []).append(pid)
    found: dict[int, Process] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting.extend(children.get(pid, ()))
        fields = stat_fields(pid)
        if fields is not None:
            cpu = (int(fields[11]) + int(fields[12])) * _TICK
            name = "bridge" if pid == root else _name(pid)
            found[pid] = Process(pid, name, cpu, _own_mb(pid))
    return found


def listener(port: int) -> int | None:
    """The process that listens on a TCP port here; None if there is none, or it is not ours
    to look at."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for pid in pids():
        try:
            if any(os.readlink(link) in sockets for link in Path(f"/proc/{pid}/fd").iterdir()):
                return pid
        except OSError:
            continue
    return None


def _listening(port: int) -> list[str]:
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                inodes.append(words[9])
    return inodes


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    for word in words:
        if word.startswith(_NODES):
            return word.removeprefix(_NODES)
        if Path(word).name == STAND_IN:
            return "stand-in"
    for at, word in enumerate(words):
        if word.endswith("/dora") and at + 1 < len(words):
            return f"dora {words[at + 1]}"
    return Path(words[0]).name


def _own_mb(pid: int) -> float:
    try:
        # Nodes share what they were forked with, and only this tells.
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss_Anon: +(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
