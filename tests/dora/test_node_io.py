"""Batching on the way out, and one thread's events on the way in."""

from __future__ import annotations

import queue
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import trio
import trio.testing
from attrs import define, field

from trio_bridge.dora.codec import decode, encode
from trio_bridge.dora.contract import Cancel, Speech
from trio_bridge.dora.dora_node import Raw
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.node_events import (
    BYTES_OF_WEIGHT,
    MESSAGE_BYTES,
    ROWS_OF_WEIGHT,
    Batch,
    NodeEvent,
    Notice,
    Ping,
    Stopped,
    read_event,
)
from trio_bridge.dora.outbox import QUIET, ROWS_WAITING, Outbox


@define
class FakeNode:
    """Stands in for `dora.Node`: gives what the test puts in, keeps what is sent."""

    sent: list[tuple[str, pa.Array, dict[str, Any]]] = field(factory=list)
    incoming: queue.Queue[dict[str, Any] | None] = field(factory=queue.Queue)

    def next(self) -> dict[str, Any] | None:
        return self.incoming.get()

    def send_output(
        self, output_id: str, data: pa.Array, metadata: dict[str, Any] | None = None
    ) -> None:
        self.sent.append((output_id, data, metadata or {}))

    def rows(self) -> list[list[str]]:
        return [[r.response_id for r in decode(data, Cancel)] for _, data, _ in self.sent]


def message(rows: list[Any], input_id: str = "speech", **metadata: Any) -> dict[str, Any]:
    value = encode(rows, Speech)
    return {"type": "INPUT", "id": input_id, "value": value, "metadata": metadata}


