"""Few recognisers for many utterances: real processes with an engine that is quick to start."""

import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, field
from tests.support.server import children_of

from trio_bridge.dora.contract import Transcript
from trio_bridge.nodes import decoder_pool, turns, worker_process
from trio_bridge.nodes.decoder_pool import DecoderPool, workers_for
from trio_bridge.nodes.recognition import POCKETSPHINX_MEMORY

FAKE = """
import os, signal, sys
from trio_bridge.dora.runtimes.parent_death import die_with_parent
from trio_bridge.nodes import asr_worker
from trio_bridge.nodes.recognition import Heard

class Echo:
    heard = b""
    def begin(self, settings): self.heard = b""
    def feed(self, pcm):
        if pcm == b"die": os._exit(1)
        if pcm == b"hang": signal.pause()
        self.heard += pcm
    def partial(self): return self.heard.decode()
    def finish(self):
        return Heard(self.heard.decode(), (("a", -0.5),) if self.heard == b"sure" else None)
    def drop(self): pass

die_with_parent()
asr_worker.PARTIAL_EVERY = 0.0
asr_worker.serve(Echo(), sys.stdin.buffer, sys.stdout.buffer)
"""


@define
class House:
    """A pool, and what it has emitted."""

    pool: DecoderPool
    said: list[Transcript] = field(factory=list)
    reports: list[str] = field(factory=list)
    changed: trio.Event = field(factory=trio.Event)

    def notice(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not condition():
                await self.changed.wait()

    async def last(self, utterance_id: str) -> Transcript:
        """The final or failed transcript of an utterance."""

        def found() -> list[Transcript]:
            mine = [t for t in self.said if t.utterance_id == utterance_id]
            return [t for t in mine if t.event != "partial"]

        await self.until(lambda: bool(found()))
        return found()[0]


@asynccontextmanager
async def a_house(limit: int, patience: float = 10) -> AsyncIterator[House]:
    house: House

    def emit(transcript: Transcript) -> None:
        house.said.append(transcript)
        house.notice()

    def report(line: str) -> None:
        house.reports.append(line)
        house.notice()

    house = House(DecoderPool([sys.executable, "-c", FAKE], limit, emit, report, patience))
    async with trio.open_nursery() as nursery:
        await nursery.start(house.pool.run)
        yield house
        nursery.cancel_scope.cancel()


@pytest.mark.e2e
async def test_one_recogniser_hears_one_utterance_after_another() -> None:
    async with a_house(1) as house:
        for n in range(2):
            utterance = house.pool.begin("s", f"u{n}", {})
            house.pool.add(utterance, b"hel")
            house.pool.add(utterance, b"lo")
            house.pool.end(utterance, "item")
            final = await house.last(f"u{n}")
            assert (final.event, final.text, final.item_id) == ("final", "hello", "item")


@pytest.mark.e2e
async def test_who_finds_none_free_is_heard_later_and_told_the_wait() -> None:
    async with a_house(1) as house:
        first = house.pool.begin("a", "u1", {})
        second = house.pool.begin("b", "u2", {})
        house.pool.add(first, b"talking")
        house.pool.add(second, b"patient")
        house.pool.end(second, None)
        await house.until(lambda: bool(house.said))
        assert {t.utterance_id for t in house.said} == {"u1"}
        house.pool.end(first, None)
        assert (await house.last("u1")).wait_ms == 0
        waited = await house.last("u2")
        assert waited.text == "patient"
        assert waited.wait_ms > 0


@pytest.mark.e2e
async def test_more_recognisers_come_as_they_are_needed() -> None:
    async with a_house(3) as house:
        assert len(house.pool.pids) == 1
        talkers = [house.pool.begin(str(n), f"u{n}", {}) for n in range(3)]
        for n, utterance in enumerate(talkers):
            house.pool.add(utterance, f"voice {n}".encode())
        # All speak on: none waits for another to end.
        expected = {f"voice {n}" for n in range(3)}
        await house.until(lambda: {t.text for t in house.said} == expected)
        assert len(house.pool.pids) == 3


@pytest.mark.e2e
@pytest.mark.parametrize("how", ["dies", "is killed", "hangs"])
async def test_a_lost_recogniser_fails_its_utterance_and_is_replaced(
    how: str,
) -> None:
    async with a_house(1, patience=0.5) as house:
        utterance = house.pool.begin("s", "u1", {})
        house.pool.add(utterance, b"hel")
        await house.until(lambda: bool(house.said))
        if how == "is killed":
            for pid in house.pool.pids:
                os.kill(pid, signal.SIGKILL)
        else:
            house.pool.add(utterance, b"die" if how == "dies" else b"hang")
        house.pool.end(utterance, "item")
        failed = await house.last("u1")
        assert (failed.event, failed.error_code) == ("failed", "recogniser_failed")
        assert failed.item_id == "item"
        again = house.pool.begin("s", "u2", {})
        house.pool.add(again, b"hello")
        house.pool.end(again, None)
        assert (await house.last("u2")).text == "hello"


@pytest.mark.e2e
async def test_a_recogniser_killed_while_idle_is_replaced() -> None:
    async with a_house(1) as house:
        for pid in house.pool.pids:
            os.kill(pid, signal.SIGKILL)
        await house.until(lambda: bool(house.reports))
        utterance = house.pool.begin("s", "u1", {})
        house.pool.add(utterance, b"hello")
        house.pool.end(utterance, None)
        assert (await house.last("u1")).text == "hello"


@pytest.mark.e2e
async def test_a_failure_is_told_when_its_item_is_known() -> None:
    """Push-to-talk: before its commit nobody knows whose the utterance is."""
    async with a_house(1) as house:
        utterance = house.pool.begin("s", "u1", {})
        house.pool.add(utterance, b"die")
        await house.until(lambda: bool(house.reports))
        assert house.said == []
        house.pool.end(utterance, "item")
        assert (await house.last("u1")).item_id == "item"


@pytest.mark.e2e
async def test_a_dropped_utterance_frees_its_recogniser_and_says_nothing() -> None:
    async with a_house(1) as house:
        dropped = house.pool.begin("a", "u1", {})
        house.pool.add(dropped, b"never mind")
        await house.until(lambda: bool(house.said))
        waiting = house.pool.begin("b", "u2", {})
        house.pool.add(waiting, b"hello")
        house.pool.end(waiting, None)
        house.pool.drop(dropped)
        assert (await house.last("u2")).text == "hello"
        assert not [t for t in house.said if t.utterance_id == "u1" and t.event != "partial"]


@pytest.mark.e2e
async def test_who_waits_and_is_dropped_leaves_the_queue() -> None:
    async with a_house(1) as house:
        first = house.pool.begin("a", "u1", {})
        house.pool.add(first, b"hel")
        waiting = house.pool.begin("b", "u2", {})
        house.pool.add(waiting, b"never mind")
        house.pool.drop(waiting)
        house.pool.add(first, b"lo")
        house.pool.end(first, None)
        assert (await house.last("u1")).text == "hello"
        assert {t.utterance_id for t in house.said} == {"u1"}


@pytest.mark.e2e
async def test_waiting_audio_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WAITING_EACH", 10)
    async with a_house(1) as house:
        house.pool.add(house.pool.begin("a", "u1", {}), b"talking")
        waiting = house.pool.begin("b", "u2", {})
        house.pool.add(waiting, b"x" * 10)
        house.pool.add(waiting, b"y")
        house.pool.add(waiting, b"z")
        house.pool.end(waiting, None)
        assert (await house.last("u2")).error_code == "recogniser_busy"


@pytest.mark.e2e
async def test_the_session_with_most_waiting_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "WAITING_ALL", 20)
    async with a_house(1) as house:
        house.pool.add(house.pool.begin("a", "u1", {}), b"hang")
        uploads = [house.pool.begin("b", f"u{n}", {}) for n in (2, 3)]
        for utterance in uploads:
            house.pool.add(utterance, b"x" * 8)
            house.pool.end(utterance, "item")
        newcomer = house.pool.begin("c", "u4", {})
        house.pool.add(newcomer, b"hello")
        refused = await house.last("u3")
        assert (refused.error_code, refused.item_id) == ("recogniser_busy", "item")
        assert not [t for t in house.said if t.utterance_id in ("u2", "u4")]


