"""The bridge as a node, on a Dora that is not there."""

from __future__ import annotations

import queue
from typing import Any

import pytest
import trio
from tests.dora.test_node_config import environment

from trio_bridge.dora import joined
from trio_bridge.dora.instances import attachment
from trio_bridge.dora.joined import open_joined_backend
from trio_bridge.dora.settings import DoraSettings


class Node:
    """A node whose neighbours never answer."""

    def __init__(self) -> None:
        self.events = queue.SimpleQueue[dict[str, Any] | None]()
        self.sent = 0

    def next(self) -> dict[str, Any] | None:
        return self.events.get()

    def send_output(self, *_: object) -> None:
        self.sent += 1


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    monkeypatch.setattr("dora.Node", lambda: node)
    return node


@pytest.fixture
def tidied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whether shared memory was seen to at the end, and not cut short."""
    done: list[str] = []

    async def leave_none() -> None:
        await trio.sleep(0.01)
        done.append("tidied")

    monkeypatch.setattr(joined, "leave_none", leave_none)
    monkeypatch.setattr(attachment, "READER_GRACE", 0.05)
    return done


async def test_a_stop_before_it_is_up_is_heeded_at_once(node: Node, tidied: list[str]) -> None:
    """In good order: nothing has failed, and there is nobody to be sent away."""

    async def stop() -> None:
        while node.sent < 5:  # noqa: ASYNC110  it has joined, and pings
            await trio.sleep(0.01)
        node.events.put({"type": "STOP", "id": "MANUAL"})
        node.events.put(None)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            async with open_joined_backend(DoraSettings(), environment()) as backend:
                assert not backend.healthy
                assert backend.refusal() is not None
                await backend.wait_over(0)
                assert backend.problem is None
    assert tidied == ["tidied"]


async def test_shared_memory_is_seen_to_however_it_ends(node: Node, tidied: list[str]) -> None:
    """Also when it is cancelled while it comes up."""
    with trio.move_on_after(0.3) as scope:
        async with open_joined_backend(DoraSettings(), environment()):
            raise AssertionError("its nodes do not answer")
    assert scope.cancelled_caught
    node.events.put(None)
    assert tidied == ["tidied"]
