"""Recognisers in worker processes, and the utterances that take turns with them.

An utterance takes a free recogniser with its first audio, and keeps it until its transcript is
there. While none is free its audio is kept, and recognised as fast as the machine can once one
is; the wait is part of its transcript. Whose turn it is then, who may not take the last free
ones, and who is refused when too much waits, `turns.py` says.

One recogniser is started at once. From then on there is always one more, ready or loading, than
there are talkers, up to the limit: so a talker hardly ever waits for one to load, and a quiet
house pays for one.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field

from trio_bridge.dora.contract import Transcript
from trio_bridge.nodes.asr_worker import AUDIO, BEGIN, DROP, END
from trio_bridge.nodes.turns import BYTES_PER_SECOND, Turns, Utterance
from trio_bridge.nodes.worker_process import (
    WorkerLost,
    WorkerProcess,
    open_worker,
)

CHUNK: Final = BYTES_PER_SECOND // 10
"""Audio in one order, so that the recogniser looks up ten times a second of it."""

RETRY: Final = 1.0
"""Seconds before a recogniser that died is replaced, so that one that dies at once, every
time, does not eat the machine."""

WORKERS_LEAST: Final = 4
WORKERS_PER_CPU: Final = 2
"""A recogniser is busy for 19 to 29 % of the time that somebody speaks, so a processor carries
three at the least; two leave room for the other nodes. Four fit on any machine with the memory:
people seldom speak all at once, and who comes a little late is still ahead of the pause."""

MEMORY_SHARE: Final = 0.5
"""The part of the free memory that recognisers may take."""


def workers_for(cpus: int, memory: int | None, each: int) -> int:
    """How many recognisers a machine carries, given its processors, its free bytes and those
    that each recogniser takes."""
    limit = max(WORKERS_LEAST, WORKERS_PER_CPU * cpus)
    if memory is not None:
        limit = min(limit, int(memory * MEMORY_SHARE) // each)
    return max(limit, 1)


def free_memory() -> int | None:
    """Bytes of memory that are free for use; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def default_workers(each: int) -> int:
    """How many recognisers of so many bytes this machine carries now."""
    return workers_for(len(os.sched_getaffinity(0)), free_memory(), each)