@pytest.mark.e2e
async def test_uploads_do_not_keep_a_speaker_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HURRY", 0.001)
    async with a_house(2) as house:
        for who in "ab":
            upload = house.pool.begin(who, f"upload {who}", {})
            house.pool.add(upload, b"x" * decoder_pool.CHUNK)
            house.pool.add(upload, b"hang")
            house.pool.end(upload, None)
        speaker = house.pool.begin("c", "u1", {})
        house.pool.add(speaker, b"hello")
        house.pool.end(speaker, None)
        assert (await house.last("u1")).text == "hello"
        assert {t.utterance_id for t in house.said} == {"upload a", "u1"}


@pytest.mark.e2e
async def test_an_engine_that_does_not_start_says_so(tmp_path: Path) -> None:
    pool = DecoderPool([sys.executable, str(tmp_path / "none.py")], 1, print, print, 10)
    with pytest.RaisesGroup(worker_process.WorkerLost, flatten_subgroups=True):
        await pool.run()


@pytest.mark.parametrize("call", ["subprocess.Popen", "fcntl.fcntl", "os.dup"])
async def test_a_worker_that_lacks_a_file_or_a_process_is_lost_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Such things pass: the pool tries again, and must not have gathered processes by then."""

    def refuse(*args: object, **more: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(call, refuse)
    before = children_of(os.getpid())
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(worker_process.WorkerLost, match="Too many open files"):
        async with worker_process.open_worker(command, 10):
            pass
    assert children_of(os.getpid()) == before


@pytest.mark.e2e
async def test_an_engine_that_cannot_load_its_model_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In its own words, not as a traceback."""
    monkeypatch.setenv("ASR_MODEL", str(tmp_path / "none"))
    pool = DecoderPool(worker_process.worker_command("faster-whisper"), 1, print, print, 10)
    why = pytest.RaisesExc(worker_process.WorkerLost, match="^ModelMissing: ASR_ENGINE=")
    with pytest.RaisesGroup(why, flatten_subgroups=True):
        await pool.run()


@pytest.mark.e2e
async def test_what_an_engine_is_sure_of_is_passed_on() -> None:
    async with a_house(1) as house:
        utterance = house.pool.begin("s", "u1", {})
        house.pool.add(utterance, b"sure")
        house.pool.end(utterance, None)
        assert (await house.last("u1")).logprobs == '[["a", -0.5]]'


@pytest.mark.e2e
async def test_leaving_the_pool_ends_its_processes() -> None:
    async with a_house(2) as house:
        pids = set(house.pool.pids)
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize(
    ("cpus", "memory", "workers"),
    [
        (1, None, 4),
        (2, 24 * 2**30, 4),
        (8, 24 * 2**30, 16),
        (8, 2**30, 4),
        (2, 100 * 2**20, 1),
    ],
)
def test_workers_follow_from_the_machine(cpus: int, memory: int | None, workers: int) -> None:
    assert workers_for(cpus, memory, POCKETSPHINX_MEMORY) == workers
