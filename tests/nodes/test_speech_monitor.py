"""Rows of `listen` in, rows of `speech` and `segment` out."""

import json
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_bridge.dora.contract import Float32, Listen, Segment, Speech, Transcript
from trio_bridge.nodes import listening
from trio_bridge.nodes.speech_monitor import Monitor

SAMPLES = Path(__file__).parents[1] / "audio_samples"
SERVER_VAD = {"type": "server_vad"}
SEMANTIC_VAD = {"type": "semantic_vad"}


def speech(name: str = "go_forward_ten_meters.wav", after_ms: int = 1000) -> Float32:
    """A recording between half a second and `after_ms` of a quiet room."""
    with wave.open(str(SAMPLES / name)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    whole = np.concatenate([np.zeros(8000), pcm / 32768, np.zeros(after_ms * 16)])
    whole += np.random.default_rng(7).normal(0, 1e-4, len(whole))
    # On the grid of int16, so that what comes out can be compared with what went in.
    return (np.round(whole * 32768) / 32768).astype(np.float32)


class Ear:
    """A monitor with one session, and what it has said."""

    def __init__(
        self, turn_detection: dict[str, Any] | None = SERVER_VAD, *, transcribed: bool = False
    ) -> None:
        self.said: list[Speech | Segment] = []
        self.reports: list[str] = []
        self.monitor = Monitor(
            lambda _, row: self.said.append(row), self.reports.append, transcribed=transcribed
        )
        self.seq = 0
        self.op("open")
        self.configure(turn_detection)

    def op(self, op: str, **fields: Any) -> None:
        self.monitor.take(Listen("s", self.seq, op, **fields))
        self.seq += 1

    def configure(
        self, turn_detection: dict[str, Any] | None, transcription: Any = None
    ) -> None:
        settings = {"turn_detection": turn_detection, "transcription": transcription}
        self.op("configure", data=json.dumps(settings))

    def hear(self, samples: Float32, chunk: int = 320) -> None:
        for start in range(0, len(samples), chunk):
            self.op("audio", samples=samples[start : start + chunk])

    def understand(self, text: str, utterance_id: str = "u1", event: str = "partial") -> None:
        self.monitor.take(Transcript("s", utterance_id, event, text))

    def commit(self, item_id: str = "item") -> None:
        self.op("commit", data=json.dumps({"item_id": item_id}))

    @property
    def speech(self) -> list[tuple[str, str, int]]:
        return [
            (row.event, row.utterance_id, row.audio_ms)
            for row in self.said
            if isinstance(row, Speech)
        ]

    @property
    def segments(self) -> list[tuple[str, str]]:
        """Events and utterances, with audio rows in a row taken together."""
        events: list[tuple[str, str]] = []
        for row in self.said:
            if isinstance(row, Segment) and [(row.event, row.utterance_id)] != events[-1:]:
                events.append((row.event, row.utterance_id))
        return events

    def heard(self, utterance_id: str) -> Float32:
        chunks: Iterable[Float32] = (
            row.samples
            for row in self.said
            if isinstance(row, Segment)
            and row.utterance_id == utterance_id
            and row.samples is not None
        )
        return np.concatenate([np.zeros(0, np.float32), *chunks])


def test_a_turn_goes_to_the_recogniser_while_it_is_spoken() -> None:
    ear = Ear()
    samples = speech()
    ear.hear(samples[: 2 * 16_000])
    assert ear.segments == [("start", "u1"), ("audio", "u1")]
    ear.hear(samples[2 * 16_000 :])
    assert [event for event, _, _ in ear.speech] == ["started", "stopped"]
    assert ear.segments == [("start", "u1"), ("audio", "u1"), ("end", "u1")]
    (_, _, start), (_, _, stop) = ear.speech
    assert np.array_equal(ear.heard("u1"), samples[start * 16 : stop * 16])


def test_a_start_includes_the_prefix_padding() -> None:
    starts = []
    for padding in (0, 300):
        ear = Ear({"type": "server_vad", "prefix_padding_ms": padding})
        ear.hear(speech())
        starts.append(ear.speech[0][2])
    assert starts[0] - starts[1] == 300


def test_the_padding_never_reaches_into_an_earlier_utterance() -> None:
    ear = Ear({"type": "server_vad", "prefix_padding_ms": 4000})
    ear.hear(np.concatenate([speech(after_ms=600), speech()]))
    (_, _, _), (_, _, stop), (event, utterance_id, start), _ = ear.speech
    assert (event, utterance_id, start) == ("started", "u2", stop)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_any_chunking_is_heard_alike(chunks: list[int]) -> None:
    samples = speech()
    whole, cut = Ear(), Ear()
    whole.hear(samples)
    at = 0
    for i in range(len(samples)):
        if at >= len(samples):
            break
        size = chunks[i % len(chunks)]
        cut.hear(samples[at : at + size], size)
        at += size
    assert cut.speech == whole.speech
    assert cut.segments == whole.segments
    assert np.array_equal(cut.heard("u1"), whole.heard("u1"))


@settings(max_examples=20)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12))
def test_push_to_talk_hears_every_sample_once(sizes: list[int]) -> None:
    """Commits anywhere, even within a frame, split the audio without loss or doubling."""
    ear = Ear(None)
    samples = speech()
    at = 0
    for n, size in enumerate(sizes, 1):
        ear.hear(samples[at : at + size], 137)
        ear.commit(f"item{n}")
        assert np.array_equal(ear.heard(f"u{n}"), samples[at : at + size])
        at += size
    assert ear.speech == []


