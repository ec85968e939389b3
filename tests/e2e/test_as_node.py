"""The bridge as an ordinary node of a dataflow that somebody else starts and stops."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
import trio
import yaml
from tests.support.client import connected
from tests.support.dora import OwnDora, free_port, listening, own_dora
from tests.support.recordings import load
from tests.support.server import is_running, wait_until

from trio_bridge.dora.runtimes.processes import children_of

pytestmark = pytest.mark.e2e

DATAFLOWS = Path(__file__).parents[2] / "dataflows"


@pytest.fixture
async def dora(tmp_path: Path) -> AsyncGenerator[OwnDora, None]:
    async with own_dora(tmp_path) as running:
        yield running


def as_node(directory: Path, port: int, *, restart: bool = True) -> Path:
    """The dataflow that ships, on a port of its own."""
    document = yaml.safe_load((DATAFLOWS / "as_node.yml").read_text())
    document["nodes"][0]["args"] = f"-m trio_bridge node --port {port}"
    for node in document["nodes"]:
        if not restart:
            del node["restart_policy"], node["max_restarts"]
    path = directory / "as_node.yml"
    path.write_text(yaml.safe_dump(document))
    return path


async def serving(dora: OwnDora, port: int) -> str:
    try:
        await listening(port, 40)
    except trio.TooSlowError:
        raise AssertionError(f"the bridge does not listen:\n{dora.said()}") from None
    return f"ws://127.0.0.1:{port}/v1/realtime"


async def test_a_spoken_turn_and_a_stop_in_good_order(dora: OwnDora) -> None:
    """The dataflow answers; `dora stop` closes clients with 1001, and all nodes end."""
    port = free_port()
    await dora.start(as_node(dora.directory, port), "mine")
    url = await serving(dora, port)
    async with connected(url) as client:
        spoken = np.concatenate([load("go_forward_ten_meters"), np.zeros(16_000, np.float32)])
        await client.speak(spoken)
        await client.wait_for("response.done", timeout=30)
        said = await client.wait_for("response.output_audio_transcript.done")
        assert "ten meters" in said.event["transcript"]
        assert len(client.audio()) > 24_000
        pids = [process.pid for process in children_of(dora.daemon.pid)]
        assert len(pids) == 5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dora.stop, "mine")
            code, reason = await client.wait_closed()
    assert code == 1001
    assert "shutting down" in reason
    await wait_until(lambda: not any(map(is_running, pids)))
    assert (await dora.dataflows())["mine"] == "Finished"
    assert not list(dora.directory.glob("trio_bridge-*"))


async def test_a_killed_node_is_told_and_the_dataflow_comes_back(dora: OwnDora) -> None:
    """Sessions get an error and close 1011; Dora starts node and bridge anew."""
    port = free_port()
    await dora.start(as_node(dora.directory, port), "mine")
    url = await serving(dora, port)
    bridge = dora.pid("trio_bridge node")
    async with connected(url) as client:
        os.kill(dora.pid("nodes.chat"), signal.SIGKILL)
        error = await client.wait_for("error")
        code, _ = await client.wait_closed()
    assert error.event["error"]["code"] == "dataflow_broken"
    assert "'chat'" in error.event["error"]["message"]
    assert code == 1011
    await wait_until(lambda: not is_running(bridge))
    url = await serving(dora, port)
    async with connected(url) as client:
        await client.send(
            "conversation.item.create",
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "What time is it?"}],
            },
        )
        await client.send("response.create")
        done = await client.wait_for("response.done", timeout=30)
    assert done.event["response"]["status"] == "completed"
    await dora.stop("mine")


async def test_without_a_restart_policy_the_bridge_ends_and_says_why(dora: OwnDora) -> None:
    port = free_port()
    await dora.start(as_node(dora.directory, port, restart=False), "mine")
    url = await serving(dora, port)
    bridge = dora.pid("trio_bridge node")
    async with connected(url) as client:
        os.kill(dora.pid("nodes.tts"), signal.SIGKILL)
        code, _ = await client.wait_closed()
    assert code == 1011
    await wait_until(lambda: not is_running(bridge))
    assert "trio_bridge: the dataflow broke: node 'tts' has " in dora.said()
    assert "Traceback" not in dora.said()


async def test_what_the_dataflow_lacks_is_said(dora: OwnDora) -> None:
    """A port that is missing, before any client has come."""
    path = as_node(dora.directory, free_port(), restart=False)
    document = yaml.safe_load(path.read_text())
    del document["nodes"][0]["inputs"]["ack-asr"]
    document["nodes"][0]["outputs"].remove("listen")
    document["nodes"] = [n for n in document["nodes"] if n["id"] in {"bridge", "chat", "tts"}]
    for name in ("speech", "transcript", "ack-speech_monitor"):
        del document["nodes"][0]["inputs"][name]
    path.write_text(yaml.safe_dump(document))
    await dora.command("start", str(path), "--detach", "--name", "mine")
    await wait_until(lambda: "trio_bridge: " in dora.said())
    assert "node 'bridge' needs the output 'listen'" in dora.said()
    assert "Traceback" not in dora.said()


async def test_a_daemon_that_dies_ends_the_bridge(dora: OwnDora) -> None:
    port = free_port()
    await dora.start(as_node(dora.directory, port), "mine")
    url = await serving(dora, port)
    pids = [process.pid for process in children_of(dora.daemon.pid)]
    async with connected(url) as client:
        os.kill(dora.daemon.pid, signal.SIGKILL)
        code, _ = await client.wait_closed()
    assert code == 1011
    await wait_until(lambda: not any(map(is_running, pids)))
