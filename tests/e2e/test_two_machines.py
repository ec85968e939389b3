"""A dataflow over two machines: bridge and ear on one, recogniser and voice on the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import trio
import yaml
from tests.support.client import Client, connected
from tests.support.dora import daemons_reported, user_environment
from tests.support.machines import TwoMachines, two_machines
from tests.support.recordings import load
from tests.support.resources import health, is_warm
from tests.support.server import RunningServer, running_server, wait_until

from trio_bridge.dora.runtimes.lifetime import Child

pytestmark = pytest.mark.e2e

DATAFLOWS = Path(__file__).parents[2] / "dataflows"
COORDINATOR, DAEMON = 6013, 53291
"""Their usual ports: each namespace has all of its own."""


@asynccontextmanager
async def dora_on(machines: TwoMachines, directory: Path) -> AsyncGenerator[None, None]:
    """A coordinator on the near one, a daemon on each."""
    env = user_environment(directory) | {"DORA_COORDINATOR_ADDR": machines.near.address}
    coordinator = ("coordinator", "--interface", machines.near.address, "--store", "memory")
    near, far = (("daemon", "--machine-id", name) for name in ("near", "far"))
    async with AsyncExitStack() as stack:
        for name, machine, words, port in (
            ("coordinator", machines.near, coordinator, COORDINATOR),
            ("near", machines.near, near, DAEMON),
            ("far", machines.far, far, DAEMON),
        ):
            # Each has a folder of its own, as on machines that share no disk.
            folder = directory / name
            folder.mkdir()
            command = [*machine.prefix, "dora", *words, "--quiet"]
            child = Child.start(name, command, cwd=folder, env=env)
            stack.push_async_callback(child.stop)
            with trio.fail_after(10):
                while port not in machine.listens():  # noqa: ASYNC110  it tells nobody
                    await trio.sleep(0.05)
        await daemons_reported(2, directory, env, machines.near.prefix)
        yield


@asynccontextmanager
async def bridge(machines: TwoMachines, directory: Path) -> AsyncGenerator[RunningServer, None]:
    document = yaml.safe_load((DATAFLOWS / "voice.yml").read_text())
    for node in document["nodes"]:
        here = node["id"] in {"bridge", "speech_monitor"}
        node["deploy"] = {"machine": "near" if here else "far"}
    dataflow = directory / "spread.yml"
    dataflow.write_text(yaml.safe_dump(document))
    address = f"{machines.near.address}:{COORDINATOR}"
    async with running_server(
        directory / "log",
        *("--host", machines.door, "--dataflow", str(dataflow), "--coordinator", address),
        prefix=machines.near.prefix,
    ) as server:
        yield server


async def speak(client: Client) -> str:
    after = len(client.events)
    spoken = np.concatenate([load("go_forward_ten_meters"), np.zeros(16_000, np.float32)])
    await client.speak(spoken)
    said = await client.wait_for("response.output_audio_transcript.done", after=after)
    await client.wait_for("response.done", after=after)
    assert len(client.audio(after)) > 24_000
    transcript: str = said.event["transcript"]
    return transcript


async def test_a_conversation_over_a_wire_that_is_cut(tmp_path: Path) -> None:
    """Sessions hear of it within seconds; when it is mended the bridge recovers by itself, what
    ran on the other side is stopped, and in the end nothing is left on either."""
    with two_machines() as machines:
        async with dora_on(machines, tmp_path):
            async with bridge(machines, tmp_path) as server:
                name = health(server)["dataflows"][0]["name"]
                far = " ".join(machines.far.commands())
                near = " ".join(machines.near.commands())
                for node in ("asr", "chat", "tts"):
                    assert f"trio_bridge.nodes.{node} " in f"{far} "
                    assert f"trio_bridge.nodes.{node} " not in f"{near} "
                assert "trio_bridge.nodes.speech_monitor" in near
                async with connected(server.ws_url) as client:
                    assert "ten meters" in await speak(client)
                    machines.cut()
                    cut = trio.current_time()
                    error = await client.wait_for("error")
                    code, _ = await client.wait_closed()
                    assert trio.current_time() - cut < 5
                assert error.event["error"]["code"] == "dataflow_broken"
                assert code == 1011
                await trio.sleep(3)
                machines.mend()
                with trio.fail_after(45):
                    while not await trio.to_thread.run_sync(is_warm, server, name):  # noqa: ASYNC110
                        await trio.sleep(0.2)
                async with connected(server.ws_url) as client:
                    assert "ten meters" in await speak(client)
                assert await server.stop() < 6
                assert server.process.returncode == 0
            await wait_until(lambda: "trio_bridge.nodes" not in str(machines.far.commands()))
            await wait_until(lambda: "trio_bridge.nodes" not in str(machines.near.commands()))
        await wait_until(lambda: not machines.near.pids() | machines.far.pids())