def test_push_to_talk_ends_with_its_item() -> None:
    ear = Ear(None)
    ear.hear(speech()[:16_000])
    assert ear.segments == [("start", "u1"), ("audio", "u1")]
    ear.commit("item_7")
    last = ear.said[-1]
    assert isinstance(last, Segment)
    assert (last.event, last.utterance_id, last.item_id) == ("end", "u1", "item_7")


def test_clear_drops_and_keeps_the_clock() -> None:
    ear = Ear(None)
    samples = speech()
    ear.hear(samples[:5000])
    ear.op("clear")
    assert ear.segments[-1] == ("drop", "u1")
    ear.configure(SERVER_VAD)
    ear.hear(samples[5000:])
    whole = Ear()
    whole.hear(samples)
    # What was cleared does not come back as padding, and the clock goes on.
    assert ear.speech[0][2] == max(whole.speech[0][2], 5000 // 16)
    assert ear.speech[-1][2] == whole.speech[-1][2]


def test_clear_during_speech_says_nothing_more_of_it() -> None:
    ear = Ear()
    ear.hear(speech()[: 2 * 16_000])
    ear.op("clear")
    ear.hear(np.zeros(32_000, np.float32))
    assert [event for event, _, _ in ear.speech] == ["started"]
    assert ear.segments[-1] == ("drop", "u1")


def test_a_commit_during_speech_ends_it_without_stopped() -> None:
    """The rest of the sentence is the next utterance."""
    ear = Ear()
    samples = speech("sense_and_sensibility_0870.wav")
    ear.hear(samples[: 3 * 16_000])
    ear.commit()
    ear.hear(samples[3 * 16_000 :])
    assert [(event, name) for event, name, _ in ear.speech] == [
        ("started", "u1"),
        ("started", "u2"),
        ("stopped", "u2"),
    ]
    assert len(ear.heard("u1")) == 3 * 16_000 - 16 * ear.speech[0][2]


def test_a_commit_in_silence_takes_what_is_kept() -> None:
    ear = Ear()
    room = speech()[:7_999]
    ear.hear(room)
    ear.commit("quiet")
    assert ear.segments == [("start", "u1"), ("audio", "u1"), ("end", "u1")]
    assert np.array_equal(ear.heard("u1"), room)
    ear.commit("nothing")
    assert ear.segments[-2:] == [("start", "u2"), ("end", "u2")]


def test_what_is_kept_is_bounded() -> None:
    ear = Ear()
    ear.hear(np.zeros(20 * 16_000, np.float32), 16_000)
    ear.commit()
    assert len(ear.heard("u1")) == listening.KEPT


def test_speech_without_a_pause_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONGEST_TURN", 2 * 16_000)
    ear = Ear()
    ear.hear(speech("sense_and_sensibility_0870.wav"))
    kinds = [event for event, _, _ in ear.speech]
    assert kinds == ["started", "stopped"] * (len(kinds) // 2)
    for (_, _, start), (_, _, stop) in zip(ear.speech[::2], ear.speech[1::2], strict=True):
        assert stop - start <= 2000


def test_a_push_to_talk_utterance_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONGEST_PUSH", 16_000)
    ear = Ear(None)
    ear.hear(np.zeros(48_000, np.float32))
    ear.commit()
    assert len(ear.heard("u1")) == 16_000
    assert len(ear.reports) == 1


def test_detection_switched_off_in_mid_speech_waits_for_the_commit() -> None:
    ear = Ear()
    samples = speech()
    ear.hear(samples[: 2 * 16_000])
    ear.configure(None)
    ear.hear(samples[2 * 16_000 :])
    assert [event for event, _, _ in ear.speech] == ["started"]
    ear.commit()
    assert ear.segments == [("start", "u1"), ("audio", "u1"), ("end", "u1")]


def test_detection_switched_on_in_mid_speech_finds_the_start() -> None:
    ear = Ear(None)
    samples = speech("sense_and_sensibility_0870.wav")
    ear.hear(samples[: 2 * 16_000])
    ear.configure(SERVER_VAD)
    ear.hear(samples[2 * 16_000 :])
    assert ear.segments[:4] == [
        ("start", "u1"),
        ("audio", "u1"),
        ("drop", "u1"),
        ("start", "u2"),
    ]
    assert [event for event, _, _ in ear.speech] == ["started", "stopped"]


def test_transcription_settings_reach_the_recogniser() -> None:
    ear = Ear()
    ear.configure(None, {"language": "en"})
    ear.hear(np.zeros(320, np.float32))
    start = ear.said[0]
    assert isinstance(start, Segment)
    assert json.loads(start.data or "") == {"language": "en"}


def stop_after(ear: Ear, *understood: str, **kind: str) -> int:
    """When the turn of a sentence stops, if that was understood just before its end."""
    samples = speech(after_ms=5000)
    ear.hear(samples[: 3 * 16_000])
    for text in understood:
        ear.understand(text, **kind)
    ear.hear(samples[3 * 16_000 :])
    (started, name, _), (stopped, same, at) = ear.speech
    assert (started, stopped, name) == ("started", "stopped", same)
    return at


def test_a_turn_ends_sooner_when_it_sounds_finished() -> None:
    whole, half = "go forward ten meters", "go forward ten meters and"
    stops = {
        said: stop_after(Ear(SEMANTIC_VAD, transcribed=True), said)
        for said in (whole, "", half)
    }
    assert stops[whole] < stops[""] < stops[half]
    assert stops[half] - stops[whole] > 3000
    # The last word counts, whatever was thought before.
    assert stop_after(Ear(SEMANTIC_VAD, transcribed=True), half, whole) == stops[whole]


def test_words_that_come_during_the_silence_count() -> None:
    ear = Ear(SEMANTIC_VAD, transcribed=True)
    samples = speech(after_ms=5000)
    ear.hear(samples[: 3 * 16_000])
    ear.understand("go forward ten")
    ear.understand("go forward and")
    ear.hear(samples[3 * 16_000 : 5 * 16_000])
    assert [event for event, _, _ in ear.speech] == ["started"]
    ear.understand("go forward ten meters")
    ear.hear(samples[5 * 16_000 :][:320])
    assert ear.speech[-1][::2] == ("stopped", 5010)


@pytest.mark.parametrize("eagerness", ["low", "medium", "high"])
def test_silence_alone_counts_where_nobody_can_judge_the_words(eagerness: str) -> None:
    """Without a recogniser, after its failure, and in a language that is not known."""
    detection = {**SEMANTIC_VAD, "eagerness": eagerness}
    silence = {"low": 800, "medium": 500, "high": 300}[eagerness]
    fixed = stop_after(Ear({**SERVER_VAD, "silence_duration_ms": silence}))
    assert stop_after(Ear(detection)) == fixed
    assert stop_after(Ear(detection, transcribed=True), "and", event="failed") == fixed
    german = Ear(detection, transcribed=True)
    german.configure(detection, {"language": "de"})
    assert stop_after(german, "und dann") == fixed


def test_a_transcript_counts_for_its_own_utterance_only() -> None:
    undecided = stop_after(Ear(SEMANTIC_VAD, transcribed=True))
    stale = Ear(SEMANTIC_VAD, transcribed=True)
    assert stop_after(stale, "and", utterance_id="u0") == undecided
    stale.monitor.take(Transcript("nobody", "u1", "partial", "and"))
    assert stale.reports == []


def test_server_vad_does_not_mind_the_words() -> None:
    fixed = stop_after(Ear())
    assert stop_after(Ear(transcribed=True), "go forward and") == fixed


def test_lost_rows_are_counted() -> None:
    ear = Ear()
    ear.seq += 3
    ear.hear(np.zeros(320, np.float32))
    assert ear.monitor.lost == 3
    assert "3 rows lost" in ear.reports[0]


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("configure", {"data": "[]"}),
        ("configure", {"data": "{"}),
        ("configure", {"data": '{"turn_detection": {"threshold": "loud"}}'}),
        ("commit", {"data": "{}"}),
        ("commit", {"data": "3"}),
        ("audio", {}),
        ("sing", {}),
    ],
)
def test_a_bad_row_is_reported_and_changes_nothing(op: str, fields: dict[str, str]) -> None:
    ear = Ear()
    ear.op(op, **fields)
    assert len(ear.reports) == 1
    ear.hear(speech())
    assert [event for event, _, _ in ear.speech] == ["started", "stopped"]


def test_rows_of_a_session_that_is_not_open_are_dropped() -> None:
    ear = Ear()
    ear.monitor.take(Listen("other", 0, "audio", samples=np.zeros(320, np.float32)))
    assert ear.reports == ["session other: audio though it is not open"]


def test_close_forgets_the_session() -> None:
    ear = Ear()
    ear.hear(speech()[:32_000])
    assert ear.monitor.sessions() == 1
    ear.op("close")
    assert ear.monitor.sessions() == 0
    assert ear.segments[-1] == ("close", "")


def test_not_a_number_is_silence() -> None:
    ear = Ear(None)
    ear.hear(np.full(320, np.nan, np.float32))
    ear.commit()
    assert np.array_equal(ear.heard("u1"), np.zeros(320, np.float32))
