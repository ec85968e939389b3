"""How finished sentences sound, by their words."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.nodes.turn_ending import LIKELY, UNDECIDED, UNFINISHED, how_finished

FINISHED = """
what is the weather today
what time is it
tell me what time it is
where are you from
what are you looking for
who is he
who's that
it is cold isn't it
how are you
do you know where the station is near here
can you turn on the light
turn it off
please switch the radio on
come in
set a timer for five minutes
set a timer for five
what is two plus two
what is my phone number
go forward ten meters
and mister john dashwood had then leisure to consider
he might even have been made amiable himself
thank you very much
yes
no
no no
hello
yes i do
no i don't
of course not
i would like a cup of tea please
that's all
if it rains tomorrow then we stay at home
i think it will rain
stop
i live in london and i work in a bank
the train leaves at seven thirty
"""

WAITING = """
i would like to go to the
what is the weather and
what is the weather in
my number is five five
five five
five five one two
you can call me on oh seven
my number is twenty
my phone number is
please turn on the light and
um
i think
let me see
hold on
because
i want to know if
so
he might even have been
had then leisure to
could you please
can you
what can you
what is
i'm going to my
if it rains tomorrow
when i get home
this is my
what do they
i
"""


@pytest.mark.parametrize("text", FINISHED.strip().splitlines())
def test_these_are_over(text: str) -> None:
    score = how_finished(text)
    assert score is not None
    assert score >= LIKELY


@pytest.mark.parametrize("text", WAITING.strip().splitlines())
def test_these_go_on(text: str) -> None:
    score = how_finished(text)
    assert score is not None
    assert score < UNDECIDED


@pytest.mark.parametrize(
    "text",
    ["", "  ", "light", "the light", "well the light", "zero " * 11, "we went on", "is it"],
)
def test_of_these_nobody_can_tell(text: str) -> None:
    score = how_finished(text)
    assert score is not None
    assert UNDECIDED <= score < LIKELY


@pytest.mark.parametrize("joint", ["and", "um", "the", "because", "my"])
@pytest.mark.parametrize("text", FINISHED.strip().splitlines())
def test_a_word_that_leads_on_keeps_any_sentence_open(text: str, joint: str) -> None:
    assert how_finished(f"{text} {joint}") == UNFINISHED


def test_a_number_is_open_until_it_is_as_long_as_a_telephone_number() -> None:
    scores = [how_finished("it is " + "seven " * digits) for digits in range(2, 12)]
    assert scores == [UNFINISHED] * 8 + [UNDECIDED] * 2
    assert all((a or 0) <= (b or 0) for a, b in pairwise(scores))


@pytest.mark.parametrize("language", ["de", "fr-FR", "es", "enm", "sv"])
def test_of_other_languages_nothing_is_said(language: str) -> None:
    assert how_finished("und dann", language) is None


@pytest.mark.parametrize("language", [None, "", "en", "en-GB", "EN_us", "eng", "English"])
def test_english_has_many_names(language: str | None) -> None:
    assert how_finished("and then and", language) == UNFINISHED


def test_case_and_punctuation_mean_nothing() -> None:
    for text in ("What is the weather, and", "WHAT IS THE WEATHER AND\N{HORIZONTAL ELLIPSIS}"):
        assert how_finished(text) == UNFINISHED
    assert how_finished("That\N{RIGHT SINGLE QUOTATION MARK}s all.") == 1.0


WORDS = sorted({word for text in (FINISHED + WAITING).split() for word in [text]})


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=12))
def test_any_words_have_a_score(words: list[str]) -> None:
    score = how_finished(" ".join(words))
    assert score is not None
    assert 0 <= score <= 1
