"""A worker process seen from the recognition node: orders out, replies in, under deadlines."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final

import trio
from attrs import define, field

from trio_bridge.nodes.asr_worker import order

PIPE_BYTES: Final = 16_384
"""Orders that may be under way: half a second of audio. A worker that is asked to drop what it
hears must first get through them."""

READY_WITHIN: Final = 60.0
"""Seconds for loading an engine and its model; PocketSphinx takes half a second."""

REPLY_BYTES: Final = 262_144
"""The longest reply line: the words of ten minutes, and how sure each is, are a fifth of it."""


_BEGINNING: Final = """
from trio_bridge.nodes.gently import import_gently
import_gently(["trio_bridge.nodes.asr_worker"])
from trio_bridge.nodes.asr_worker import main
main()
"""


class WorkerLost(Exception):
    """The worker died, hung or spoke nonsense; the message says which."""


def worker_command(engine: str) -> tuple[str, ...]:
    """The command that runs a worker."""
    # With `-m` it would begin as a node does, with imports that it does not need.
    return sys.executable, "-c", _BEGINNING, engine


@define(eq=False)
class WorkerProcess:
    """One worker. Open it with `open_worker`."""

    _popen: subprocess.Popen[bytes]
    _orders: trio.lowlevel.FdStream
    _replies: trio.lowlevel.FdStream
    _patience: float
    _unread: bytearray = field(factory=bytearray, init=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    async def send(self, letter: bytes, payload: bytes = b"") -> None:
        """Give an order.

        Raises:
            WorkerLost: It died, or has not taken an order for `patience` seconds.
        """
        try:
            with trio.fail_after(self._patience):
                await self._orders.send_all(order(letter, payload))
        except trio.TooSlowError as exc:
            raise WorkerLost("the recogniser hangs") from exc
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise WorkerLost("the recogniser died") from exc

    async def receive(self) -> dict[str, Any]:
        """The next reply, however long it takes.

        Raises:
            WorkerLost: It died.
        """
        while b"\n" not in self._unread:
            try:
                more = await self._replies.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise WorkerLost("the recogniser died") from exc
            if not more:
                raise WorkerLost("the recogniser died")
            if len(self._unread) > REPLY_BYTES:
                raise WorkerLost("the recogniser's reply has no end")
            self._unread += more
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread = bytearray(rest)
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError as exc:
            raise WorkerLost(f"the recogniser said {line[:80]!r}") from exc
        return reply


@asynccontextmanager
async def open_worker(
    command: Sequence[str], patience: float
) -> AsyncGenerator[WorkerProcess, None]:
    """Start a worker and wait until it is ready; leaving the context kills it.

    Args:
        command: What to run.
        patience: Seconds in which it takes an order.

    Raises:
        WorkerLost: It did not start, or was not ready within `READY_WITHIN` seconds.
    """
    # From this thread and not one of Trio's: the worker dies with the thread that forked it.
    try:
        popen = subprocess.Popen(  # noqa: S603, ASYNC220  the command is ours, fork is short
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError as exc:
        raise WorkerLost(f"the recogniser cannot be started: {exc.strerror}") from exc
    with ExitStack() as stack:
        # A killed process without children is gone in well under a millisecond.
        stack.callback(popen.wait)
        stack.callback(popen.kill)
        try:
            worker = _connect(popen, patience, stack)
        except OSError as exc:
            raise WorkerLost(f"the recogniser cannot be reached: {exc.strerror}") from exc
        try:
            with trio.fail_after(READY_WITHIN):
                first = await worker.receive()
        except trio.TooSlowError as exc:
            raise WorkerLost("the recogniser did not get ready") from exc
        if "failed" in first:
            raise WorkerLost(str(first["failed"]))
        yield worker


def _connect(
    popen: subprocess.Popen[bytes], patience: float, stack: ExitStack
) -> WorkerProcess:
    """Take over a worker's pipes; the stack closes them."""
    if popen.stdin is None or popen.stdout is None:
        raise RuntimeError("pipes were asked for")
    with popen.stdin, popen.stdout:
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(popen.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        orders = trio.lowlevel.FdStream(os.dup(popen.stdin.fileno()))
        stack.callback(orders.close)
        replies = trio.lowlevel.FdStream(os.dup(popen.stdout.fileno()))
        stack.callback(replies.close)
    return WorkerProcess(popen, orders, replies, patience)
