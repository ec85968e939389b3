"""The processes of this machine, looked up in /proc (Linux)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen


@frozen
class ProcessId:
    """A process, told apart from a later one that got the same number."""

    pid: int
    started: int

    def kill(self) -> None:
        """Kill it, if it is still there."""
        try:
            # Its number cannot become another's between the look and the signal.
            watch = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if process(self.pid) == self:
                with suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(watch, signal.SIGKILL)
        finally:
            os.close(watch)

    def working_directory(self) -> str:
        """Where it runs; empty if it has ended."""
        try:
            return str(Path(f"/proc/{self.pid}/cwd").readlink())
        except OSError:
            return ""

    def environment(self, name: str) -> str:
        """A variable of the environment it was started with; empty if it has none."""
        try:
            entries = Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return ""
        start = f"{name}=".encode()
        values = (e.removeprefix(start) for e in entries if e.startswith(start))
        return next(values, b"").decode(errors="replace")

    def has_socket(self) -> bool:
        """Whether it has any socket open."""
        try:
            files = list(Path(f"/proc/{self.pid}/fd").iterdir())
        except OSError:
            return False
        for file in files:
            with suppress(OSError):
                if str(file.readlink()).startswith("socket:"):
                    return True
        return False


def pids() -> Iterator[int]:
    """The numbers of all processes."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on, the state; None for no process, or one
    that is not ours to look at."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The program's name, in brackets, may hold any bytes.
    return content[content.rindex(b")") + 2 :].decode().split()


def _ended(fields: list[str]) -> bool:
    # A zombie: only its parent has not looked yet, which may be long in coming.
    return fields[0] in {"Z", "X"}


def parent_of(fields: list[str]) -> int:
    """The parent, of a process with these fields."""
    return int(fields[1])


def process(pid: int) -> ProcessId | None:
    """The process that has this number now and has not ended."""
    fields = stat_fields(pid)
    return None if fields is None or _ended(fields) else ProcessId(pid, int(fields[19]))


def child_of(parent: int, pid: int) -> ProcessId | None:
    """The process `pid` if `parent` started it and it still runs. Looks at that one only:
    reading all of /proc takes milliseconds."""
    fields = stat_fields(pid)
    if fields is None or _ended(fields) or parent_of(fields) != parent:
        return None
    return ProcessId(pid, int(fields[19]))


def children_of(parent: int) -> list[ProcessId]:
    """The processes that `parent` has started and that still run."""
    return [child for pid in pids() if (child := child_of(parent, pid)) is not None]


def started_with(name: str, value: str) -> list[ProcessId]:
    """The processes that were started with a variable of the environment: whoever their parent
    is, also when the one that started them has died."""
    found = (each for pid in pids() if (each := process(pid)) is not None)
    return [each for each in found if each.environment(name) == value]
