"""faster-whisper as it is published, on a model made here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson
import pytest
import trio
from tests.engines.hearing import refusal, speech, transcripts, urgencies

from trio_bridge.nodes.asr import settings_from
from trio_bridge.nodes.asr_worker import AUDIO, BEGIN, END
from trio_bridge.nodes.decoder_pool import DecoderPool
from trio_bridge.nodes.local_model import ModelMissing
from trio_bridge.nodes.worker_process import WorkerLost, open_worker, worker_command

pytestmark = pytest.mark.engines

WORDS = "Go forward ten meters."


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Imported here, or the default run would need the packages to collect this file.
    from tests.engines.whisper_model import make_whisper

    folder = make_whisper(tmp_path / "model")
    monkeypatch.setenv("ASR_MODEL", str(folder))
    # Eight bits are too few for weights that are nearly all nothing.
    monkeypatch.setenv("ASR_COMPUTE_TYPE", "float32")
    # Several threads would wait for each other, and drafts not be made in time.
    monkeypatch.setenv("ASR_THREADS", "1")
    return folder


async def test_speech_becomes_partials_and_a_final(model: Path) -> None:
    *partials, final = await transcripts("faster-whisper", speech())
    assert partials
    assert {each.event for each in partials} == {"partial"}
    assert {each.text for each in partials} == {WORDS}
    assert (final.event, final.text, final.item_id) == ("final", WORDS, "item")
    assert final.logprobs is not None
    tokens = orjson.loads(final.logprobs)
    assert "".join(text for text, _ in tokens) == WORDS
    assert all(logprob <= 0 for _, logprob in tokens)


async def test_threads_that_compute_are_as_urgent_as_the_node(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread of low priority starts keeps that for good."""
    monkeypatch.setenv("ASR_THREADS", "4")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    async with open_worker(worker_command("faster-whisper"), 60) as worker:
        await worker.send(BEGIN, b"{}")
        await worker.send(AUDIO, speech()[:16_000])
        await worker.send(END)
        while "final" not in await worker.receive():
            pass
        threads = urgencies(worker.pid)
    assert len(threads) >= 4
    assert set(threads.values()) == {own}


async def test_each_word_has_a_probability_where_they_are_asked_for(model: Path) -> None:
    *_, final = await transcripts("faster-whisper", speech(), logprobs=True)
    assert final.text == WORDS
    assert final.logprobs is not None
    tokens = orjson.loads(final.logprobs)
    assert [text for text, _ in tokens] == ["Go", " forward", " ten", " meters."]
    assert all(-0.2 < logprob < 0 for _, logprob in tokens)


def test_the_model_is_weighed_before_workers_are_counted(model: Path) -> None:
    engine, workers = settings_from({**os.environ, "ASR_ENGINE": "faster-whisper"})
    assert engine == "faster-whisper"
    assert workers >= 1


@pytest.mark.parametrize("name", ["tokenizer.json", "model.bin", "vocabulary.json"])
def test_a_file_that_is_missing_is_named(model: Path, name: str) -> None:
    """The library itself would fetch a tokenizer."""
    (model / name).unlink()
    with pytest.raises(ModelMissing, match="hf download Systran/faster-whisper-base"):
        settings_from({**os.environ, "ASR_ENGINE": "faster-whisper"})


async def test_a_broken_model_is_told_in_one_line(model: Path) -> None:
    (model / "model.bin").write_bytes(b"nothing")
    pool = DecoderPool(worker_command("faster-whisper"), 1, print, print, 60)
    with pytest.RaisesGroup(
        pytest.RaisesExc(WorkerLost, match=r"^\w+: .*model"), flatten_subgroups=True
    ):
        await pool.run()


def test_nothing_is_looked_for_on_a_hub(model: Path) -> None:
    """The engine's own process, with every connection refused."""
    code = (
        "import os, socket\n"
        "def refuse(*args): raise SystemExit('it called out')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from trio_bridge.nodes.faster_whisper_engine import open_engine\n"
        "engine = open_engine(os.environ)\n"
        "engine.begin({}); engine.feed(bytes(32_000)); print(engine.finish().text)\n"
    )

    async def run() -> bytes:
        done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
        return done.stdout

    assert trio.run(run).decode().strip() == WORDS


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tokenizer.json", "hf download Systran/faster-whisper-base --local-dir"),
        ("model.bin", "the engine faster-whisper does not start: "),
    ],
)
async def test_the_bridge_shows_what_is_wrong(
    model: Path, monkeypatch: pytest.MonkeyPatch, file: str, words: str
) -> None:
    """One line, whether the file is missing or broken."""
    monkeypatch.setenv("ASR_ENGINE", "faster-whisper")
    if file == "model.bin":
        (model / file).write_bytes(b"nothing")
    else:
        (model / file).unlink()
    assert words in await refusal()
