"""Words heard live, next to the words PocketSphinx hears when it is given the whole file."""

import time
import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pocketsphinx import Decoder

from trio_bridge.audio.pcm import float32_to_pcm16, pcm16_to_float32
from trio_bridge.dora.contract import Listen, Segment, Speech
from trio_bridge.nodes.pocketsphinx_engine import PocketSphinx
from trio_bridge.nodes.recognition import Heard
from trio_bridge.nodes.speech_monitor import Monitor

pytestmark = pytest.mark.e2e

SAMPLES = Path(__file__).parents[1] / "audio_samples"
SPOKEN = {
    "go_forward_ten_meters": "go forward ten meters",
    "sense_and_sensibility_0870": "and mister john dashwood had then leisure to consider how "
    "much there might be prudently in his power to do for them",
    "sense_and_sensibility_0930": "he might even have been made amiable himself",
}


def word_errors(spoken: str, heard: str) -> int:
    """Words to insert, delete or replace to turn one into the other (Levenshtein)."""
    words = heard.split()
    row = list(range(len(words) + 1))
    for i, expected in enumerate(spoken.split(), 1):
        diagonal, row[0] = row[0], i
        for j, word in enumerate(words, 1):
            wrong = diagonal + (expected != word)
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, wrong)
    return row[-1]


@cache
def engine() -> PocketSphinx:
    return PocketSphinx()


def pcm_of(name: str, snr_db: float | None = None) -> bytes:
    with wave.open(str(SAMPLES / f"{name}.wav")) as file:
        pcm = bytes(file.readframes(file.getnframes()))
    return with_noise(pcm, snr_db)


def with_noise(pcm: bytes, snr_db: float | None) -> bytes:
    """White noise so far below the mean power; the same noise every time."""
    if snr_db is None:
        return pcm
    samples = np.frombuffer(pcm, np.int16) / 32768
    scale = np.sqrt(np.mean(samples**2) / 10 ** (snr_db / 10))
    noisy = samples + np.random.default_rng(1).normal(0, scale, len(samples))
    return float32_to_pcm16(noisy.astype(np.float32))


def heard_in_file(pcm: bytes) -> str:
    decoder = Decoder(loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


def heard_live(pcm: bytes) -> str:
    """Through the speech monitor, in frames of 20 ms, with a second of silence after it."""
    words: list[str] = []

    def on_row(_: str, row: Speech | Segment) -> None:
        if not isinstance(row, Segment):
            return
        if row.event == "start":
            engine().begin({})
        elif row.samples is not None:
            engine().feed(float32_to_pcm16(row.samples))
        elif row.event == "end":
            words.append(engine().finish().text)

    monitor = Monitor(on_row)
    monitor.take(Listen("s", 0, "open"))
    samples = pcm16_to_float32(pcm + bytes(32_000))
    for seq, start in enumerate(range(0, len(samples), 320), 1):
        monitor.take(Listen("s", seq, "audio", samples=samples[start : start + 320]))
    return " ".join(words)


@pytest.mark.parametrize("snr_db", [None, 20.0])
@pytest.mark.parametrize("name", SPOKEN)
def test_live_is_no_worse_than_the_file(name: str, snr_db: float | None) -> None:
    pcm = pcm_of(name, snr_db)
    bar = word_errors(SPOKEN[name], heard_in_file(pcm))
    # One word of a sentence may turn with the noise's own pattern.
    slack = 0 if snr_db is None else 1
    assert word_errors(SPOKEN[name], heard_live(pcm)) <= bar + slack


def test_an_utterance_does_not_depend_on_the_one_before() -> None:
    alone = heard_live(pcm_of("sense_and_sensibility_0870"))
    heard_live(pcm_of("go_forward_ten_meters", 0.0))
    assert heard_live(pcm_of("sense_and_sensibility_0870")) == alone


def test_a_dropped_utterance_leaves_nothing() -> None:
    pcm = pcm_of("go_forward_ten_meters")
    for length in (1000, len(pcm)):
        engine().begin({})
        engine().feed(pcm[:length])
        engine().drop()
    engine().begin({})
    assert engine().finish() == Heard("")


@pytest.mark.parametrize("pcm", [b"", bytes(2), bytes(1300), bytes(64_000)])
def test_silence_has_no_words(pcm: bytes) -> None:
    engine().begin({})
    engine().feed(pcm)
    assert engine().partial() == ""
    assert engine().finish() == Heard("")


@pytest.mark.parametrize("snr_db", [None, 20.0, 10.0])
def test_a_short_answer_is_searched_at_its_pause(snr_db: float | None) -> None:
    """So that its transcript need not wait for the search when the turn is over."""
    pcm = with_noise(pcm_of("go_forward_ten_meters")[:56_000] + bytes(7_000), snr_db)
    engine().begin({})
    for start in range(0, len(pcm), 640):
        engine().feed(pcm[start : start + 640])
    assert engine().partial()
    began = time.perf_counter()
    heard = engine().finish().text
    assert time.perf_counter() - began < 0.25
    assert "forward" in heard


def test_a_pause_that_outlasts_the_priming_is_searched_once() -> None:
    """A search of all that was said, begun at 2 s, would be under way when the turn is over."""
    pcm = pcm_of("go_forward_ten_meters")[:54_000] + bytes(14_000)
    engine().begin({})
    engine().feed(pcm[:62_000])
    assert engine().partial()
    began = time.perf_counter()
    for start in range(62_000, len(pcm), 640):
        engine().feed(pcm[start : start + 640])
    engine().finish()
    assert time.perf_counter() - began < 0.2
