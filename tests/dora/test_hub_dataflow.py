"""The dataflow of the hub's nodes as it ships, with stand-ins for the nodes."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
from tests.support.hub_nodes import write_dataflow

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backend import DoraBackend, open_dora_backend
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendBroken, BackendUnavailable
from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    BackendLost,
    Cancel,
    Capabilities,
    Commit,
    Configure,
    Credit,
    InputAudio,
    Respond,
    ResponseFinished,
    ResponseRequest,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Transcript,
)

pytestmark = pytest.mark.e2e

FRAME = 320


@asynccontextmanager
async def backend(folder: Path) -> AsyncGenerator[DoraBackend, None]:
    # One instance, so that the next session meets what the last one left.
    settings = DoraSettings(str(write_dataflow(folder)), max_instances=1)
    async with open_dora_backend(settings) as opened:
        yield opened


def ask(session: BackendSession, words: str, response_id: str = "r", **request: str) -> None:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": words}],
    }
    session.send(Respond(response_id, ResponseRequest((item,), **request)))  # type: ignore[arg-type]
    session.send(Credit(response_id, 1e9))


async def until(
    session: BackendSession, kind: type[BackendEvent], seconds: float = 15
) -> list[BackendEvent]:
    came: list[BackendEvent] = []
    with trio.fail_after(seconds):
        while not came or not isinstance(came[-1], kind):
            came.append(await session.events.receive())
    return came


def words_of(events: list[BackendEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, AudioDelta | TextDelta))


def seconds_of(events: list[BackendEvent]) -> float:
    audio = [e for e in events if isinstance(e, AudioDelta)]
    assert {e.sample_rate for e in audio} <= {32_000}
    return sum(len(e.samples) for e in audio) / 32_000


async def speak(session: BackendSession, loudness: float, seconds: float = 0.3) -> None:
    """Loud for a while, then silent for a second, at real-time pace."""
    for value, frames in ((loudness, int(seconds * 50)), (0.0, 50)):
        for _ in range(frames):
            session.send(InputAudio(np.full(FRAME, value, np.float32)))
            await trio.sleep(0.02)


async def test_answers_end_well_whatever_the_nodes_do(tmp_path: Path) -> None:
    """Sentences skipped, failed, never ended: each response has its text and one end."""
    async with backend(tmp_path) as opened:
        assert opened.capabilities == Capabilities()
        async with opened.session("one") as session:
            with pytest.raises(BackendUnavailable):
                async with opened.session("two"):
                    pass
            for question, status, words, seconds in (
                ("hello", "completed", "Hello there. How are you?", 0.5),
                ("skip", "completed", "One. --. Two.", 0.2),
                ("dots", "completed", "--.", 0.0),
                ("error", "failed", "Boom.", 0.0),
                ("half", "completed", "Fine. Boom.", 0.1),
                ("nothing", "completed", "", 0.0),
                ("unfinished", "completed", "That is all.", 0.3),
                ("hello", "completed", "Hello there. How are you?", 0.5),
            ):
                ask(session, question, f"r-{question}")
                events = await until(session, ResponseFinished)
                end = events[-1]
                assert isinstance(end, ResponseFinished)
                assert (question, end.status) == (question, status)
                assert words_of(events) == words
                assert seconds_of(events) == pytest.approx(seconds)
                if status == "failed":
                    assert end.failure is not None
                    assert "CUDA out of memory" in end.failure.message
            ask(session, "hello", "text", output_modality="text")
            events = await until(session, ResponseFinished)
            assert words_of(events) == "Hello there. How are you?"
            assert seconds_of(events) == 0


async def test_a_cancelled_answer_is_heard_no_more(tmp_path: Path) -> None:
    """Its nodes go on for a while; not a word of it gets into the next answer, nor into the
    next session."""
    async with backend(tmp_path) as opened:
        async with opened.session("one") as session:
            ask(session, "stream", "old")
            await until(session, AudioDelta)
            session.send(Cancel("old"))
            while session.events.waiting:
                session.events.receive_nowait()
            ask(session, "hello", "new")
            events = await until(session, ResponseFinished)
            assert {e.response_id for e in events} == {"new"}  # type: ignore[union-attr]
            assert words_of(events) == "Hello there. How are you?"
            ask(session, "stream", "left")
            await until(session, AudioDelta)
        async with opened.session("two") as session:
            ask(session, "hello", "second")
            events = await until(session, ResponseFinished)
            assert words_of(events) == "Hello there. How are you?"


async def test_turns_by_the_monitor_and_by_the_client(tmp_path: Path) -> None:
    """What was understood, what was not, and what failed: each turn gets its verdict."""
    async with backend(tmp_path) as opened, opened.session("one") as session:
        session.send(Configure({"type": "server_vad"}, None))
        for loudness, text, failed in (
            (0.5, "Say hello.", False),
            (0.1, "", False),
            (0.2, "", True),
        ):
            await speak(session, loudness)
            started, *_, final = await until(session, Transcript)
            assert isinstance(started, SpeechStarted)
            while not (isinstance(final, Transcript) and final.final):
                final = (await until(session, Transcript))[-1]
            assert final.utterance_id == started.utterance_id
            assert (final.text, final.failure is not None) == (text, failed)
            while session.events.waiting:
                assert isinstance(session.events.receive_nowait(), SpeechStopped)
        session.send(Configure(None, None))
        await speak(session, 0.5)
        session.send(Commit("item-1"))
        final = (await until(session, Transcript))[-1]
        while not (isinstance(final, Transcript) and final.final):
            final = (await until(session, Transcript))[-1]
        assert (final.item_id, final.text) == ("item-1", "Say hello.")


@pytest.mark.parametrize("node", ["primespeech", "maas-client"])
async def test_a_node_that_dies_ends_the_session(tmp_path: Path, node: str) -> None:
    async with backend(tmp_path) as opened, opened.session("one") as session:
        broken = opened.instances[0]
        os.kill(broken.pids[node], signal.SIGKILL)
        lost = (await until(session, BackendLost))[-1]
        assert isinstance(lost, BackendLost)
        assert node in lost.failure.message
        with trio.fail_after(5):
            while broken in opened.instances:  # noqa: ASYNC110  it tells nobody
                await trio.sleep(0.02)


async def test_an_upload_waits_with_its_client(tmp_path: Path) -> None:
    """A minute of audio in one go goes to the monitor as if it were spoken: its pauses would be
    over before they count, and its messages be more than may be unanswered."""
    async with backend(tmp_path) as opened, opened.session("one") as session:
        sent = 0
        with trio.move_on_after(1.5):
            for _ in range(3000):
                await session.room()
                session.send(InputAudio(np.zeros(FRAME, np.float32)))
                sent += 1
        assert 1.2 < sent * FRAME / 16_000 < 2.2
        assert opened.instances[0].warm
        assert opened.instances[0].problem is None


async def flood(session: BackendSession) -> None:
    for _ in range(2000):
        session.send(InputAudio(np.zeros(640, np.float32)))
        await trio.lowlevel.checkpoint()


async def test_a_hung_monitor_is_given_up_before_it_blocks_the_bridge(tmp_path: Path) -> None:
    """Dora would block at 4,000 messages, interpreter lock in hand."""
    async with backend(tmp_path) as opened, opened.session("one") as session:
        broken = opened.instances[0]
        os.kill(broken.pids["speech-monitor"], signal.SIGSTOP)
        with pytest.raises(BackendBroken, match="'speech-monitor' has left 321 messages"):
            await flood(session)
        with trio.fail_after(5):
            while broken in opened.instances:  # noqa: ASYNC110  it tells nobody
                await trio.sleep(0.02)
