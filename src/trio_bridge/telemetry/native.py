"""What native code writes to the standard output goes to the log.

Dora's node library logs to the process's standard output, as JSON and without a switch to turn
it off (its filter can only be widened). A command whose output people and scripts read keeps
the descriptor for itself and hands the library a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
import trio

log = structlog.get_logger(__name__)

STDOUT = 1
LINE_BYTES = 4096
"""A longer line is logged in parts, so that output without line ends is bounded too."""


@asynccontextmanager
async def native_output_logged() -> AsyncGenerator[None, None]:
    """Within it `sys.stdout` writes where it did, and descriptor 1 into the log (debug)."""
    sys.stdout.flush()
    python_stdout, terminal = sys.stdout, os.dup(STDOUT)
    read_end, write_end = os.pipe()
    os.dup2(write_end, STDOUT)
    os.close(write_end)
    with os.fdopen(terminal, "w", encoding="utf-8", closefd=False) as sys.stdout:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_log_lines, read_end)
                try:
                    yield
                finally:
                    # Closes the pipe's last writing end, which ends the task.
                    os.dup2(terminal, STDOUT)
        finally:
            sys.stdout.flush()
            sys.stdout = python_stdout
            os.close(terminal)


async def _log_lines(read_end: int) -> None:
    async with trio.lowlevel.FdStream(read_end) as stream:
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                log.debug("native output", line=line.decode(errors="replace"))
        if rest:
            log.debug("native output", line=rest.decode(errors="replace"))
