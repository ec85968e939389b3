"""Text in any chunks → the same pieces, nothing lost."""

# ruff: noqa: RUF001  the punctuation of other scripts is meant as it stands

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.nodes.sentences import CLAUSE, FIRST_CLAUSE, PIECE_MAX, SentenceSplitter


def split(*chunks: str) -> list[str]:
    splitter = SentenceSplitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return pieces + splitter.flush()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello", ["Hello"]),
        ("Hello. How are you? Fine!", ["Hello. ", "How are you? ", "Fine!"]),
        ("Dr. Smith met J. Doe. Then left.", ["Dr. Smith met J. Doe. ", "Then left."]),
        ("It is 3.14 or 1,234.5 now. Yes.", ["It is 3.14 or 1,234.5 now. ", "Yes."]),
        ("Wait... what? Oh…  no.", ["Wait... ", "what? ", "Oh… ", " no."]),
        (
            'He said "stop." Then (he left.) So.',
            ['He said "stop." ', "Then (he left.) ", "So."],
        ),
        ("1. First\n2. Second\n", ["1. First\n", "2. Second\n"]),
        ("你好。「很好！」再见", ["你好。", "「很好！」", "再见"]),
        ("So did I. And you?", ["So did I. ", "And you?"]),
        ("\n\n Hi.", ["\n\n Hi."]),
        ("At 9 a.m. we met, e.g. here.", ["At 9 a.m. we met, e.g. here."]),
    ],
)
def test_ends_pieces_where_a_reader_would_pause(text, pieces):
    """Sentence ends are found; abbreviations, numbers and list marks are not taken for them."""
    assert split(text) == pieces


def test_first_piece_may_end_at_a_comma():
    """A long first sentence is cut early, later ones are left whole for longer."""
    clause = "this clause has about forty characters in it, "
    assert len(clause) > FIRST_CLAUSE
    pieces = split(clause * 5)
    assert pieces[0] == clause
    assert all(len(piece) > CLAUSE for piece in pieces[1:-1])


def test_a_sentence_is_given_as_soon_as_its_end_is_certain():
    """No waiting for the next sentence to begin."""
    splitter = SentenceSplitter()
    assert splitter.feed("Hello there.") == []
    assert splitter.feed(" ") == ["Hello there. "]


TEXTS = st.text(st.sampled_from("ab Z1.,!?…。！，」\"'\n—*")) | st.text(max_size=600)


@given(TEXTS, st.lists(st.integers(0, 600)))
def test_chunking_changes_nothing(text, cuts):
    """Pieces joined are the text, none is too long, any chunking gives the same ones."""
    whole = split(text)
    assert "".join(whole) == text
    assert all(0 < len(piece) <= PIECE_MAX for piece in whole)
    points = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[a:b] for a, b in pairwise(points)]
    assert split(*chunks) == whole


@given(st.lists(st.sampled_from(["wörd", " ", ". ", ", ", "。", "」", "x" * 90])))
def test_long_texts_in_any_chunks(parts):
    """The same for long texts, cut where a model would cut them."""
    text = "".join(parts)
    assert split(*parts) == split(text) == split(*text)
