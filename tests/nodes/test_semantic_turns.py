"""Turns that end by what was said: speech monitor and recogniser together, on real speech.

In audio time: the recogniser says three times a second what it has understood, as its worker
does, and the monitor hears it at once.
"""

import json
import threading
from functools import cache

import numpy as np
import pytest
from tests.support.recordings import load

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.dora.contract import SAMPLE_RATE, Float32, Listen, Segment, Speech, Transcript
from trio_bridge.nodes.espeak import Espeak
from trio_bridge.nodes.pocketsphinx_engine import PocketSphinx
from trio_bridge.nodes.speech_monitor import Monitor

pytestmark = pytest.mark.e2e

PARTIAL_EVERY = 3 * SAMPLE_RATE // 10
CHUNK = SAMPLE_RATE // 50


@cache
def recogniser() -> PocketSphinx:
    return PocketSphinx()


@cache
def espeak() -> Espeak:
    return Espeak()


def synthesised(text: str) -> Float32:
    made = espeak().synthesise(text, voice="alloy", speed=0.9, stop=threading.Event())
    # Its closing silence is not the speaker's.
    loud = np.flatnonzero(np.abs(made.samples) > 0.01)
    resampler = StreamResampler(espeak().sample_rate, SAMPLE_RATE)
    speech = made.samples[: loud[-1] + 1]
    return np.concatenate([resampler.process(speech), resampler.flush()])


def in_a_quiet_room(speech: Float32) -> Float32:
    whole = np.concatenate(
        [np.zeros(SAMPLE_RATE // 2), speech, np.zeros(9 * SAMPLE_RATE)], dtype=np.float32
    )
    noise = np.random.default_rng(7).normal(0, 1e-4, len(whole))
    return (whole + noise).astype(np.float32)


def silence_before_the_end(speech: Float32, eagerness: str) -> tuple[float, str]:
    """Seconds from the last of the speech to the end of the turn, and what was understood."""
    said: list[Speech | Segment] = []
    monitor = Monitor(lambda _, row: said.append(row), print, transcribed=True)
    detection = {"type": "semantic_vad", "eagerness": eagerness}
    monitor.take(Listen("s", 0, "open"))
    monitor.take(Listen("s", 1, "configure", data=json.dumps({"turn_detection": detection})))
    samples = in_a_quiet_room(speech)
    understood = ""
    due = PARTIAL_EVERY
    for seq, start in enumerate(range(0, len(samples), CHUNK), 2):
        monitor.take(Listen("s", seq, "audio", samples=samples[start : start + CHUNK]))
        for row in said:
            if isinstance(row, Speech) and row.event == "stopped":
                recogniser().drop()
                return row.audio_ms / 1000 - 0.5 - len(speech) / SAMPLE_RATE, understood
            _recognise(row)
        said.clear()
        if start >= due:
            due += PARTIAL_EVERY
            if (text := recogniser().partial()) != understood:
                understood = text
                monitor.take(Transcript("s", "u1", "partial", text))
    raise AssertionError("the turn did not end")


def _recognise(row: Speech | Segment) -> None:
    match row:
        case Segment(event="start"):
            recogniser().begin({})
        case Segment(event="audio", samples=samples) if samples is not None:
            recogniser().feed(float32_to_pcm16(samples))


@pytest.mark.parametrize(
    ("name", "seconds", "last"),
    [("sense_and_sensibility_0930", 1.3, "been"), ("sense_and_sensibility_0870", 3.0, "the")],
)
def test_a_person_who_breaks_off_is_waited_for(name: str, seconds: float, last: str) -> None:
    """Somebody reads; the reading is cut off in mid-sentence."""
    cut = load(name)[: round(seconds * SAMPLE_RATE)]
    waited, understood = silence_before_the_end(cut, "medium")
    assert understood.split()[-1] == last
    assert waited > 2.4


@pytest.mark.parametrize("name", ["sense_and_sensibility_0930", "go_forward_ten_meters"])
def test_a_person_who_has_finished_is_not(name: str) -> None:
    waited, _ = silence_before_the_end(load(name), "medium")
    assert waited < 0.7


@pytest.mark.parametrize(
    ("sentence", "longer"),
    [
        ("what is the weather today", "what is the weather today and"),
        ("i would like to go to the station", "i would like to go to the"),
    ],
)
def test_a_finished_sentence_ends_sooner_than_one_that_leads_on(
    sentence: str, longer: str
) -> None:
    soon, understood = silence_before_the_end(synthesised(sentence), "medium")
    assert understood == sentence
    late, understood = silence_before_the_end(synthesised(longer), "medium")
    assert understood.split()[-1] == longer.rsplit(maxsplit=1)[-1]
    assert soon < 0.7
    assert late == pytest.approx(4.0, abs=0.05)


def test_eagerness_bounds_the_wait() -> None:
    open_end = synthesised("what is the weather and")
    waits = {e: silence_before_the_end(open_end, e)[0] for e in ("low", "high")}
    assert waits == {"low": pytest.approx(8, abs=0.05), "high": pytest.approx(2, abs=0.05)}