@define(eq=False)
class DecoderPool:
    """Recognises many utterances with few recognisers.

    Args:
        command: What to run as a worker.
        limit: The most workers.
        emit: Called with every transcript: partial, and one final or failed per utterance
            that is not dropped.
        report: Called with news for the server's log.
        patience: Seconds without progress after which a worker counts as hung.
    """

    command: Sequence[str]
    limit: int
    emit: Callable[[Transcript], None]
    report: Callable[[str], None]
    patience: float
    pids: set[int] = field(factory=set, init=False)
    """The workers that are ready."""
    _turns: Turns = field(init=False)
    _free: deque[trio.MemorySendChannel[Utterance]] = field(factory=deque, init=False)
    _workers: int = field(default=0, init=False)
    _loading: int = field(default=0, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = Turns(self.limit)

    @property
    def free(self) -> int:
        """Workers that are ready and have nothing to do."""
        return len(self._free)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the workers until cancelled; started when the first is ready.

        Raises:
            WorkerLost: The first worker did not get ready.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._workers = 1
            await nursery.start(self._first)
            task_status.started()

    def begin(
        self, session_id: str, utterance_id: str, settings: Mapping[str, Any]
    ) -> Utterance:
        """An utterance begins."""
        return self._turns.begin(session_id, utterance_id, settings)

    def add(self, utterance: Utterance, pcm: bytes) -> None:
        """More audio of an utterance. If more waits than can be kept, the latest of the session
        with most waiting fails."""
        while not utterance.over:
            refused = self._turns.refused(utterance, len(pcm))
            if refused is None:
                break
            self._fail(refused, "recogniser_busy", "too much speech is waiting already")
        if utterance.over:
            return
        if self._turns.add(utterance, pcm, trio.current_time()):
            self._hand_out()
        utterance.wake()

    def end(self, utterance: Utterance, item_id: str | None) -> None:
        """All its audio is there."""
        utterance.item_id = item_id
        if utterance.over:
            utterance.ended = True
        elif self._turns.end(utterance, trio.current_time()):
            self._hand_out()
        self._tell_failure(utterance)
        utterance.wake()

    def drop(self, utterance: Utterance) -> None:
        """Nobody wants to know what was said. Its recogniser is free as soon as it has got
        through the half second of audio that may be on its way to it."""
        utterance.over = utterance.dropped = True
        self._turns.drop(utterance)
        utterance.wake()

    def close(self, session_id: str) -> None:
        """A session has ended: all its utterances are dropped, and what it had is forgotten."""
        for utterance in self._turns.close(session_id):
            self.drop(utterance)

    def _fail(self, utterance: Utterance, code: str, message: str) -> None:
        if not utterance.over:
            utterance.failure = code, message
            self._tell_failure(utterance)
        self.drop(utterance)

    def _tell_failure(self, utterance: Utterance) -> None:
        if utterance.failure is not None and utterance.ended:
            code, message = utterance.failure
            self._emit(utterance, "failed", error_code=code, error=message)

    def _hand_out(self) -> None:
        while self._free:
            utterance = self._turns.next(trio.current_time())
            if utterance is None:
                break
            self._free.popleft().send_nowait(utterance)
        self._grow()

    def _grow(self) -> None:
        # One for everybody who waits, and one more, so that the next talker need not wait.
        if self._nursery is None or self._workers >= self.limit:
            return
        queued = self._turns.queued
        while self._workers < self.limit and self.free + self._loading <= queued:
            self._workers += 1
            self._loading += 1
            self._nursery.start_soon(self._replace_forever)

    async def _first(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._loading += 1
        await self._work(task_status)
        await self._replace_forever(RETRY)

    async def _replace_forever(self, delay: float = 0.0) -> None:
        while True:
            if delay:
                await trio.sleep(delay)
                self._loading += 1
            delay = RETRY
            try:
                await self._work(trio.TASK_STATUS_IGNORED)
            except WorkerLost as exc:
                self.report(f"{exc}; another is started")

    async def _work(self, task_status: trio.TaskStatus[None]) -> None:
        """One worker's life; it counts as loading already.

        Raises:
            WorkerLost: It never got ready.
        """
        loading = True
        try:
            async with open_worker(self.command, self.patience) as worker:
                self._loading -= 1
                loading = False
                self.pids.add(worker.pid)
                task_status.started()
                try:
                    while True:
                        await self._recognise(worker, await self._next(worker))
                except WorkerLost as exc:
                    self.report(f"{exc}; another is started")
                finally:
                    self.pids.discard(worker.pid)
        finally:
            self._loading -= loading

    async def _next(self, worker: WorkerProcess) -> Utterance:
        utterance = self._turns.next(trio.current_time())
        if utterance is not None:
            return utterance
        send, receive = trio.open_memory_channel[Utterance](1)
        self._free.append(send)
        utterances: list[Utterance] = []

        async def wait_for_work() -> None:
            utterances.append(await receive.receive())
            nursery.cancel_scope.cancel()

        async def watch_idle_worker() -> None:
            await worker.receive()
            raise WorkerLost("the recogniser spoke out of turn")

        lost: WorkerLost | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_work)
                nursery.start_soon(watch_idle_worker)
        except* WorkerLost as group:
            lost = first_lost(group)
        finally:
            if send in self._free:
                self._free.remove(send)
        if lost is None:
            return utterances[0]
        # It may have been handed over in the very moment in which the worker died.
        with suppress(trio.WouldBlock):
            utterances.append(receive.receive_nowait())
        for utterance in utterances:
            self._turns.put_back(utterance)
        self._hand_out()
        raise lost

    async def _recognise(self, worker: WorkerProcess, utterance: Utterance) -> None:
        lost: WorkerLost | None = None
        try:
            async with trio.open_nursery() as nursery:
                deadline = trio.CancelScope()
                nursery.start_soon(self._feed, worker, utterance, deadline)
                with deadline:
                    await self._hear(worker, utterance)
                if deadline.cancelled_caught:
                    raise WorkerLost("the recogniser hangs")
                nursery.cancel_scope.cancel()
        except* WorkerLost as group:
            lost = first_lost(group)
        if lost is not None:
            self._fail(utterance, "recogniser_failed", str(lost))
        self._turns.done(utterance)
        if lost is not None:
            # There may be a free one that only uploads waited for, and now one fewer has one.
            self._hand_out()
            raise lost

    async def _feed(
        self, worker: WorkerProcess, utterance: Utterance, deadline: trio.CancelScope
    ) -> None:
        await worker.send(BEGIN, json.dumps(utterance.settings).encode())
        while not utterance.dropped:
            changed = utterance.changed
            if utterance.pending:
                await worker.send(AUDIO, self._turns.take(utterance, CHUNK))
            elif utterance.ended:
                break
            else:
                await changed.wait()
        if not utterance.dropped:
            await worker.send(END)
            deadline.deadline = trio.current_time() + self.patience
            while not utterance.dropped:
                await utterance.changed.wait()
        await worker.send(DROP)
        deadline.deadline = trio.current_time() + self.patience

    async def _hear(self, worker: WorkerProcess, utterance: Utterance) -> None:
        while True:
            match await worker.receive():
                case {"partial": str(text)} if not utterance.over:
                    self._emit(utterance, "partial", text=text)
                case {"final": str(text), **more} if not utterance.dropped:
                    utterance.over = True
                    sure = more.get("logprobs")
                    logprobs = None if sure is None else json.dumps(sure)
                    self._emit(utterance, "final", text=text, logprobs=logprobs)
                    return
                case {"dropped": True}:
                    return

    def _emit(self, utterance: Utterance, event: str, **fields: Any) -> None:
        self.emit(
            Transcript(
                utterance.session_id,
                utterance.utterance_id,
                event,
                item_id=utterance.item_id,
                wait_ms=round(1000 * utterance.waited, 1),
                **fields,
            )
        )


def first_lost(group: BaseExceptionGroup[WorkerLost]) -> WorkerLost:
    """The first of what was lost: with a dead worker, orders and replies fail together."""
    first = group.exceptions[0]
    return first_lost(first) if isinstance(first, BaseExceptionGroup) else first
