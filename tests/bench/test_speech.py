from itertools import product

import numpy as np
import pytest

from trio_bridge.bench.plan import RATE
from trio_bridge.bench.speech import (
    SENTENCES,
    Recording,
    Speech,
    built_in,
    heard_alike,
    likeness,
    more_like,
    repeats,
    sayings,
    spoken,
)

FRAME = RATE // 25
HEARD = ["go forward ten meters", "he might even have been made amiable himself", "what time"]


def tone(seconds, before=0.0, after=0.0):
    parts = [
        np.zeros(int(before * RATE)),
        np.full(int(seconds * RATE), 9000),
        np.zeros(int(after * RATE)),
    ]
    return np.concatenate(parts).astype("<i2").tobytes()


def speech(*, repeated=False):
    return Speech.of(
        [tone(0.1), tone(0.2), tone(0.3)],
        FRAME,
        [(words,) for words in HEARD],
        repeated=repeated,
    )


def test_the_sentences_are_spoken_each_its_own():
    """By the engine that ships, loud and not clipped."""
    spoken = built_in()
    assert len(spoken) == len(SENTENCES)
    for recording in spoken:
        samples = np.frombuffer(recording.pcm, "<i2")
        assert 1.5 * RATE < len(samples) < 6 * RATE
        assert 9_000 < np.abs(samples.astype(int)).max() < 11_000
    assert len({len(recording.pcm) for recording in spoken}) > 4


def test_speech_has_its_place_in_the_frames():
    """Silence before and after is sent, and not counted as speech."""
    (said,) = Speech.of([tone(0.1, before=0.2, after=0.3)], FRAME).utterances
    assert (said.first_loud, said.last_loud, len(said.frames)) == (5, 7, 15)


def test_speech_ends_where_the_voice_does_whatever_the_noise():
    """As in a quiet recording, though the noise after it is within 35 dB of the peak."""
    clean = np.frombuffer(built_in()[0].pcm, "<i2")
    noise = np.random.default_rng(7).normal(0, 300, len(clean) + RATE)
    noisy = (np.pad(clean, (RATE // 2, RATE // 2)) + noise).astype("<i2")
    quiet, loud = spoken(clean), spoken(noisy)
    assert quiet is not None
    assert loud is not None
    assert abs(loud[1] - RATE // 2 - quiet[1]) < 0.15 * RATE
    assert len(noisy) - loud[1] > 0.5 * RATE


def test_what_is_no_speech_to_the_detector_is_judged_by_its_loudness():
    assert spoken(np.frombuffer(tone(0.3), "<i2")) is None
    assert spoken(np.zeros(0, "<i2")) is None


def test_two_recordings_in_one_breath_make_another():
    """First each alone; the silence around them is left out, and the gap ends no turn."""
    one = Recording("one", tone(0.1, before=0.5, after=0.5))
    two = Recording("two", tone(0.3, before=0.5, after=0.5))
    said = list(sayings([one, two]))
    assert [each.name for each in said] == ["one", "two", "one with two", "two with one"]
    for each in said[2:]:
        assert len(each.pcm) / 2 / RATE == pytest.approx(0.1 + 0.2 + 0.3, abs=0.01)
    assert said[2].pcm[: RATE // 10] == tone(0.1)[: RATE // 10]
    assert len(list(sayings([one]))) == 1


def test_a_transcript_is_its_own_though_a_word_is_wrong():
    """Recognisers err."""
    several = speech()
    said = several.utterances[1]
    assert several.wrong(said, HEARD[1], "") is None
    assert several.wrong(said, "he might even had been made amiable him self", "") is None


def test_an_utterance_may_be_known_by_several_transcripts():
    """Any of them will do."""
    several = Speech.of([tone(0.1), tone(0.2)], FRAME, [("one two", "won too"), ("three",)])
    assert several.wrong(several.utterances[0], "won too", "") is None
    assert several.wrong(several.utterances[1], "won too", "") is not None


@pytest.mark.parametrize("heard", [HEARD[0], "what", "entirely different words it is", ""])
def test_somebody_elses_or_no_transcript_is_seen(heard):
    """It is a failure, not a statistic."""
    several = speech()
    assert several.wrong(several.utterances[1], heard, "") is not None


def test_somebody_elses_answer_is_seen():
    """Where answers repeat what was heard."""
    several = speech(repeated=True)
    said = several.utterances[0]
    assert several.wrong(said, HEARD[0], f"You said: {HEARD[0]}.") is None
    assert "answered" in several.wrong(said, HEARD[0], f"You said: {HEARD[2]}.")


def test_an_answer_repeats_what_was_heard_whatever_the_punctuation():
    """Words count."""
    assert repeats("You said: go, forward!", "Go forward.")
    assert not repeats("You said: go backward.", "go forward")


def test_utterances_may_be_heard_too_much_alike():
    """Nobody could tell sessions apart by them."""
    assert likeness(*HEARD[:2]) < 0.5
    assert not heard_alike([HEARD[0]], HEARD[1:])
    assert heard_alike([HEARD[1], HEARD[0]], ["go forward ten metres"])


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.6, 0.95, 1.0])
def test_the_bounds_of_a_comparison_change_nothing_but_its_price(bound):
    for one, other in product(HEARD, repeat=2):
        assert more_like(one, other, bound) == (likeness(one, other) > bound)
