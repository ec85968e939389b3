"""A worker of the load generator: a process that carries many sessions in one loop.

    plan on its input → "ready" → the moment to begin → progress … → figures in a file

It shares the machine with what it measures, so it is one plain loop over epoll rather than two
tasks for each session. What has come is first read from all sockets, with the time, and only
then looked at: the work for one session does not count as another's delay.
"""

from __future__ import annotations

import gc
import heapq
import select
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np

from trio_bridge.bench.connection import Address, Connection
from trio_bridge.bench.echo import EchoSession
from trio_bridge.bench.plan import Plan, Tally
from trio_bridge.bench.session import BenchSession
from trio_bridge.bench.speech import Speech
from trio_bridge.bench.voice import VoiceSession

GOLDEN = 0.618033988749895
"""Its multiples spread any number of sessions evenly over a frame's time."""

TELL = 0.5
"""Seconds between two lines of progress."""


class Worker:
    """All sessions of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.tally = Tally()
        self._poll = select.epoll()
        address = Address.of(plan.url, Path(plan.ca) if plan.ca else None, plan.key)
        speech = _speech(plan) if plan.scenario == "voice" else None
        self._sessions: list[BenchSession] = []
        for number in plan.numbers:
            connection = Connection(address, self._poll)
            self._sessions.append(
                EchoSession(number, plan, self.tally, connection)
                if speech is None
                else VoiceSession(number, plan, self.tally, connection, speech)
            )
        self._by_descriptor = {session.descriptor: session for session in self._sessions}
        self._due: list[tuple[float, int, BenchSession]] = []
        """When a session next has something to do: a heap."""

    def run(self, begun: float, out: TextIO) -> None:
        """Carry the sessions from `begun`, a time of `time.monotonic`, to their end."""
        plan = self._plan
        for session in self._sessions:
            session.begun = begun
            phase = session.number * GOLDEN % 1 * plan.frame_seconds
            joins = begun + plan.ramp * session.number / plan.of + phase
            heapq.heappush(self._due, (joins, session.number, session))
        marks = [begun + plan.measured_from, begun + plan.measured_until]
        give_up = begun + plan.measured_until + plan.finish
        processor: list[float] = []
        tell = begun
        while (now := time.monotonic()) < give_up:
            if now >= tell:
                tell = now + TELL
                print(
                    "progress",
                    len(self.tally.created),
                    len(self.tally.failures),
                    file=out,
                    flush=True,
                )
                if all(session.over for session in self._sessions):
                    break
            if len(processor) < len(marks) and now >= marks[len(processor)]:
                processor.append(time.process_time())
            self._act(now)
            self._wait(min(tell, self._due[0][0]) if self._due else tell)
        for session in self._sessions:
            session.fail(f"did not come to its end in {plan.finish:g} s")
        if len(processor) == len(marks):
            self.tally.worker_cpu = processor[1] - processor[0]

    def _act(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            due, number, session = self._due[0]
            if (next_due := session.act(now, due)) is None:
                heapq.heappop(self._due)
            else:
                heapq.heapreplace(self._due, (next_due, number, session))
            now = time.monotonic()

    def _wait(self, until: float) -> None:
        """Handle what comes, until then or a little earlier."""
        # epoll's own timeout is in whole milliseconds.
        if (patience := until - time.monotonic()) > 0:
            select.select((self._poll,), (), (), patience)
        come: list[tuple[BenchSession, bytes, float]] = []
        for descriptor, events in self._poll.poll(0):
            session = self._by_descriptor[descriptor]
            if events & select.EPOLLOUT:
                session.writable()
            elif (data := session.read()) is not None:
                come.append((session, data, time.monotonic()))
        for session, data, at in come:
            session.take(data, at)


def _speech(plan: Plan) -> Speech:
    with np.load(plan.speech) as saved:
        pcm = [saved[str(number)].tobytes() for number in range(len(saved.files))]
    return Speech.of(pcm, plan.frame_samples, plan.heard, repeated=plan.repeated)


def main() -> None:
    """Speak the worker's side of the protocol above; the file is the first argument."""
    plan = Plan.load(sys.stdin.buffer.readline())
    worker = Worker(plan)
    # A collection would hold up all sessions, and there is no garbage in circles to collect.
    gc.collect()
    gc.freeze()
    gc.disable()
    print("ready", flush=True)  # noqa: T201
    begun = float(sys.stdin.buffer.readline())
    worker.run(begun, sys.stdout)
    worker.tally.save(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
