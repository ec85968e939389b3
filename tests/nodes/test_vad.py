"""Where speech starts and stops, on recordings of people and on noise."""

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_bridge.nodes.vad import FRAME, MS, Edge, Int16, VadSettings, VoiceActivity

SAMPLES = Path(__file__).parents[1] / "audio_samples"


def recording(name: str) -> Int16:
    with wave.open(str(SAMPLES / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def silence(ms: int, amplitude: float = 3.0) -> Int16:
    noise = np.random.default_rng(7).normal(0, amplitude, ms * MS)
    return np.round(noise).astype(np.int16)


def edges(pcm: Int16, vad: VoiceActivity | None = None) -> list[Edge]:
    vad = vad or VoiceActivity()
    frames = (pcm[i : i + FRAME] for i in range(0, len(pcm) - FRAME + 1, FRAME))
    return [edge for frame in frames if (edge := vad.push(frame)) is not None]


@pytest.mark.parametrize(
    "name",
    [
        "go_forward_ten_meters.wav",
        "sense_and_sensibility_0870.wav",
        "sense_and_sensibility_0930.wav",
    ],
)
def test_a_sentence_is_one_turn(name: str) -> None:
    """The short pauses of fluent speech do not end a turn."""
    pcm = np.concatenate([silence(500), recording(name), silence(1000)])
    assert [edge.kind for edge in edges(pcm)] == ["start", "stop"]


def test_a_stop_comes_when_the_silence_has_been_long_enough() -> None:
    speech = recording("go_forward_ten_meters.wav")
    pcm = np.concatenate([silence(500), speech, silence(3000)])
    stops = []
    for wanted in (200, 500, 1000):
        turn_detection = {"type": "server_vad", "silence_duration_ms": wanted}
        vad = VoiceActivity(VadSettings.from_turn_detection(turn_detection))
        stops.append([edge.at for edge in edges(pcm, vad) if edge.kind == "stop"][-1])
    assert stops[1] - stops[0] == 300 * MS
    assert stops[2] - stops[1] == 500 * MS


def test_a_start_is_noticed_within_100_ms() -> None:
    """A barge-in depends on it: the decision comes 100 ms after the first active frame."""
    pcm = np.concatenate([silence(500), recording("go_forward_ten_meters.wav")])
    vad = VoiceActivity()
    for i in range(0, len(pcm), FRAME):
        edge = vad.push(pcm[i : i + FRAME])
        if edge is not None:
            assert vad.clock - edge.at <= 100 * MS
            return
    pytest.fail("no start")


def test_clicks_are_no_speech() -> None:
    pcm = silence(10_000).copy()
    for at in range(20_000, 150_000, 9_000):
        pcm[at : at + 40] = 20_000
    assert edges(pcm) == []


@pytest.mark.parametrize("amplitude", [0.0, 30.0, 300.0, 3000.0])
def test_steady_noise_is_no_speech(amplitude: float) -> None:
    """WebRTC's detector alone takes loud noise for speech for seconds."""
    assert edges(silence(5_000, amplitude)) == []


def test_a_fan_that_is_switched_on_does_not_hold_the_turn() -> None:
    pcm = np.concatenate([silence(3000), silence(8000, 1000)])
    assert [edge.kind for edge in edges(pcm)] in ([], ["start", "stop"])


def test_speech_in_noise_is_found() -> None:
    speech = recording("sense_and_sensibility_0930.wav").astype(np.float64)
    clean = np.concatenate([np.zeros(8000), speech, np.zeros(24_000)])
    power = np.mean(speech**2) / 10  # 10 dB below the voice
    noise = np.random.default_rng(3).normal(0, np.sqrt(power), len(clean))
    pcm = np.clip(np.round(clean + noise), -32768, 32767).astype(np.int16)
    assert [edge.kind for edge in edges(pcm)] == ["start", "stop"]


@pytest.mark.parametrize("seed", [3, 7, 8])
def test_low_noise_does_not_hold_the_turn(seed: int) -> None:
    """In pink noise the level of 10 ms goes up and down by what is too low to be a voice."""
    speech = recording("sense_and_sensibility_0930.wav").astype(np.float64)
    clean = np.concatenate([speech, np.zeros(32_000)])
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0, 1, len(clean)))
    frequency = np.fft.rfftfreq(len(clean), 1 / 16_000)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 20)), len(clean))
    noise *= np.sqrt(np.mean(speech**2) / 3 / np.mean(noise**2))  # 5 dB below the voice
    pcm = np.clip(np.round(clean + noise), -32768, 32767).astype(np.int16)
    found = edges(pcm)
    assert [edge.kind for edge in found] == ["start", "stop"]
    assert found[1].at <= len(speech) + 800 * MS


@pytest.mark.parametrize("offset", [-3000, 3000])
def test_an_offset_hides_no_voice(offset: int) -> None:
    """Cheap converters have one; it is not the room's level."""
    speech = recording("go_forward_ten_meters.wav")
    pcm = np.concatenate([silence(500), speech, silence(1000)])
    moved = np.clip(pcm.astype(np.int32) + offset, -32768, 32767).astype(np.int16)
    start, stop = edges(moved)
    plain_start, plain_stop = edges(pcm)
    assert start == plain_start
    # WebRTC's detector itself wavers a little with the offset.
    assert abs(stop.at - plain_stop.at) <= 100 * MS


@pytest.mark.parametrize(
    ("threshold", "mode"), [(0.0, 0), (0.3, 1), (0.5, 2), (0.75, 3), (1.0, 3)]
)
def test_a_threshold_sets_the_detectors_mode(threshold: float, mode: int) -> None:
    turn_detection = {"type": "server_vad", "threshold": threshold}
    assert VadSettings.from_turn_detection(turn_detection).mode == mode


def test_what_is_absent_takes_its_default() -> None:
    given = {"type": "server_vad", "threshold": None}
    assert VadSettings.from_turn_detection(given) == VadSettings()


def test_a_stop_waits_for_what_the_words_ask() -> None:
    """How finished they sound may change while the silence lasts."""
    pcm = np.concatenate([silence(500), recording("go_forward_ten_meters.wav"), silence(5000)])
    settings = VadSettings.from_turn_detection({"type": "semantic_vad"})
    stops = {}
    for finished in (None, 1.0, 0.5, 0.0):
        vad = VoiceActivity(settings)
        found = []
        for i in range(0, len(pcm) - FRAME + 1, FRAME):
            if vad.speaking:
                vad.finished = finished
            if (edge := vad.push(pcm[i : i + FRAME])) is not None:
                found.append(edge)
        assert [edge.kind for edge in found] == ["start", "stop"]
        assert vad.finished is None
        stops[finished] = found[1].at
    assert stops[None] - stops[1.0] == 100 * MS
    assert stops[0.0] - stops[1.0] == 3600 * MS
    assert stops[1.0] < stops[0.5] < stops[0.0]


@settings(max_examples=10)
@given(st.lists(st.sampled_from([0.2, 0.4, 0.5, 0.9]), min_size=1, max_size=5))
def test_edges_alternate_whatever_is_configured(thresholds: list[float]) -> None:
    """Settings that change in the middle of speech never lose a stop or double a start."""
    pcm = np.concatenate([recording("go_forward_ten_meters.wav"), silence(1000)])
    vad = VoiceActivity()
    found = []
    for part, threshold in zip(np.array_split(pcm, len(thresholds)), thresholds, strict=True):
        vad.configure(VadSettings.from_turn_detection({"threshold": threshold}))
        found += [edge.kind for edge in edges(part, vad)]
    assert found == [("start", "stop")[i % 2] for i in range(len(found))]
