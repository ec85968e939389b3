"""Whether what listens at a port still does anything."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_bridge.dora.runtimes import pulse
from trio_bridge.dora.runtimes.pulse import A_NODE, PATIENCE, answers


async def test_one_that_hangs_up_in_its_turn_answers() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        assert await stream.receive_some() == b""

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hang_up, 0)
        port = listeners[0].socket.getsockname()[1]
        assert await answers(port)
        nursery.cancel_scope.cancel()


async def test_one_that_only_takes_the_question_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes connections is not who has to answer. One that cannot read the question
    hangs up."""
    monkeypatch.setattr(pulse, "PATIENCE", 0.5)
    asked: list[bytes] = []

    async def take(stream: trio.SocketStream) -> None:
        asked.append(b"".join([part async for part in stream]))
        if len(asked) == 1:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, take, 0)
        port = listeners[0].socket.getsockname()[1]
        assert not await answers(port, A_NODE)
        assert await answers(port, A_NODE)
        nursery.cancel_scope.cancel()
    assert asked == [A_NODE, A_NODE]


async def test_one_that_has_ended_does_not_hang() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    assert await answers(port)


async def test_one_that_takes_no_connection_hangs(mock_clock: MockClock) -> None:
    """Its kernel takes them. What the machine was asleep for is not counted."""
    said: list[bool] = []
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def ask() -> None:
        said.append(await answers(port))

    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for _ in range(20):
            await wait_all_tasks_blocked()
            mock_clock.jump(PATIENCE)
        await wait_all_tasks_blocked()
        assert not said
        for _ in range(round(PATIENCE / 0.25)):
            mock_clock.jump(0.25)
            await wait_all_tasks_blocked()
    assert said == [False]
