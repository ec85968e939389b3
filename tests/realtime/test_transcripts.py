"""What of a growing transcript may be told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.realtime.transcripts import GrowingTranscript


def deltas(partials: list[str], final: str) -> list[str]:
    growing = GrowingTranscript()
    told = []
    for partial in partials:
        growing.update(partial)
        told.append(growing.delta())
    return [*told, growing.last_delta(final)]


def test_a_word_is_told_when_two_hypotheses_agree_on_it() -> None:
    """The newest words wait; the final text brings the rest."""
    assert deltas(
        ["go", "go for", "go forward", "go forward ten"], "go forward ten meters"
    ) == [
        "",
        "go",
        "",
        " forward",
        " ten meters",
    ]


def test_nothing_is_told_that_the_final_text_denies_in_time() -> None:
    """A word revised before it was confirmed was never told."""
    assert deltas(["wreck", "recognise", "recognise speech"], "recognise speech") == [
        "",
        "",
        "recognise",
        " speech",
    ]


def test_what_was_told_too_soon_ends_the_deltas() -> None:
    """`completed` has the last word."""
    assert deltas(["a nice", "a nice beach"], "an ice beach")[-1] == ""


def test_an_utterance_without_partials() -> None:
    """All of it in one delta."""
    assert deltas([], "hello") == ["hello"]


@given(st.lists(st.text("ab ", max_size=12), max_size=6), st.text("ab ", max_size=12))
def test_deltas_join_to_the_transcript_or_stop(partials: list[str], final: str) -> None:
    """Told text is a beginning of the final text, or nothing was added to it at the end."""
    told = deltas(partials, final)
    assert "".join(told) == final or (not told[-1] and not final.startswith("".join(told)))
