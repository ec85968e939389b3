"""How much of an answer had been heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.messages import Word
from trio_bridge.realtime.spoken import SpokenText


def timed() -> SpokenText:
    """«Well, "good morning" to you.», a word each half second, 100 ms between them."""
    spoken = SpokenText()
    texts = ["Well", "good", "morning", "to", "you"]
    words = [Word(text, n * 500, n * 500 + 400) for n, text in enumerate(texts)]
    spoken.add('Well, "good morning" to you.', 2600, words)
    return spoken


@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (350, ""),
        (400, "Well,"),
        (850, "Well,"),
        (900, 'Well, "good'),
        (1450, 'Well, "good morning"'),
        (2350, 'Well, "good morning" to'),
        (2400, 'Well, "good morning" to you.'),
        (9999, 'Well, "good morning" to you.'),
    ],
)
def test_words_with_timings(ms: float, heard: str) -> None:
    """A word counts once it is over; punctuation goes with the word before it."""
    assert timed().heard(ms) == heard


def test_words_without_timings() -> None:
    """Time runs evenly over the characters of a chunk's text, cut back to whole words."""
    spoken = SpokenText()
    spoken.add("one two ", 1000)
    spoken.add("three four", 1000)
    assert [spoken.heard(ms) for ms in (0, 400, 900, 1000, 1400, 1500, 2000)] == [
        "",
        "one",
        "one two",
        "one two",
        "one two",
        "one two three",
        "one two three four",
    ]


def test_text_told_ahead_of_its_sound() -> None:
    """A sentence comes with its first chunk and its timings with the chunks they are in."""
    spoken = SpokenText()
    spoken.add("one two three", 500, [Word("one", 0, 400)])
    spoken.add("", 500, [Word("two", 500, 900)])
    spoken.add("", 500, [Word("three", 1000, 1400)])
    assert [spoken.heard(ms) for ms in (450, 950, 1400)] == ["one", "one two", "one two three"]


def test_timings_that_make_no_sense_are_passed_over() -> None:
    """Spelt-out numbers overlap; a word that is not in the text is no landmark."""
    spoken = SpokenText()
    words = [
        Word("42", 0, 600),
        Word("", 0, 1),
        Word("forty", 100, 300),
        Word("is", 700, 900),
        Word("it", 500, 1000),
    ]
    spoken.add("42 is it", 1000, words)
    assert spoken.heard(650) == "42"
    assert spoken.heard(900) == "42 is"
    assert spoken.heard(1000) == "42 is it"


def test_a_script_without_spaces_is_cut_by_character() -> None:
    """Chinese speech is not all or nothing."""
    spoken = SpokenText()
    spoken.add("你好世界", 1000)
    assert spoken.heard(500) == "你好"


def test_contractions_are_one_word() -> None:
    """An apostrophe does not end a word."""
    spoken = SpokenText()
    spoken.add("I don't know", 1200)
    assert spoken.heard(600) == "I"
    assert spoken.heard(700) == "I don't"


def test_what_is_cut_is_gone() -> None:
    """A second cut cannot bring back what the first forgot."""
    spoken = timed()
    spoken.cut(1450)
    assert spoken.audio_ms == 1450
    assert spoken.heard(9999) == 'Well, "good morning"'
    spoken.cut(400)
    assert spoken.text.startswith("Well,")
    assert "good morning" not in spoken.text


@given(
    chunks=st.lists(
        st.tuples(
            st.text(alphabet="ab '.,é你", max_size=12),
            st.floats(0, 2000),
            st.lists(
                st.builds(
                    Word,
                    st.sampled_from(["a", "b", "ab", ""]),
                    st.floats(0, 5000),
                    st.floats(0, 5000),
                ),
                max_size=3,
            ),
        ),
        max_size=6,
    ),
    moments=st.lists(st.floats(-10, 10_000), min_size=2, max_size=6),
)
def test_more_time_never_means_less_text(
    chunks: list[tuple[str, float, list[Word]]], moments: list[float]
) -> None:
    """Whatever the timings, what was heard is a beginning of the text, and only grows."""
    spoken = SpokenText()
    for text, audio_ms, words in chunks:
        spoken.add(text, audio_ms, words)
    heard = [spoken.heard(ms) for ms in sorted(moments)]
    assert all(spoken.text.startswith(each) for each in heard)
    assert [len(each) for each in heard] == sorted(len(each) for each in heard)
    spoken.cut(moments[0])
    assert spoken.text == heard[sorted(moments).index(moments[0])]
