"""Child processes that never outlive us, and knowing when a process has ended (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, frozen

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
"""Loaded here, not in the child: between fork and exec nothing may take a lock."""

KILL_GRACE = 1.0
"""Seconds between asking a process to end and killing it. Coordinator and daemon take 5 ms."""


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends.

    For worker processes: call it first thing in the worker. Start such workers from a thread
    that lives as long as they should (the main thread), not from a pool of threads. Without
    it workers outlive a killed node and hold its pipes, and Dora never notices that the node
    has gone.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the call; then no signal will ever come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def before_exec() -> None:
    """For `preexec_fn`: have the kernel kill the new process when the thread that forks ends.
    It must not be one of Trio's: those end when they have been idle for a while."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def wait_ended(pid: int) -> None:
    """Wait until a process, not necessarily a child, has ended."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(watch)
    finally:
        trio.lowlevel.notify_closing(watch)
        os.close(watch)


@define(eq=False)
class Child:
    """A child process in a session of its own, killed by the kernel when we die.

    It is started from the calling thread, not one of Trio's: the kernel's promise is tied to
    the thread that forks, and Trio's threads end when they have been idle for a while. The
    session of its own keeps a terminal's Ctrl-C from it.
    """

    name: str
    _popen: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> Child:
        """Start it; what it prints goes to `<cwd>/<name>.log`."""
        with (cwd / f"{name}.log").open("ab") as log:
            popen = subprocess.Popen(  # noqa: S603  # the command is ours
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec,  # noqa: PLW1509  # one system call, no locks
            )
        return cls(name, popen)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    async def wait(self) -> int:
        """Wait for its end; gives the exit code, negative for a signal."""
        if self._popen.poll() is None:
            await wait_ended(self._popen.pid)
        return self._popen.wait()

    async def stop(self) -> None:
        """Ask it to end, kill it a second later; returns when it has ended."""
        with trio.CancelScope(shield=True):
            self._popen.terminate()
            with trio.move_on_after(KILL_GRACE):
                await self.wait()
            self._popen.kill()
            await self.wait()


@frozen
class ProcessId:
    """A process, told apart from a later one that got the same number."""

    pid: int
    started: int

    def kill(self) -> None:
        """Kill it, if it is still there."""
        if _stat(self.pid) == (_stat(self.pid)[0], self.started):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

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
        values = (e.partition(b"=") for e in entries)
        return next(
            (v.decode(errors="replace") for k, _, v in values if k.decode() == name), ""
        )

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


def children_of(pid: int) -> list[ProcessId]:
    """The processes that `pid` has started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            parent, started = _stat(int(entry.name))
            if parent == pid:
                found.append(ProcessId(int(entry.name), started))
    return found


def started_with(name: str, value: str) -> list[ProcessId]:
    """The processes that were started with a variable of the environment: whoever their parent
    is, also when the one that started them has died."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    processes = (ProcessId(pid, _stat(pid)[1]) for pid in pids)
    return [process for process in processes if process.environment(name) == value]


def child_of(parent: int, pid: int) -> ProcessId | None:
    """The process `pid` if `parent` started it and it still runs. Looks at that one only:
    reading all of /proc takes milliseconds."""
    actual, started = _stat(pid)
    return ProcessId(pid, started) if actual == parent else None


def _stat(pid: int) -> tuple[int, int]:
    """Parent and start time (in clock ticks since boot); (-1, -1) for no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return -1, -1
    # The program's name, in brackets, may hold anything; after it come fields 3, 4, …
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), int(fields[19])
