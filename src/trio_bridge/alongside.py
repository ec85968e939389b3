"""A task that runs for as long as a context is open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple

import trio

Args = TypeVarTuple("Args")


@asynccontextmanager
async def alongside(
    task: Callable[[*Args], Awaitable[object]], *args: *Args
) -> AsyncGenerator[None, None]:
    """Run a task; leaving the context cancels it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, *args)
        yield
        nursery.cancel_scope.cancel()