async def test_the_first_row_leaves_at_once_the_next_ones_together(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    node = FakeNode()
    outbox = Outbox(node)
    nursery.start_soon(outbox.run)
    outbox.send("cancel", Cancel("s", "0"))
    await trio.testing.wait_all_tasks_blocked()
    assert node.rows() == [["0"]]
    outbox.send("cancel", Cancel("s", "1"))
    outbox.send("cancel", Cancel("t", "2"))
    await trio.sleep(QUIET * 0.9)
    assert len(node.sent) == 1
    await trio.sleep(QUIET * 0.2)
    assert node.rows() == [["0"], ["1", "2"]]
    # The second message has begun a quiet time of its own.
    outbox.send("cancel", Cancel("s", "3"))
    await trio.testing.wait_all_tasks_blocked()
    assert len(node.sent) == 2
    await trio.sleep(QUIET * 3)
    outbox.send("cancel", Cancel("s", "4"))
    await trio.testing.wait_all_tasks_blocked()
    assert node.rows() == [["0"], ["1", "2"], ["3"], ["4"]]
    assert [metadata["n"] for _, _, metadata in node.sent] == [0, 1, 2, 3]


async def test_what_is_said_in_one_go_is_one_message(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    node = FakeNode()
    outbox = Outbox(node)
    nursery.start_soon(outbox.run)
    for number in "012":
        outbox.send("cancel", Cancel("s", number))
    await trio.testing.wait_all_tasks_blocked()
    assert node.rows() == [["0", "1", "2"]]


async def test_ports_are_quiet_and_counted_each_on_its_own(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    node = FakeNode()
    outbox = Outbox(node, {"from": "bridge"})
    nursery.start_soon(outbox.run)
    for number in "01":
        outbox.send("cancel", Cancel("s", number))
        outbox.send("cancel-b", Cancel("s", number))
        await trio.testing.wait_all_tasks_blocked()
    assert len(node.sent) == 2
    await trio.sleep(QUIET * 2)
    assert [(port, m["n"], m["from"]) for port, _, m in node.sent] == [
        ("cancel", 0, "bridge"),
        ("cancel-b", 0, "bridge"),
        ("cancel", 1, "bridge"),
        ("cancel-b", 1, "bridge"),
    ]


async def test_what_waits_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    node = FakeNode()
    outbox = Outbox(node)
    for number in range(ROWS_WAITING + 1):
        outbox.send("cancel", Cancel("s", str(number)))
    assert [len(rows) for rows in node.rows()] == [ROWS_WAITING]


async def test_a_ping_does_not_overtake(autojump_clock: trio.testing.MockClock) -> None:
    node = FakeNode()
    outbox = Outbox(node)
    outbox.send("cancel", Cancel("s", "0"))
    outbox.send("cancel", Cancel("s", "1"))
    outbox.ping("cancel", "token")
    assert [m.get("ping") for _, _, m in node.sent] == [None, "token"]


async def test_a_forgotten_node_is_not_sent_to(
    autojump_clock: trio.testing.MockClock,
) -> None:
    node = FakeNode()
    outbox = Outbox(node)
    outbox.forget()
    outbox.send("cancel", Cancel("s", "0"))
    assert node.sent == []


async def test_events_come_in_order_and_end_with_the_stop(nursery: trio.Nursery) -> None:
    """More of them than the thread may be ahead."""
    node = FakeNode()
    inbox = Inbox(node, limit=3)
    nursery.start_soon(inbox.run)
    for number in range(20):
        node.incoming.put(message([Speech("s", "started", "u", number)], n=number))
    node.incoming.put(None)
    for number in range(20):
        event = await inbox.receive()
        assert isinstance(event, Batch)
        assert (event.number, event.rows[0].audio_ms) == (number, number)
    assert await inbox.receive() == Stopped()
    await inbox.ended.wait()


async def test_large_messages_hold_the_thread_up_sooner(nursery: trio.Nursery) -> None:
    """What waits is bounded by its size, however many messages that is."""
    node = FakeNode()
    inbox = Inbox(node, limit=8)
    large = pa.array(np.zeros(BYTES_OF_WEIGHT, np.float32))
    event = {"type": "INPUT", "id": "speech", "value": large, "metadata": {}}
    for _ in range(10):
        node.incoming.put(event)
    node.incoming.put(None)
    nursery.start_soon(inbox.run)
    with trio.fail_after(5):
        while node.incoming.qsize() > 9:  # noqa: ASYNC110  it is a thread
            await trio.sleep(0.01)
        await trio.sleep(0.05)
        assert node.incoming.qsize() == 9
        for _ in range(10):
            assert isinstance(await inbox.receive(), Notice)
        assert await inbox.receive() == Stopped()


async def test_the_thread_decodes_only_what_is_large(nursery: trio.Nursery) -> None:
    """What the loop does itself costs it less than to wait for the thread to have done it."""
    node = FakeNode()
    decoders: list[bool] = []

    def reads(event: Raw | None) -> NodeEvent:
        decoders.append(threading.current_thread() is threading.main_thread())
        return read_event(event)

    inbox = Inbox(node, reads)
    nursery.start_soon(inbox.run)
    small = message([Speech("s", "started", "u", 1)])
    large = message([Speech("s", "started", "u", 1)] * ROWS_OF_WEIGHT)
    for event in (small, large, small, None):
        node.incoming.put(event)
    received = [await inbox.receive() for _ in range(4)]
    assert [type(event) for event in received] == [Batch, Batch, Batch, Stopped]
    assert sorted(decoders) == [False, False, True, True]


def test_a_message_too_large_is_not_looked_at() -> None:
    large = pa.array(np.zeros(MESSAGE_BYTES // 8 + 1))
    notice = read_event({"type": "INPUT", "id": "speech", "value": large, "metadata": {}})
    assert isinstance(notice, Notice)
    assert "bytes" in notice.detail
    many = [Speech("s", "started", "u", 0)] * (ROWS_WAITING + 1)
    notice = read_event(message(many))
    assert isinstance(notice, Notice)
    assert "rows" in notice.detail


def test_text_that_is_not_utf_8_is_a_bad_message() -> None:
    offsets, text = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")
    whose = pa.Array.from_buffers(pa.string(), 1, [None, offsets, text])
    rows = pa.StructArray.from_arrays([whose], ["session_id"])
    event = {"type": "INPUT", "id": "speech", "value": rows, "metadata": {}}
    assert isinstance(read_event(event), Notice)


async def test_a_thread_that_is_ahead_goes_when_nobody_reads(nursery: trio.Nursery) -> None:
    node = FakeNode()
    inbox = Inbox(node, limit=1)
    nursery.start_soon(inbox.run)
    for _ in range(5):
        node.incoming.put(message([], n=0))
    await inbox.receive()
    inbox.close()
    with trio.fail_after(5):
        await inbox.ended.wait()


async def test_a_cancelled_reader_does_not_hold_anybody_up() -> None:
    node = FakeNode()
    inbox = Inbox(node)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    node.incoming.put(None)
    with trio.fail_after(5):
        await inbox.ended.wait()


@pytest.mark.parametrize(
    ("event", "meaning"),
    [
        (None, Stopped()),
        ({"type": "STOP", "id": "MANUAL"}, Stopped()),
        (
            {"type": "ERROR", "error": "fatal event stream error: daemon channel broken"},
            Stopped(),
        ),
        (
            message([], n="many"),
            Notice("BAD_MESSAGE", "speech", "invalid literal for int() with base 10: 'many'"),
        ),
        ({"type": "INPUT_CLOSED", "id": "speech"}, Notice("INPUT_CLOSED", "speech")),
        (
            {"type": "ERROR", "error": "it broke\n\nLocation: somewhere"},
            Notice("ERROR", "", "it broke"),
        ),
        (message([], "speech-2", n=4, ping="t"), Ping("speech-2", "t", 4)),
        (
            {**message([], "nonsense"), "value": pa.array([1])},
            Notice("BAD_MESSAGE", "nonsense", "an input that the contract does not know"),
        ),
        (
            {**message([]), "value": pa.array([1])},
            Notice("BAD_MESSAGE", "speech", "Speech: a struct array is expected, not int64"),
        ),
    ],
)
def test_dora_events_get_a_meaning(event: dict[str, Any] | None, meaning: object) -> None:
    assert read_event(event) == meaning
