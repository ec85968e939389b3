"""Bridges on a Dora that somebody else has started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import yaml
from tests.support.client import connected
from tests.support.dora import OwnDora, free_port, own_dora
from tests.support.resources import health, is_warm
from tests.support.server import RunningServer, running_server

from trio_bridge.dora.runtimes.pulse import A_NODE

pytestmark = pytest.mark.e2e


@pytest.fixture
async def dora(tmp_path: Path) -> AsyncGenerator[OwnDora, None]:
    async with own_dora(tmp_path) as running:
        yield running


def bridge(
    dora: OwnDora, name: str, dataflow: str = "echo"
) -> AbstractAsyncContextManager[RunningServer]:
    arguments = ("--coordinator", f"localhost:{dora.coordinator_port}", "--dataflow", dataflow)
    env = {
        "TRIO_BRIDGE_DORA_DAEMON_PORT": f"{dora.daemon_port}",
        "TRIO_BRIDGE_DORA_WAIT_TIMEOUT": "1",
        "TMPDIR": str(dora.directory),
    }
    return running_server(dora.directory / f"{name}.log", *arguments, env=env)


async def running(dora: OwnDora) -> set[str]:
    return {name for name, status in (await dora.dataflows()).items() if status == "Running"}


async def is_served(server: RunningServer) -> None:
    async with connected(server.ws_url) as client:
        await client.send("input_audio_buffer.append", audio="AAAA" * 3200)
        await client.send("input_audio_buffer.commit")
        await client.wait_for("response.done")


async def test_bridges_share_it_and_each_stops_its_own(dora: OwnDora) -> None:
    """What is somebody else's runs on."""
    others = dora.directory / "others.yml"
    node = {
        "id": "sleeper",
        "path": sys.executable,
        "args": "sleeper.py",
    }
    (dora.directory / "sleeper.py").write_text("import dora; dora.Node().next()")
    others.write_text(yaml.safe_dump({"nodes": [node]}))
    await dora.start(others, "trio_bridge-of-somebody-else")
    async with bridge(dora, "first") as first:
        async with bridge(dora, "second") as second:
            assert len(await running(dora)) == 3
            await is_served(first)
            await is_served(second)
            assert await second.stop() < 4
            assert second.process.returncode == 0
        assert len(await running(dora)) == 2
        await is_served(first)
        assert await first.stop() < 4
    assert await running(dora) == {"trio_bridge-of-somebody-else"}
    assert not list(dora.directory.glob("trio_bridge-dora-*"))


async def test_what_a_daemon_is_asked_its_main_loop_answers(dora: OwnDora) -> None:
    """It knows of all nodes, and says in its own words that there is no such; in the log is
    nothing of it."""
    with trio.fail_after(5):
        async with await trio.open_tcp_stream("127.0.0.1", dora.daemon_port) as stream:
            await stream.send_all(A_NODE)
            await stream.send_eof()
            said = b"".join([part async for part in stream])
    assert b"no node with ID `trio_bridge-nobody`" in said
    log = (dora.directory / "out" / "dora-daemon.txt").read_text()
    assert log
    assert not any(word in log for word in ("nobody", "listener", "WARN"))


async def test_what_a_killed_bridge_leaves_is_stopped_by_the_next(dora: OwnDora) -> None:
    async with bridge(dora, "first") as first, bridge(dora, "second") as second:
        both = await running(dora)
        await second.stop(signal.SIGKILL)
        assert await running(dora) == both
        async with bridge(dora, "third") as third:
            left = await running(dora)
            assert len(left) == 2
            assert len(left & both) == 1
            await is_served(first)
            await is_served(third)


async def test_a_broken_instance_is_replaced(dora: OwnDora) -> None:
    """Where the daemon has gone, that is told, also to who waits for a place."""
    async with bridge(dora, "first") as server:
        (before,) = await running(dora)
        async with connected(server.ws_url) as client:
            os.kill(dora.pid("nodes.echo"), signal.SIGKILL)
            code, _ = await client.wait_closed()
        assert code == 1011
        with trio.fail_after(15):
            while not await trio.to_thread.run_sync(is_warm, server, before):  # noqa: ASYNC110
                await trio.sleep(0.1)
        await is_served(server)
        assert len(await running(dora)) == 1
        async with connected(server.ws_url) as client:
            os.kill(dora.daemon.pid, signal.SIGKILL)
            code, reason = await client.wait_closed()
        assert code == 1011
        assert f"there is no dora daemon on 127.0.0.1:{dora.daemon_port}" in reason
        words = "'no_capacity', 'message': 'there is no dora daemon on 127.0.0.1:"
        with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match=words)):
            async with connected(server.ws_url):
                pass
        runtime = (await trio.to_thread.run_sync(health, server))["runtime"]
        assert runtime["state"] == "unreachable"


@pytest.mark.parametrize("missing", ["coordinator", "daemon"])
async def test_what_is_not_there_is_said_at_once(dora: OwnDora, missing: str) -> None:
    port = free_port()
    coordinator = port if missing == "coordinator" else dora.coordinator_port
    with trio.fail_after(8):
        done = await trio.run_process(
            [
                *(sys.executable, "-m", "trio_bridge", "--port", "0", "--dataflow", "echo"),
                *("--coordinator", f"127.0.0.1:{coordinator}"),
            ],
            env={**dora.env, "TRIO_BRIDGE_DORA_DAEMON_PORT": str(port)},
            capture_stderr=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"trio_bridge: there is no dora {missing} ")
    assert f"127.0.0.1:{port}" in line
