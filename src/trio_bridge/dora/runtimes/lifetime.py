"""Child processes that never outlive us, and knowing when a process has ended (Linux)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio
from attrs import define

from trio_bridge.dora.runtimes.parent_death import before_exec

GENTLY = ("nice", "-n", "15") if shutil.which("nice") else ()
"""The `dora` program is an interpreter that loads 100 MB, 0.2 s of work. One that starts or
stops a dataflow must not take that time from the audio of the others. The nodes themselves have
the daemon's priority: what is lowered cannot be raised again."""

KILL_GRACE = 1.0
"""Seconds between asking a process to end and killing it. Coordinator and daemon take 5 ms."""

STOP_TIMEOUT = 3.0
"""Seconds until what was killed is no longer waited for: the kernel holds on to it."""


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
    """A child process in a process group of its own, killed by the kernel when we die.

    It is started from the calling thread, not one of Trio's: the kernel's promise is tied to
    the thread that forks, and Trio's threads end when they have been idle for a while. The
    group of its own keeps a terminal's Ctrl-C from it. A session of its own would do so too,
    but Linux weighs sessions against each other, whatever the priority of what runs in them:
    work of low priority in one would take its share of the other.
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
                process_group=0,
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

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._popen.kill()

    async def stop(self) -> None:
        """Ask it to end, kill it a second later; returns when it has ended, or does not even
        so."""
        with trio.move_on_after(STOP_TIMEOUT, shield=True):
            self._popen.terminate()
            with trio.move_on_after(KILL_GRACE):
                await self.wait()
            self._popen.kill()
            await self.wait()
