"""A Realtime client talks to the dataflow of the hub's nodes, stand-ins in their place."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
import trio
from tests.support.client import Client, connected
from tests.support.hub_nodes import write_dataflow
from tests.support.server import RunningServer, running_server
from tests.support.validation import validate

pytestmark = pytest.mark.e2e


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[RunningServer, None]:
    dataflow = str(write_dataflow(tmp_path))
    async with running_server(tmp_path / "log", "--dataflow", dataflow) as running:
        yield running


async def speak(client: Client, seconds: float = 0.5) -> None:
    tone = np.sin(np.arange(int(16_000 * seconds)) * 2 * np.pi * 300 / 16_000) / 2
    await client.speak(np.concatenate([tone, np.zeros(16_000)]).astype(np.float32))


async def ask(client: Client, words: str) -> None:
    content = [{"type": "input_text", "text": words}]
    item = {"type": "message", "role": "user", "content": content}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")


async def test_a_conversation(server: RunningServer) -> None:
    """Speech is answered with speech; a session after it starts anew; all events are valid."""
    async with connected(server.ws_url) as client:
        await client.send(
            "session.update",
            session={
                "type": "realtime",
                "audio": {"input": {"transcription": {"model": "whisper-1"}}},
            },
        )
        await speak(client)
        done = (await client.wait_for("response.done")).event["response"]
        heard = client.of_type("conversation.item.input_audio_transcription.completed")
        assert [each["transcript"] for each in heard] == ["Say hello."]
        assert done["status"] == "completed"
        (part,) = done["output"][0]["content"]
        assert part["transcript"] == "Hello there. How are you?"
        assert len(client.audio()) / 24_000 == pytest.approx(0.5, abs=0.02)
        for arrival in client.events:
            validate(arrival.event)
    async with connected(server.ws_url) as client:
        await ask(client, "skip")
        done = (await client.wait_for("response.done")).event["response"]
        assert done["output"][0]["content"][0]["transcript"] == "One. --. Two."


async def test_barge_in(server: RunningServer) -> None:
    """The language node is deaf while it streams; the client hears no more of it all the same,
    and gets the answer to what it said meanwhile."""
    async with connected(server.ws_url) as client:
        await ask(client, "stream")
        first = await client.wait_for("response.output_audio.delta")
        await speak(client)
        cut = await client.wait_for("response.done")
        assert cut.event["response"]["id"] == first.event["response_id"]
        assert cut.event["response"]["status"] == "cancelled"
        after = client.events.index(cut) + 1
        done = (await client.wait_for("response.done", after=after)).event["response"]
        assert done["status"] == "completed"
        assert done["output"][0]["content"][0]["transcript"] == "Hello there. How are you?"
        deltas = client.of_type("response.output_audio.delta", after)
        assert {delta["response_id"] for delta in deltas} == {done["id"]}


async def test_what_runs_is_listed(server: RunningServer) -> None:
    """`dataflow list --url` says what runs."""
    done = await trio.run_process(
        [sys.executable, "-m", "trio_bridge", "dataflow", "list", "--url", server.http_url],
        capture_stdout=True,
    )
    running = [line for line in done.stdout.decode().splitlines() if line.startswith("running")]
    assert len(running) == 1
    assert "primespeech, warm, 0 sessions, 0 messages lost" in running[0]
