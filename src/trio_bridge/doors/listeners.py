"""The sockets that listen at an address."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from trio_bridge.doors.backlog import Backlog
from trio_bridge.errors import AddressError

BACKLOG = 512
"""Connections the kernel may hold for us: a storm of a few hundred is answered, not refused."""


@asynccontextmanager
async def open_listeners(host: str, port: int) -> AsyncGenerator[list[Backlog], None]:
    """Listen; leaving the context closes what has not been closed yet.

    Raises:
        AddressError: The address cannot be had.
    """
    listeners = await _listen(host, port)
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


async def _listen(host: str, port: int) -> list[Backlog]:
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
        return [Backlog.of(listener) for listener in listeners]
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "the port is in use",
            errno.EACCES: "not permitted",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
        }
        inner = exc.errno if exc.errno is not None else getattr(exc.__cause__, "errno", None)
        why = reasons.get(inner or 0, exc.strerror or str(exc))
        raise AddressError(f"cannot listen on {host}:{port}: {why}") from exc
