"""The server that forks the shipped nodes of a runtime, kept running (Linux).

What it does, and what it and the stand-ins say to each other: `nodes/fork_server.py`.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.backoff import STEADY, Backoff
from trio_bridge.dora.runtimes.lifetime import Child
from trio_bridge.nodes.fork_server import NODES, WAKE

log = structlog.get_logger(__name__)

FOLDER: Final = "forks"
"""Where stand-ins have their pipes, in a runtime's directory."""

STAND_IN: Final = "stand_in"
"""The file with their program, beside it."""

LOOK_INTERVAL: Final = 1.0
PATIENCE: Final = 15
"""Looks in a row at which a server has not taken notice of a stand-in, until it counts as hung.
It must have imported before: 0.4 s of work at a low priority, seconds on a busy machine.
"""

_SHELL: Final = "/bin/sh"
_MODULE: Final = "trio_bridge.nodes.fork_server"
_ALONE: Final = b"alone\n"
_STAND_IN: Final = """\
# What Dora starts in the place of a node that is forked.
trap '' INT
folder={folder}
how=alone
if [ -p "$folder/{wake}" ] && mkfifo "$folder/$$" 2>/dev/null; then
    echo 1<>"$folder/{wake}"
    # One read and no more: the kernel tells the node's end by it.
    read -r how what <"$folder/$$"
fi
case $how in
exit) exit "$what" ;;
signal) kill -s "$what" $$ ;;
alone) exec {python} -m {nodes}"$1" ;;
esac
exit 1
"""


@define(eq=False)
class Forks:
    """A fork server and what leads to it.

    Args:
        directory: The runtime's.
        env: The environment of its daemon.
    """

    directory: Path
    _env: Mapping[str, str]
    _child: Child | None = field(default=None, init=False)
    _wake: int = field(default=-1, init=False)
    """Open at this end as well, or what a stand-in has written would be gone with it."""

    @property
    def folder(self) -> Path:
        """Where a link of a stand-in's process number tells that of its node."""
        return self.directory / FOLDER

    def prepare(self) -> None:
        """Write what a stand-in needs, and start the server, if it can be had.

        Raises:
            OSError: The disk is full.
        """
        self.folder.mkdir()
        folder, python = shlex.quote(str(self.folder)), shlex.quote(sys.executable)
        script = _STAND_IN.format(folder=folder, wake=WAKE, python=python, nodes=NODES)
        (self.directory / STAND_IN).write_bytes(os.fsencode(script))
        self._start()

    def stand_in(self, module: str) -> dict[str, str]:
        """See `Ground.stand_in`."""
        if self._child is None or not module.startswith(NODES):
            return {}
        # Relative to the folder of an instance: no name of a directory has to be quoted.
        return {"path": _SHELL, "args": f"../{STAND_IN} {module.removeprefix(NODES)}"}

    def command(self, name: str) -> tuple[str, ...]:
        """See `Daemon.forked`."""
        return () if self._child is None else (_SHELL, str(self.directory / STAND_IN), name)

    async def keep(self) -> None:
        """Replace the server whenever it dies or hangs, until cancelled. Nodes that it has
        forked go on; as long as there is none, those that are to start begin as programs."""
        backoff = Backoff()
        while True:
            if self._child is not None:
                began = trio.current_time()
                code = await self._end_of(self._child)
                self._forget()
                log.warning(
                    "the fork server has died", exit_code=code, output=self._last_words()
                )
                if trio.current_time() - began >= STEADY:
                    backoff = Backoff()
            backoff.failed(trio.current_time())
            await trio.sleep_until(backoff.retry_at)
            self._start()

    async def close(self) -> None:
        """End the server."""
        if self._child is not None:
            await self._child.stop()
            self._forget()

    async def _end_of(self, child: Child) -> int:
        """Wait for the server's end; one that hangs is killed. Gives its exit code."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kill_if_hung, child)
            code = await child.wait()
            nursery.cancel_scope.cancel()
        return code

    async def _kill_if_hung(self, child: Child) -> None:
        unread = 0
        while unread < PATIENCE:
            await trio.sleep(LOOK_INTERVAL)
            waiting = fcntl.ioctl(self._wake, termios.FIONREAD, bytes(4))
            unread = unread + 1 if any(waiting) else 0
        child.kill()

    def _start(self) -> None:
        wake = self.folder / WAKE
        self._send_away()
        try:
            # A stand-in that has seen the last one may have made a file in its place.
            wake.unlink(missing_ok=True)
            os.mkfifo(wake, 0o600)
            self._wake = os.open(wake, os.O_RDWR | os.O_NONBLOCK)
            command = [sys.executable, "-m", _MODULE, str(self.folder)]
            self._child = Child.start(FOLDER, command, cwd=self.directory, env=self._env)
        except OSError as exc:
            log.warning("the fork server could not be started", reason=str(exc))
            self._forget()

    def _forget(self) -> None:
        """There is no server: nobody shall wait for it."""
        self._child = None
        (self.folder / WAKE).unlink(missing_ok=True)
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
        self._send_away()

    def _send_away(self) -> None:
        """Tell the nodes that wait to be forked to begin as programs."""
        for place in self.folder.iterdir():
            # One that has not opened its pipe yet waits for the next server.
            with suppress(OSError):
                pipe = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
                with open(pipe, "wb") as answer:
                    place.unlink()
                    answer.write(_ALONE)

    def _last_words(self) -> str:
        try:
            said = (self.directory / f"{FOLDER}.log").read_text(errors="replace")
        except OSError:
            return ""
        return said.strip().rpartition("\n")[2]
