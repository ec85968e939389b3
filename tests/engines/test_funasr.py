"""FunASR as it is published, on models made here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from tests.engines.hearing import refusal, speech, transcripts

from trio_bridge.nodes.asr import settings_from
from trio_bridge.nodes.funasr_engine import open_engine
from trio_bridge.nodes.local_model import ModelMissing
from trio_bridge.nodes.recognition import Heard
from trio_bridge.nodes.whole_utterance import WholeUtterance

pytestmark = pytest.mark.engines


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Imported here, or the default run would need the packages to collect this file.
    from tests.engines.funasr_models import make_sense_voice

    folder = make_sense_voice(tmp_path / "model")
    monkeypatch.setenv("ASR_MODEL", str(folder))
    # Several threads would wait for each other, and drafts not be made in time.
    monkeypatch.setenv("ASR_THREADS", "1")
    return folder


@pytest.fixture
def engine(model: Path) -> WholeUtterance:
    return open_engine({"ASR_MODEL": str(model), "ASR_THREADS": "1"})


def hear(engine: WholeUtterance, pcm: bytes, **settings: Any) -> str:
    engine.begin(settings)
    engine.feed(pcm)
    return engine.finish().text


async def test_speech_becomes_partials_and_a_final(model: Path) -> None:
    *partials, final = await transcripts("funasr", speech())
    assert [each.text for each in partials] == ["Hello", "Hello Hello"]
    assert (final.event, final.text, final.item_id) == ("final", "Hello Hello", "item")
    assert final.logprobs is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "Hm Hm"),
        ({"language": "en-US"}, "Hello Hello"),
        ({"language": "zh"}, "你好你好"),
        ({"language": "sv", "prompt": "/etc/passwd.txt"}, "Hm Hm"),
    ],
)
def test_the_session_chooses_the_language(
    engine: WholeUtterance, asked: dict[str, str], said: str
) -> None:
    assert hear(engine, speech(), **asked) == said


def test_the_node_has_a_language_for_who_chooses_none(model: Path) -> None:
    engine = open_engine({"ASR_MODEL": str(model), "ASR_LANGUAGE": "ja"})
    assert hear(engine, speech()) == "はいはい"
    assert hear(engine, speech(), language="en") == "Hello Hello"


def test_what_is_dropped_leaves_nothing(engine: WholeUtterance) -> None:
    engine.begin({"language": "en"})
    engine.feed(speech())
    assert engine.partial() == "Hello Hello"
    engine.drop()
    assert hear(engine, bytes(32_000)) == ""
    assert hear(engine, speech()) == "Hm Hm"


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 1_599, 1_600, 1_601, 16_000])
def test_where_nothing_is_said_nothing_is_heard(engine: WholeUtterance, samples: int) -> None:
    engine.begin({"language": "en"})
    engine.feed(bytes(2 * samples))
    assert engine.partial() == ""
    assert engine.finish() == Heard("")


def test_a_paraformer_hears_too(tmp_path: Path) -> None:
    from tests.engines.funasr_models import make_paraformer

    engine = open_engine({"ASR_MODEL": str(make_paraformer(tmp_path))})
    assert set(hear(engine, speech(), language="de").split()) == {"go"}
    # It has no result at all for these.
    assert hear(engine, bytes(32_000)) == ""
    assert hear(engine, bytes(3_200)) == ""


def test_the_model_is_weighed_before_workers_are_counted(model: Path) -> None:
    engine, workers = settings_from({**os.environ, "ASR_ENGINE": "funasr"})
    assert engine == "funasr"
    assert workers >= 1


@pytest.mark.parametrize(
    "name",
    [
        "configuration.json",
        "config.yaml",
        "model.pt",
        "am.mvn",
        "chn_jpn_yue_eng_ko_spectok.bpe.model",
    ],
)
def test_a_file_that_is_missing_is_named(model: Path, name: str) -> None:
    """The library itself would go on without some of them, and say nonsense."""
    (model / name).unlink()
    with pytest.raises(ModelMissing, match="hf download FunAudioLLM/SenseVoiceSmall") as caught:
        settings_from({**os.environ, "ASR_ENGINE": "funasr"})
    assert name.partition("bpe")[2] in str(caught.value)


def reconfigure(folder: Path, **changes: Any) -> None:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", ["FunASRNano", "ParaformerStreaming"])
def test_a_model_of_another_kind_is_refused(model: Path, kind: str) -> None:
    reconfigure(model, model=kind)
    with pytest.raises(ModelMissing, match=f"is a {kind}; supported are .*SenseVoiceSmall"):
        open_engine({"ASR_MODEL": str(model)})


def test_weights_that_do_not_fit_are_refused(model: Path) -> None:
    """The library itself would leave them as they are: at random."""
    path = model / "config.yaml"
    path.write_text(path.read_text().replace("linear_units: 4", "linear_units: 8"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        open_engine({"ASR_MODEL": str(model)})


def test_weights_that_are_missing_are_told(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    weights = torch.load(model / "model.pt")
    del weights["ctc.ctc_lo.bias"]
    torch.save(weights, model / "model.pt")
    open_engine({"ASR_MODEL": str(model)})
    (line,) = capsys.readouterr().err.splitlines()
    assert "miss key in ckpt: ctc.ctc_lo.bias" in line


def test_nothing_is_looked_for_on_a_hub_and_nothing_in_the_folder_is_run(model: Path) -> None:
    """The engine's own process, with every connection refused."""
    reconfigure(
        model,
        vad_model="fsmn-vad",
        punc_model="ct-punc",
        spk_model="cam++",
        trust_remote_code=True,
        remote_code=str(model / "model.py"),
    )
    (model / "model.py").write_text("raise SystemExit('it was run')")
    (model / "requirements.txt").write_text("no-such-package-as-this")
    code = (
        "import os, socket\n"
        "def refuse(*args): raise SystemExit('it called out')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from tests.engines.hearing import speech\n"
        "from trio_bridge.nodes.funasr_engine import open_engine\n"
        "engine = open_engine(os.environ)\n"
        "engine.begin({}); engine.feed(speech()); print(engine.finish().text)\n"
    )

    async def run() -> bytes:
        done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
        return done.stdout

    assert trio.run(run).decode() == "Hm Hm\n"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("am.mvn", "hf download FunAudioLLM/SenseVoiceSmall --local-dir"),
        ("model.pt", "/model.pt is not a file of weights"),
    ],
)
async def test_the_bridge_shows_what_is_wrong(
    model: Path, monkeypatch: pytest.MonkeyPatch, file: str, words: str
) -> None:
    """One line, whether the file is missing or broken."""
    monkeypatch.setenv("ASR_ENGINE", "funasr")
    if file == "model.pt":
        (model / file).write_bytes(b"nothing")
    else:
        (model / file).unlink()
    assert words in await refusal()
