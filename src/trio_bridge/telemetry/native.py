"""What others write to the server's standard output and error becomes entries of the log.

Others are native libraries, first of all: Dora's writes JSON to the one and warnings to the
other, and has no switch for either. Only what the server means to print, and the log, go where
the descriptors led.

The reader is a process of its own. What a crash says last is still in the pipe when this
process is gone. And whoever writes may hold the interpreter lock: no thread of this process
could then empty a full pipe.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import NoReturn

import structlog
from attrs import define, field

from trio_bridge.telemetry.log import configure_logging

log = structlog.get_logger(__name__)

STREAMS = {1: "stdout", 2: "stderr"}

QUIET = 0.02
"""Seconds without more after which a text is whole."""

TEXT_BYTES = 16 * 1024
"""A longer text is logged in parts, so that output without pauses is bounded too."""

BEHIND = 256
"""Texts that may wait for a standard error that nobody reads; further ones are counted only."""

DRAIN_TIMEOUT = 1.0
"""Seconds that the reader may take at the end; it takes one quiet moment."""

LINGER = 5.0
"""Seconds that the reader stays for a standard error that nobody reads."""

_CHUNK = 64 * 1024

# Every attachment after the first of a process: there is nothing amiss.
_HARMLESS = re.compile(
    r"warning: failed to set up tracing subscriber: .*\n\nCaused by:\n"
    r".*a global default trace dispatcher has already been set\n\nLocation:\n.*\n?"
)


@contextmanager
def output_logged(log_format: str, level: str) -> Generator[None, None, None]:
    """Set up logging (see `configure_logging`); within the context `sys.stdout` writes where it
    did, and all that comes to descriptors 1 and 2 goes into the log: as `debug` what comes to
    the output, as `warning` what comes to the error. For a process without threads so far."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in STREAMS}
    python_stdout = sys.stdout
    output = os.fdopen(kept[1], "w", encoding="utf-8", errors="replace")
    errors = os.fdopen(kept[2], "w", encoding="utf-8", errors="backslashreplace")
    with output, errors:
        configure_logging(log_format, level, errors)
        reader = _start_reader(kept[1])
        sys.stdout = output
        try:
            yield
        finally:
            output.flush()
            sys.stdout = python_stdout
            sys.stderr.flush()
            for number, descriptor in kept.items():
                os.dup2(descriptor, number)
            _wait_drained(reader)
            configure_logging(log_format, level)


def _start_reader(stdout: int) -> int:
    pipes = {number: os.pipe() for number in STREAMS}
    reader = os.fork()
    if reader == 0:
        # Whoever reads what the server prints waits for its end, not for the reader's.
        for descriptor in (stdout, *(write_end for _, write_end in pipes.values())):
            os.close(descriptor)
        _be_reader({read_end: STREAMS[number] for number, (read_end, _) in pipes.items()})
    for number, (read_end, write_end) in pipes.items():
        os.dup2(write_end, number)
        os.close(write_end)
        os.close(read_end)
    return reader


def _wait_drained(reader: int) -> None:
    watch = os.pidfd_open(reader)
    try:
        # What another process still holds, or nobody reads, does not keep us.
        select.select([watch], [], [], DRAIN_TIMEOUT)
    finally:
        os.close(watch)
    os.waitpid(reader, os.WNOHANG)


# --- the reader's process --------------------------------------------------------------------


def _be_reader(sources: dict[int, str]) -> NoReturn:
    try:
        # It ends with the pipes, after all who write to them: no signal that is meant for the
        # server's whole group or terminal may end it before.
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        logging.raiseExceptions = False
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(nothing, number)
        Reader(sources).run()
    finally:
        os._exit(0)


@define(eq=False)
class Reader:
    """Puts together what belongs together, and logs it in a thread: however slow the log is,
    the pipes are emptied.

    Args:
        sources: Descriptors to read → the names of the streams.
    """

    _sources: dict[int, str]
    _texts: dict[int, bytes] = field(init=False)
    _last: dict[int, float] = field(init=False)
    """When something came last, on the monotonic clock."""
    _queue: queue.Queue[tuple[str, str, int] | None] = field(init=False)
    _dropped: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._texts = dict.fromkeys(self._sources, b"")
        self._last = dict.fromkeys(self._sources, 0.0)
        self._queue = queue.Queue(BEHIND)

    def run(self) -> None:
        """Read until all writers have gone, and log what was read."""
        writer = threading.Thread(target=self._write, daemon=True)
        writer.start()
        open_sources = set(self._sources)
        while open_sources:
            quiet = QUIET if any(self._texts.values()) else None
            ready, _, _ = select.select(list(open_sources), [], [], quiet)
            # Each stream by itself: where one is never quiet the other has its say.
            before = time.monotonic() - QUIET
            silent = (d for d, last in self._last.items() if last <= before and d not in ready)
            self._end_texts(silent)
            for descriptor in ready:
                chunk = os.read(descriptor, _CHUNK)
                self._take(descriptor, chunk)
                self._last[descriptor] = time.monotonic()
                if not chunk:
                    open_sources.remove(descriptor)
        self._end_texts(self._texts)
        with suppress(queue.Full):
            self._queue.put(None, timeout=LINGER)
            writer.join(LINGER)

    def _take(self, descriptor: int, chunk: bytes) -> None:
        text = self._texts[descriptor] + chunk
        while len(text) > TEXT_BYTES:
            cut = text.rfind(b"\n", 0, TEXT_BYTES) + 1 or TEXT_BYTES
            self._end(descriptor, text[:cut])
            text = text[cut:]
        self._texts[descriptor] = text

    def _end_texts(self, descriptors: Iterable[int]) -> None:
        for descriptor in descriptors:
            self._end(descriptor, self._texts[descriptor])
            self._texts[descriptor] = b""

    def _end(self, descriptor: int, text: bytes) -> None:
        if not text.strip():
            return
        words = text.decode(errors="replace")
        try:
            self._queue.put_nowait((self._sources[descriptor], words, self._dropped))
        except queue.Full:
            self._dropped += 1
        else:
            self._dropped = 0

    def _write(self) -> None:
        while (entry := self._queue.get()) is not None:
            stream, text, dropped = entry
            if dropped:
                log.warning("foreign output was dropped", texts=dropped)
            for level, part in parts(stream, text):
                log.log(level, "foreign output", stream=stream, text=part)


def parts(stream: str, text: str) -> list[tuple[int, str]]:
    """The entries that a text makes, each with its level."""
    if stream == "stdout":
        return [(logging.DEBUG, text.strip("\n"))]
    found = [(logging.DEBUG, match[0].strip("\n")) for match in _HARMLESS.finditer(text)]
    if rest := _HARMLESS.sub("", text).strip("\n"):
        found.append((logging.WARNING, rest))
    return found
