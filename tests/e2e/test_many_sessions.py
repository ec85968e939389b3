"""Sessions come and go, many of them, and leave nothing behind and hear nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
from tests.support.client import RATE, Client, connected
from tests.support.resources import settled
from tests.support.server import running_server

pytestmark = pytest.mark.e2e

IN_ALL = 200
ROWS = 5
"""Side by side, each of sessions one after another."""
AT_ONCE = 20
MEMORY_GROWTH_MB = 5.0


async def talk(client: Client, hertz: float, seconds: float) -> None:
    """Say a tone to the echo and hear that tone alone, all of it."""
    await client.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    )
    t = np.arange(int(seconds * RATE)) / RATE
    await client.speak((0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32), rate=RATE)
    await client.send("input_audio_buffer.commit")
    await client.wait_for("response.done")
    heard = client.audio()
    assert abs(len(heard) - len(t)) <= 4
    middle = heard[RATE // 25 : -RATE // 25].astype(np.float64)
    angle = 2 * np.pi * hertz * np.arange(len(middle)) / RATE
    basis = np.stack([np.sin(angle), np.cos(angle)])
    weights = np.linalg.lstsq(basis.T, middle, rcond=None)[0]
    residue = np.sqrt(np.mean((middle - weights @ basis) ** 2) / np.mean(middle**2))
    assert residue < 0.001


async def test_200_sessions_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    """Threads, files, processes, node state and memory are back where they were."""
    async with running_server(tmp_path / "log", "--dataflow", "echo") as server:

        async def row(first: int, count: int) -> None:
            for number in range(first, first + count):
                async with connected(server.ws_url) as client:
                    await talk(client, 300 + 10 * number, 0.12)

        async def rows(count: int) -> None:
            async with trio.open_nursery() as nursery:
                for each in range(ROWS):
                    nursery.start_soon(row, each * count, count)

        await rows(4)  # what is made once, is made
        before = await settled(server)
        await rows(IN_ALL // ROWS)
        after = await settled(server)
    assert after.node_sessions == before.node_sessions == 0
    assert after.threads <= before.threads
    assert after.files <= before.files
    assert after.processes <= before.processes
    assert after.memory_mb - before.memory_mb <= MEMORY_GROWTH_MB


async def test_20_sessions_at_once_hear_only_themselves(tmp_path: Path) -> None:
    """Each says a tone of its own, and every sample of it comes back, and nothing else."""
    async with running_server(tmp_path / "log", "--dataflow", "echo") as server:

        async def one(number: int) -> None:
            async with connected(server.ws_url) as client:
                await talk(client, 300 + 50 * number, 3.0)

        async with trio.open_nursery() as nursery:
            for number in range(AT_ONCE):
                nursery.start_soon(one, number)
        assert (await settled(server)).node_sessions == 0


async def test_clients_that_vanish_leave_nothing(tmp_path: Path) -> None:
    """A connection torn in the middle of an answer frees what it held."""
    async with running_server(tmp_path / "log", "--dataflow", "echo") as server:

        async def vanish() -> None:
            with trio.CancelScope() as here:
                async with connected(server.ws_url) as client, trio.open_nursery() as nursery:
                    nursery.start_soon(talk, client, 440, 5.0)
                    await client.wait_for("response.output_audio.delta")
                    here.cancel()

        async def all_at_once() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(vanish)

        await all_at_once()  # what is made once, is made
        before = await settled(server)
        await all_at_once()
        after = await settled(server)
    assert after.node_sessions == 0
    assert after.files <= before.files
    assert after.threads <= before.threads + 1
