"""Piper as it is published, on voices made here."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.engines.hearing import urgencies

from trio_bridge.nodes import tts
from trio_bridge.nodes.piper_engine import Piper, open_engine
from trio_bridge.nodes.synthesis import EngineError, Utterance

pytestmark = pytest.mark.engines

TEXT = "Hello there. How are you today?"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # Imported here, or the default run would need the packages to collect this file.
    from tests.engines.piper_model import make_voice

    make_voice(tmp_path, "de_DE-made-low")
    make_voice(tmp_path, "en_US-made-medium", rate=22_050)
    make_voice(tmp_path, "en_US-several-low", speakers=3)
    return tmp_path


def load(folder: Path, **more: str) -> Piper:
    return open_engine({"TTS_MODEL": str(folder), **more})


def speak(engine: Piper, voice: str = "", speed: float = 1.0, text: str = TEXT) -> Utterance:
    return engine.synthesise(text, voice=voice, speed=speed, stop=threading.Event())


def test_each_voice_has_its_own_rate(folder: Path) -> None:
    engine = load(folder, TTS_LANGUAGE="en-us")
    assert engine.rate_of("") == engine.rate_of("en_US-made-medium") == 22_050
    assert engine.rate_of("de_DE-made-low") == 16_000
    made = speak(engine)
    assert made.samples.dtype == np.float32
    assert 0.1 < np.abs(made.samples).max() <= 1


def test_threads_that_compute_are_as_urgent_as_the_node(folder: Path) -> None:
    load(folder)  # Libraries have threads, too.
    before = urgencies(os.getpid())
    environment = {"TTS_ENGINE": "piper", "TTS_MODEL": str(folder), "TTS_THREADS": "4"}
    engine = tts.open_engine(environment)
    assert isinstance(engine, Piper)
    own = os.getpriority(os.PRIO_PROCESS, 0)

    def started() -> list[int]:
        after = urgencies(os.getpid())
        return [nice for thread, nice in after.items() if thread not in before]

    deadline = time.monotonic() + 5
    # A thread that has been joined is seen for a moment more.
    while set(started()) != {own} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(started()) == {own}
    assert len(started()) >= 3 * len({id(each.network) for each in engine.voices.values()})


def test_speed_is_followed_and_clamped(folder: Path) -> None:
    engine = load(folder)
    lengths = [len(speak(engine, speed=speed).samples) for speed in (0.5, 1.0, 1.5, 4.0, 99.0)]
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.01)
    assert lengths[1] == pytest.approx(1.5 * lengths[2], rel=0.01)
    assert lengths[3] == lengths[4]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("de_DE-made-low", "de_de-made-low"),
        ("en_us-several-low#s2", "en_us-several-low#s2"),
        ("alloy", "en_us-made-medium"),
        ("ash", "en_us-several-low#s0"),
        ("", "en_us-made-medium"),
        ("../../etc/passwd", "en_us-made-medium"),
    ],
)
def test_a_voice_is_looked_up_and_never_a_path(folder: Path, asked: str, given: str) -> None:
    assert load(folder, TTS_LANGUAGE="en-us").resolve(asked) == given


def test_speakers_of_one_voice_differ(folder: Path) -> None:
    engine = load(folder)
    one, other = (speak(engine, f"en_us-several-low#s{n}").samples for n in (1, 2))
    assert len(one) == len(other)
    assert not np.allclose(one, other)


def test_a_piece_without_words_is_a_pause(folder: Path) -> None:
    made = speak(load(folder), text=" ")
    assert len(made.samples) > 0


def test_it_stops_in_the_middle_of_a_sentence(folder: Path) -> None:
    from tests.engines.piper_model import make_voice

    make_voice(folder, "en_US-slow-low", turns=50_000_000)
    engine = load(folder)
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    began = time.monotonic()
    engine.synthesise("Hello.", voice="en_us-slow-low", speed=1.0, stop=stop)
    assert 0.2 <= time.monotonic() - began < 1.0
    # And speaks on.
    assert len(speak(engine).samples) > 1000


def test_a_language_that_no_voice_speaks_is_told(folder: Path) -> None:
    with pytest.raises(EngineError, match="TTS_LANGUAGE=fr_fr; some: de_de, en_us"):
        load(folder, TTS_LANGUAGE="fr-fr")


def test_a_voice_that_would_fetch_something_is_refused(folder: Path) -> None:
    path = folder / "de_DE-made-low.onnx.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "phoneme_type": "pinyin"}))
    with pytest.raises(EngineError, match="pinyin"):
        load(folder)


def test_a_broken_voice_is_named(folder: Path) -> None:
    (folder / "de_DE-made-low.onnx").write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"cannot load its voice .*de_DE-made-low"):
        load(folder)


def test_without_voices_it_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"python -m piper\.download_voices en_US-lessac"):
        load(tmp_path)
