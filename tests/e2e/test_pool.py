"""The pool as clients meet it: storms, full houses, and instances that break."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import trio
from tests.support.client import Client, connected
from tests.support.quickest import quickest
from tests.support.resources import all_segments, command, health, segments_of
from tests.support.server import (
    RunningServer,
    children_of,
    is_running,
    running_server,
    wait_until,
)
from trio_websocket import ConnectionRejected

pytestmark = pytest.mark.e2e

STORM = 100
STORM_SECONDS = 1.0
ANSWERED_WITHIN = 0.25


def node_processes(server: RunningServer) -> set[int]:
    """The nodes' own processes, and what those have started."""
    pids = children_of(server.process.pid)
    return {
        pid
        for pid in pids
        if "trio_bridge.nodes" in command(pid) and "fork_server" not in command(pid)
    }


def nodes(server: RunningServer) -> set[int]:
    """The nodes alone: their workers come a moment later."""
    return {pid for pid in node_processes(server) if "worker" not in command(pid)}


def orphans(server: RunningServer, segments: set[str]) -> set[str]:
    """Those of some segments that are still there, though the server uses them no more."""
    used = segments_of({server.process.pid, *children_of(server.process.pid)})
    return (segments - used) & all_segments()


async def answered(client: Client) -> None:
    """Whether what it says arrives."""
    await client.send(
        "session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": None}}},
    )
    await client.speak(np.zeros(4800, np.float32), rate=24_000)
    await client.send("input_audio_buffer.commit")
    await client.wait_for("input_audio_buffer.committed")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize(("dataflow", "node"), [("echo", "echo"), ("voice", "tts")])
async def test_the_only_instance_breaks(
    tmp_path: Path, dataflow: str, node: str, how: signal.Signals
) -> None:
    """Its sessions get an error and a close; who comes then waits for the next instance and is
    served; and of the broken one nothing is left. How soon is measured by `tests.faults`."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    settings = {"TMPDIR": str(temporary), "TRIO_BRIDGE_DORA_MAX_INSTANCES": "1"}
    async with running_server(tmp_path / "log", "--dataflow", dataflow, env=settings) as server:
        before = node_processes(server)
        programs = sorted(map(command, nodes(server)))
        segments = segments_of(before)
        assert segments
        (pid,) = (pid for pid in before if command(pid).endswith(f".{node}"))
        ended: list[tuple[int, str]] = []

        async def lose() -> None:
            async with connected(server.ws_url) as client:
                ready.release()
                code, reason = await client.wait_closed()
                (error,) = client.of_type("error")
                assert error["error"]["code"] == "dataflow_broken"
                ended.append((code, reason))

        ready = trio.Semaphore(0)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lose)
            for _ in range(3):
                await ready.acquire()
            killed_at = trio.current_time()
            os.kill(pid, how)
        broken_at = trio.current_time()
        assert [code for code, _ in ended] == [1011] * 3
        assert all(f"'{node}'" in reason for _, reason in ended)
        async with connected(server.ws_url) as client:
            seconds = trio.current_time() - broken_at
            in_all = trio.current_time() - killed_at
            await answered(client)
        print(f"{dataflow}, {how.name}: {seconds:.2f} s, {in_all:.2f} s in all")  # noqa: T201
        await wait_until(lambda: not any(is_running(each) for each in before))
        assert sorted(map(command, nodes(server))) == programs
        await wait_until(lambda: not orphans(server, segments))
        # Of the runtime's folder too: one instance, one folder.
        assert len(list(temporary.glob("*/trio_bridge-*/"))) == 1
    assert not list(temporary.iterdir())


async def sessions(server: RunningServer) -> int:
    """How many its one pool holds."""
    (pool,) = (await trio.to_thread.run_sync(health, server))["pools"]
    held: int = pool["sessions"]
    return held


async def storm(server: RunningServer) -> float:
    """A hundred in a second, at even distances; returns the seconds until the second slowest
    had its first answer."""
    took: list[float] = []
    all_there, counted = trio.Event(), trio.Event()

    async def one(at: float) -> None:
        await trio.sleep_until(at)
        began = trio.current_time()
        async with connected(server.ws_url) as client:
            took.append(client.events[0].at - began)
            if len(took) == STORM:
                all_there.set()
            await counted.wait()
            assert client.closed is None

    began = trio.current_time() + 0.1
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(STORM):
                nursery.start_soon(one, began + number * STORM_SECONDS / STORM)
            await all_there.wait()
            assert await sessions(server) == STORM
            counted.set()
        while await sessions(server):  # noqa: ASYNC110  it tells nobody
            await trio.sleep(0.05)
    return sorted(took)[-2]


async def test_a_storm_of_sessions_is_answered(tmp_path: Path) -> None:
    """All of them, and all first answers but one are soon there."""
    async with running_server(tmp_path / "log", "--dataflow", "echo") as server:

        async def measure() -> float:
            return await storm(server)

        assert await quickest(measure, ANSWERED_WITHIN) <= ANSWERED_WITHIN


async def test_instances_follow_the_sessions(tmp_path: Path) -> None:
    """One for each session and one ahead; who finds all taken is refused before the upgrade;
    and what nobody needs ends."""
    settings = {
        "TRIO_BRIDGE_DORA_SESSIONS": "1",
        "TRIO_BRIDGE_DORA_MAX_INSTANCES": "2",
        "TRIO_BRIDGE_DORA_IDLE_STOP": "0.5",
    }
    async with running_server(tmp_path / "log", "--dataflow", "echo", env=settings) as server:
        assert len(node_processes(server)) == 1
        async with connected(server.ws_url):
            await wait_until(lambda: len(node_processes(server)) == 2)
            # It waits for the second, which is not warm yet.
            async with connected(server.ws_url) as client:
                await answered(client)
                with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as caught:
                    async with connected(server.ws_url):
                        pass
                rejected: BaseException = caught.value
                while isinstance(rejected, BaseExceptionGroup):
                    (rejected,) = rejected.exceptions
                assert isinstance(rejected, ConnectionRejected)
                assert rejected.status_code == 503
                assert (b"retry-after", b"5") in tuple(rejected.headers or ())
                answer = await trio.to_thread.run_sync(health, server)
                assert answer["pools"][0]["sessions"] == 2
                assert answer["status"] == "healthy"
        # Which one stays is decided by whose session is seen to leave first.
        await wait_until(lambda: len(node_processes(server)) == 1)
