"""The grammar takes what is in order, and nothing else."""

from __future__ import annotations

import pytest
from tests.conformance.grammar import OutOfOrder, Reading

ADDED = ["conversation.item.added", "conversation.item.done"]
COMMITTED = ["input_audio_buffer.committed", *ADDED]
DELTA = "response.output_text.delta"
ITEM = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    DELTA,
    DELTA,
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]


def read(rule: str, *words: str) -> Reading:
    reading = Reading(rule)
    for word in words:
        reading.read(word)
    return reading


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("message", ITEM),
        ("given", ADDED),
        ("turn", COMMITTED),
        ("turn", ["input_audio_buffer.speech_started", *COMMITTED]),
        ("turn", ["input_audio_buffer.timeout_triggered", *COMMITTED]),
        ("call_aside", ["response.output_item.added", "response.output_item.done"]),
    ],
)
def test_what_is_in_order(rule: str, words: list[str]) -> None:
    """A whole sentence is complete, and only a whole one."""
    reading = Reading(rule)
    for word in words:
        assert not reading.complete
        reading.read(word)
    assert reading.complete


@pytest.mark.parametrize("missing", [0, 1, 2, 5, 6, 7])
def test_what_is_left_out(missing: int) -> None:
    """No rung of the ladder may be missing."""
    with pytest.raises(OutOfOrder):
        read("message", *ITEM[:missing], *ITEM[missing + 1 :])


@pytest.mark.parametrize("at", range(len(ITEM) - 1))
def test_what_is_exchanged(at: int) -> None:
    """No two rungs may be exchanged; the deltas are all alike."""
    one, other = ITEM[at : at + 2]
    words = [*ITEM[:at], other, one, *ITEM[at + 2 :]]
    if one == other:
        assert read("message", *words).complete
    else:
        with pytest.raises(OutOfOrder):
            read("message", *words)


def test_what_is_of_another_kind() -> None:
    """Speech has no text, and an error says what could have come."""
    opened = ITEM[:3]
    with pytest.raises(OutOfOrder, match=r"response\.output_audio\.delta"):
        read("message", *opened, DELTA, "response.output_audio.delta")
    with pytest.raises(OutOfOrder, match="here can be"):
        read("message", *opened, "response.done")


def test_nothing_follows_the_end() -> None:
    """After a whole sentence comes nothing."""
    with pytest.raises(OutOfOrder, match="nothing"):
        read("message", *ITEM, DELTA)


def test_the_dialects_differ() -> None:
    """What the one says, the other does not."""
    with pytest.raises(OutOfOrder):
        Reading("given", "beta").read("conversation.item.added")
    with pytest.raises(OutOfOrder):
        Reading("given", "ga").read("conversation.item.created")
