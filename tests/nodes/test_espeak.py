"""The binding, on the real engine."""

import itertools
import threading
from functools import cache

import numpy as np
import pytest

from trio_bridge.nodes.espeak import Espeak
from trio_bridge.nodes.synthesis import VOICES, EngineError, Mark, readable, time_words

TEXT = (
    "Hello there, it is 3:45 on the 21st of November 2026. "
    "1,234.5 apples \N{THUMBS UP SIGN} — **wow**!"
)


@cache
def engine():
    return Espeak()


def speak(text, voice="alloy", speed=1.0, stop=None):
    return engine().synthesise(
        readable(text), voice=voice, speed=speed, stop=stop or threading.Event()
    )


def test_speaks_at_its_own_rate():
    """Samples are audible float32 at 22,050 Hz, about as long as a person would take."""
    made = speak("Hello there, how are you today?")
    assert engine().sample_rate == 22_050
    assert made.samples.dtype == np.float32
    assert 1 < len(made.samples) / 22_050 < 4
    assert 0.1 < np.abs(made.samples).max() <= 1


def test_every_word_has_its_place():
    """Numbers, dashes and emoji included: timings go forward and cover the audio."""
    made = speak(TEXT)
    words = time_words(readable(TEXT), made.marks, len(made.samples))
    assert [TEXT[word.start : word.end] for word in words] == [
        word.strip("*!") for word in TEXT.split() if word not in {"\N{THUMBS UP SIGN}", "—"}
    ]
    assert words[0].first == 0
    assert words[-1].last == len(made.samples)
    assert all(a.last == b.first >= a.first for a, b in itertools.pairwise(words))
    assert "".join(TEXT[a:b] for a, b in _shares(words)) == TEXT


@pytest.mark.parametrize("speed", [0.25, 0.75, 1.0, 1.25, 1.5])
@pytest.mark.parametrize("voice", [*VOICES, "en-gb", "fr-fr"])
def test_a_word_begins_where_it_is_heard(voice, speed):
    """In every voice and at every pace: a truncated answer depends on it."""
    text = "man, lemon, yellow, arm."
    made = speak(text, voice, speed)
    words = time_words(text, made.marks, len(made.samples))
    tick = engine().sample_rate // 200
    level = np.abs(made.samples[: len(made.samples) // tick * tick]).reshape(-1, tick).max(1)
    least = level.max() / 20
    # After a pause, as every word but the first comes; some voices have pauses in words too.
    heard = [at for at in range(8, len(level)) if level[at] > least > level[at - 8 : at].max()]
    for word in words[1:]:
        assert min(abs(word.first - at * tick) for at in heard) < 0.03 * engine().sample_rate


def _shares(words):
    starts = [0, *(word.upto for word in words)]
    return itertools.pairwise(starts)


def test_voices_of_the_protocol_differ():
    """Each name gives a voice of its own."""
    assert len({engine().resolve(name) for name in VOICES}) == len(VOICES)
    made = [speak("one two three", name).samples[:20_000] for name in VOICES]
    for one, other in itertools.combinations(made, 2):
        assert np.square(one - other).mean() > 0.1 * np.square(one).mean()


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("alloy", "en-us"),
        ("Marin", "en-us+f3"),
        ("en-gb+F2", "en-gb+f2"),
        ("fr-fr", "fr-fr"),
        ("+m3", "en-us+m3"),
        ("nobody", "en-us"),
        ("", "en-us"),
        ("../../etc/passwd", "en-us"),
        ("en-us+../f1", "en-us"),
    ],
)
def test_a_voice_is_looked_up_and_never_a_path(asked, given):
    """The protocol's names, the engine's own, and the default for all else."""
    assert engine().resolve(asked) == given


def test_every_language_has_its_voice():
    """By its code, though the engine keeps some under another name."""
    for language in engine().languages:
        made = speak("1 2 3", language)
        assert len(made.samples) > 0, language
        assert len(speak("1 2 3", f"{language}+f2").samples) > 0, language


def test_speed_is_followed_and_clamped():
    """Faster is shorter; what the engine cannot do gets the nearest that it can."""
    lengths = [len(speak("a few words to say", speed=s).samples) for s in (0.25, 0.5, 1, 1.5)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) == 4
    assert len(speak("a few words to say", speed=99).samples) > 0


def test_stops_at_once_and_goes_on():
    """A piece that is stopped yields nothing more; the next one is whole."""
    stop = threading.Event()
    whole = len(speak("one two three four").samples)
    stop.set()
    assert len(speak("one two three four", stop=stop).samples) == 0
    # The engine carries fractions of samples from piece to piece: up to 1 ms here.
    assert len(speak("one two three four").samples) == pytest.approx(whole, abs=22)


def test_unknown_language_is_refused():
    """A language that does not exist is said, not replaced."""
    with pytest.raises(EngineError, match="'tlh-xx'"):
        Espeak("tlh-xx")


def test_words_without_marks_share_the_time():
    """Time between two marks is shared by length; marks that go back are straightened."""
    words = time_words(
        "aa bb cc dd", [Mark(9, 900), Mark(0, 0), Mark(6, 300), Mark(7, 250)], 1000
    )
    assert [word.first for word in words] == [0, 125, 250, 900]
    assert time_words("—", [], 100) == []
    assert time_words("%", [Mark(0, 0)], 100)[0].last == 100
    assert time_words("  ", [], 100) == []


def test_what_is_not_read_keeps_its_place():
    """Marks, emoji and the engine's control characters become spaces, one for one."""
    assert readable("**a** `b`\x01 \N{THUMBS UP SIGN}#1") == "  a    b     1"
