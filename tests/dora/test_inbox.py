"""One thread's events on the way in."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa
import pytest
import trio
import trio.testing
from tests.support.dora_node import FakeNode, message

from trio_bridge.dora import inbox as inbox_module
from trio_bridge.dora.contract import Speech
from trio_bridge.dora.dora_node import Raw
from trio_bridge.dora.inbox import Inbox
from trio_bridge.dora.node_events import (
    BYTES_OF_WEIGHT,
    ROWS_OF_WEIGHT,
    Batch,
    NodeEvent,
    Notice,
    Stopped,
    read_event,
)


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


async def test_the_thread_waits_for_room_no_longer_than_there_is_none(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fills the inbox between two lines of who makes room."""
    node, trio_thread = FakeNode(), threading.current_thread()
    inbox = Inbox(node, limit=3)
    weigh, waited = inbox_module._weight, list[bool]()

    def slowly(event: NodeEvent | Raw) -> int:
        if threading.current_thread() is trio_thread and not waited:
            waited.append(True)
            for number in range(1, 8):
                node.incoming.put(message([Speech("s", "started", "u", number)], n=number))
            time.sleep(0.1)
        return weigh(event)

    monkeypatch.setattr(inbox_module, "_weight", slowly)
    nursery.start_soon(inbox.run)
    node.incoming.put(message([Speech("s", "started", "u", 0)], n=0))
    with trio.fail_after(5):
        for number in range(8):
            event = await inbox.receive()
            assert isinstance(event, Batch)
            assert event.number == number
    node.incoming.put(None)
    assert await inbox.receive() == Stopped()


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
