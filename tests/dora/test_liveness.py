"""When a node counts as hung."""

from __future__ import annotations

from trio_bridge.dora.instances.liveness import (
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
    book.acknowledged("chat", "cancel", 0, 1.1)
    all_heard(book, 2.5)
    assert book.deadline == 1.0 + UNACKNOWLEDGED_SECONDS
    assert book.fault(2.9) is None
    fault = book.fault(3.0)
    assert fault is not None
    assert fault.node == "tts"
    assert "cancel" in fault.reason


def test_a_node_that_is_behind_and_goes_on_is_only_busy() -> None:
    """Each message is taken 5 s after it was sent, one a second: more than it was given."""
    book = liveness()
    for number in range(5):
        book.sent("listen", number, float(number))
    for number in range(5, 60):
        now = float(number)
        book.sent("listen", number, now)
        book.acknowledged("vad", "listen", number - 5, now)
        all_heard(book, now)
        assert book.fault(now + 0.9) is None
    assert book.deadline == 59.0 + UNACKNOWLEDGED_SECONDS
    all_heard(book, 61.0)
    fault = book.fault(61.0)
    assert fault is not None
    assert fault.node == "vad"


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
    book.acknowledged("vad", "listen", 48, 0.9)
    all_heard(book, 2.0)
    assert book.deadline == 0.9 + UNACKNOWLEDGED_SECONDS
    book.acknowledged("vad", "listen", 49, 2.0)
    assert book.deadline == 2.0 + SILENCE_SECONDS


def test_what_nobody_reads_is_not_waited_for() -> None:
    book = liveness()
    for number in range(UNACKNOWLEDGED_MESSAGES * 2):
        assert book.sent("credit", number, 0.0) is None
