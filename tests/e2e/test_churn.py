"""Sessions with an instance each come and go, and nothing of them is left."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from tests.e2e.test_many_sessions import talk
from tests.support.client import connected
from tests.support.resources import abandoned_segments, health, used_by
from tests.support.server import RunningServer, children_of, running_server, wait_until

pytestmark = pytest.mark.e2e

SESSIONS = 50
AT_ONCE = 4
VANISHING = 0.3
"""The share of them whose connection is torn while they are served, or wait for it."""


def used(server: RunningServer) -> set[str]:
    """Shared memory that its processes use."""
    return used_by((server.process.pid, *children_of(server.process.pid)))


async def test_isolated_sessions_leave_nothing_of_their_instances(tmp_path: Path) -> None:
    """Instances start as sessions come and stop as soon as they are idle: no process, folder or
    shared memory of theirs outlives them, while the server runs and when it has stopped."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {
        "TMPDIR": str(temporary),
        "TRIO_BRIDGE_DORA_SESSIONS": "1",
        "TRIO_BRIDGE_DORA_MAX_INSTANCES": f"{AT_ONCE}",
        "TRIO_BRIDGE_DORA_IDLE_STOP": "0",
    }
    chance = random.Random(1)  # noqa: S311  it decides about nothing
    seen: set[str] = set()
    async with running_server(tmp_path / "log", "--dataflow", "echo", env=settings) as server:
        before = len(children_of(server.process.pid))
        numbers = iter(range(SESSIONS))

        async def come_and_go() -> None:
            for number in numbers:
                patience = chance.random() if chance.random() < VANISHING else 20
                with trio.move_on_after(patience) as scope:
                    async with connected(server.ws_url) as client:
                        await talk(client, 300 + 37 * number, 0.1)
                assert patience < 20 or not scope.cancelled_caught
                # In some of the pauses an instance stops, in others it is taken again.
                await trio.sleep(chance.random() / 4)

        async def look() -> None:
            while True:
                seen.update(await trio.to_thread.run_sync(used, server))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            async with trio.open_nursery() as clients:
                for _ in range(AT_ONCE):
                    clients.start_soon(come_and_go)
            await wait_until(lambda: len(children_of(server.process.pid)) == before)
            await wait_until(lambda: len(list(temporary.glob("*/trio_bridge-*/"))) == 1)
            nursery.cancel_scope.cancel()
        answer = await trio.to_thread.run_sync(health, server)
        (pool,) = answer["pools"]
        assert (pool["sessions"], pool["waiting"], pool["failures"]) == (0, 0, 0)
        assert [each["nodeSessions"] for each in answer["dataflows"]] == [{"echo": 0}]
        assert len(seen) > len(used(server))
        await wait_until(lambda: not seen & abandoned_segments(), 1.0)
        seen |= used(server)
    assert not seen & abandoned_segments()
    assert not list(temporary.iterdir())
    assert '"level": "error"' not in (tmp_path / "log").read_text()
