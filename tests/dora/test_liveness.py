"""When a node counts as hung."""

from __future__ import annotations

from trio_bridge.dora.liveness import (
    SILENCE_SECONDS,
    UNACKNOWLEDGED_MESSAGES,
    UNACKNOWLEDGED_SECONDS,
    Liveness,
)


def liveness() -> Liveness:
    readers = {
        "listen": (("vad", "listen"),),
        "cancel": (("chat", "cancel"), ("tts", "cancel")),
    }
    return Liveness(["vad", "chat", "tts"], readers, 0.0)


def all_heard(book: Liveness, now: float) -> None:
    for node in ("vad", "chat", "tts"):
        book.heard(node, now)


def test_silence_is_a_fault_of_the_one_silent_longest() -> None:
    book = liveness()
    all_heard(book, 1.0)
    book.heard("vad", 1.5)
    book.heard("chat", 1.5)
    assert book.deadline == 1.0 + SILENCE_SECONDS
    assert book.fault(2.9) is None
    fault = book.fault(3.0)
    assert fault is not None
    assert fault.node == "tts"


def test_a_message_not_taken_in_time_is_a_fault_of_its_reader() -> None:
    """Though it is alive, and another reader has taken it."""
    book = liveness()
    assert book.sent("cancel", 0, 1.0) is None
    book.acknowledged("chat", "cancel", 0)
    all_heard(book, 2.5)
    assert book.deadline == 1.0 + UNACKNOWLEDGED_SECONDS
    assert book.fault(2.9) is None
    fault = book.fault(3.0)
    assert fault is not None
    assert fault.node == "tts"
    assert "cancel" in fault.reason


def test_too_many_messages_are_a_fault_at_once() -> None:
    book = liveness()
    for number in range(UNACKNOWLEDGED_MESSAGES):
        assert book.sent("listen", number, 0.0) is None
    fault = book.sent("listen", UNACKNOWLEDGED_MESSAGES, 0.0)
    assert fault is not None
    assert fault.node == "vad"


def test_an_acknowledgement_covers_all_before_it() -> None:
    book = liveness()
    for number in range(50):
        book.sent("listen", number, number / 100)
    book.acknowledged("vad", "listen", 48)
    all_heard(book, 2.0)
    assert book.fault(2.45) is None
    assert book.deadline == 0.49 + UNACKNOWLEDGED_SECONDS
    book.acknowledged("vad", "listen", 49)
    assert book.deadline == 2.0 + SILENCE_SECONDS


def test_what_nobody_reads_is_not_waited_for() -> None:
    book = liveness()
    for number in range(UNACKNOWLEDGED_MESSAGES * 2):
        assert book.sent("credit", number, 0.0) is None
