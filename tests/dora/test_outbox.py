"""Batching on the way out."""

from __future__ import annotations

import trio
import trio.testing
from tests.support.dora_node import FakeNode

from trio_bridge.dora.contract import Cancel
from trio_bridge.dora.outbox import QUIET, ROWS_WAITING, Outbox


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
