"""What a node does by itself: heartbeats, acknowledgements, pings, an end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from tests.support import dora_node as support

from trio_bridge.dora.codec import decode, encode
from trio_bridge.dora.contract import Ack, Cancel, Speech
from trio_bridge.nodes.host import ACK_MESSAGES, open_node


class FakeNode(support.FakeNode):
    def put(self, number: int, **metadata: Any) -> None:
        self.incoming.put(
            {
                "type": "INPUT",
                "id": "cancel",
                "value": encode([Cancel("s", str(number))]),
                "metadata": {"n": number, "from": "bridge", **metadata},
            }
        )

    def acks(self) -> list[Ack]:
        sent = [decode(data, Ack) for port, data, _ in self.sent if port == "ack"]
        return [row for rows in sent for row in rows]

    def pings(self) -> list[tuple[str, str]]:
        return [(port, m["ping"]) for port, _, m in self.sent if "ping" in m]


OUTPUTS = ("speech", "transcript", "ack")


async def test_batches_arrive_and_the_stop_ends_the_loop() -> None:
    node = FakeNode()
    node.put(0)
    node.put(1)
    node.incoming.put(None)
    async with open_node("own", outputs=OUTPUTS, node=node) as io:
        heard = [(batch.port, batch.rows[0].response_id) async for batch in io]
    assert heard == [("cancel", "0"), ("cancel", "1")]


async def test_what_came_from_the_bridge_is_acknowledged() -> None:
    """After 25 messages, or soon after the last; what is missing is counted."""
    node = FakeNode()
    async with open_node("own", outputs=OUTPUTS, node=node) as io:
        io.sessions = lambda: 7
        for number in range(ACK_MESSAGES):
            node.put(number)
            await anext(io)
        node.put(ACK_MESSAGES + 3)
        await anext(io)
        with trio.fail_after(3):
            while len([a for a in node.acks() if a.port]) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        node.incoming.put(None)
    first, second = [a for a in node.acks() if a.port][:2]
    assert (first.node, first.port, first.received, first.lost, first.sessions) == (
        "own",
        "cancel",
        ACK_MESSAGES - 1,
        0,
        7,
    )
    assert (second.received, second.lost) == (ACK_MESSAGES + 3, 3)


async def test_it_says_that_it_is_alive() -> None:
    node = FakeNode()
    async with open_node("own", outputs=OUTPUTS, node=node):
        with trio.fail_after(3):
            while len([a for a in node.acks() if not a.port]) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        node.incoming.put(None)


async def test_a_ping_is_acknowledged_and_passed_on_once() -> None:
    """On every output but `ack`; the program does not see it."""
    node = FakeNode()
    for number in range(2):
        node.put(number, ping="a")
    node.put(2, ping="b")
    node.incoming.put(None)
    async with open_node("own", outputs=OUTPUTS, node=node) as io:
        assert [batch async for batch in io] == []
    assert sorted(node.pings()) == [
        ("speech", "a"),
        ("speech", "b"),
        ("transcript", "a"),
        ("transcript", "b"),
    ]
    assert [a.received for a in node.acks() if a.port] == [0, 1, 2]


async def test_rows_for_an_output_that_is_not_there_are_dropped() -> None:
    node = FakeNode()
    async with open_node("own", outputs=["ack"], node=node) as io:
        io.send("speech", Speech("s", "started", "u", 0))
        node.incoming.put(None)
        assert [batch async for batch in io] == []
    assert {port for port, _, _ in node.sent} == {"ack"}


async def test_leaving_sends_what_still_waits() -> None:
    node = FakeNode()
    async with open_node("own", outputs=OUTPUTS, node=node) as io:
        for number in range(3):
            io.send("speech", Speech("s", "started", "u", number))
        node.incoming.put(None)
    rows = [r for port, data, _ in node.sent if port == "speech" for r in decode(data, Speech)]
    assert [row.audio_ms for row in rows] == [0, 1, 2]


async def test_its_news_go_to_the_bridge_and_stay_in_its_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = FakeNode()
    async with open_node("own", outputs=OUTPUTS, node=node) as io:
        io.report("a worker died")
        node.incoming.put(None)
    assert [ack.note for ack in node.acks() if ack.note] == ["a worker died"]
    assert capsys.readouterr().err == "own: a worker died\n"
