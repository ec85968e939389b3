"""The unmodified `openai` package holds conversations with the real server.

Every event that the bridge sends is validated against the package's own types, from the raw
frame: the package itself builds events without validating.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from tests.support import recordings
from tests.support.client import to_24k
from tests.support.server import RunningServer, running_server
from tests.support.validation import validate

from trio_bridge.audio.pcm import float32_to_pcm16

pytestmark = pytest.mark.e2e

FRAME = 0.02
RATE = 24_000
FRAME_BYTES = int(RATE * FRAME) * 2
TIMEOUT = 40.0

Event = dict[str, Any]


class Talk:
    """One conversation over the package's connection, its events as they came, validated."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Event] = []

    async def next(self) -> Event:
        raw = await asyncio.wait_for(self.connection.recv_bytes(), TIMEOUT)
        event: Event = json.loads(raw)
        validate(event)
        self.events.append(event)
        return event

    async def until(self, event_type: str) -> Event:
        """Read on to an event of this type."""
        while (event := await self.next())["type"] != event_type:
            assert event["type"] != "error", event
        return event

    def of(self, event_type: str) -> list[Event]:
        return [event for event in self.events if event["type"] == event_type]

    def ladder(self, response_id: str) -> list[str]:
        """The types of one response's events in order, repeated deltas once."""
        types: list[str] = []
        for event in self.events:
            of = event.get("response_id") or event.get("response", {}).get("id")
            if of == response_id and (not types or types[-1] != event["type"]):
                types.append(event["type"])
        return types

    async def ask(self, text: str) -> None:
        """Say something in writing."""
        await self.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )
        await self.connection.response.create()

    async def say(self, name: str, *, silence: float) -> None:
        """Append a recording and then silence, at real-time pace, while events are read."""
        samples = recordings.load(name)
        quiet = np.zeros(int(16_000 * silence), np.float32)
        pcm = float32_to_pcm16(to_24k(np.concatenate([samples, quiet]), 16_000))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, start in enumerate(range(0, len(pcm), FRAME_BYTES)):
            await asyncio.sleep(began + number * FRAME - loop.time())
            chunk = base64.b64encode(pcm[start : start + FRAME_BYTES]).decode()
            await self.connection.input_audio_buffer.append(audio=chunk)


async def hold(server: RunningServer, conversation: Callable[[Talk], Awaitable[None]]) -> Talk:
    """Run a conversation on asyncio, beside Trio, as the package's users do."""

    async def run() -> Talk:
        client = AsyncOpenAI(api_key="none", base_url=f"{server.http_url}/v1")
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            talk = Talk(connection)
            assert (await talk.next())["type"] == "session.created"
            await conversation(talk)
            return talk

    return await trio.to_thread.run_sync(asyncio.run, run())


async def voice_turn(talk: Talk) -> None:
    await talk.connection.session.update(
        session={
            "type": "realtime",
            "audio": {
                "input": {
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                }
            },
        }
    )
    assert (await talk.until("session.updated"))["session"]["audio"]["input"]["turn_detection"][
        "interrupt_response"
    ] is True
    saying = asyncio.create_task(talk.say("go_forward_ten_meters", silence=2.0))
    await talk.until("response.done")
    await saying


async def text_turn(talk: Talk) -> None:
    await talk.connection.session.update(
        session={"type": "realtime", "output_modalities": ["text"]}
    )
    await talk.ask("Count to five.")
    await talk.until("rate_limits.updated")


async def push_to_talk(talk: Talk) -> None:
    await talk.connection.session.update(
        session={
            "type": "realtime",
            "audio": {
                "input": {
                    "turn_detection": None,
                    "transcription": {"model": "whisper-1"},
                }
            },
        }
    )
    await talk.until("session.updated")
    await talk.say("go_forward_ten_meters", silence=0)
    await talk.connection.input_audio_buffer.commit()
    await talk.until("conversation.item.done")
    assert not talk.of("response.created")
    await talk.connection.response.create()
    await talk.until("response.done")


async def barge_in(talk: Talk) -> None:
    await talk.ask("Count to sixty.")
    first = await talk.until("response.output_audio.delta")
    saying = asyncio.create_task(talk.say("go_forward_ten_meters", silence=1.5))
    await talk.until("input_audio_buffer.speech_started")
    await talk.until("response.done")
    await talk.connection.conversation.item.truncate(
        item_id=first["item_id"], content_index=0, audio_end_ms=1500
    )
    await talk.until("conversation.item.truncated")
    await saying
    await talk.until("response.done")


Conversation = Callable[[Talk], Awaitable[None]]
Talks = Mapping[Conversation, Talk]


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Talks:
    """Conversation → what came of it. All are held at once, with one server."""
    return trio.run(hold_all, tmp_path_factory.mktemp("openai") / "server.log")


async def hold_all(log: Path) -> Talks:
    held: dict[Conversation, Talk] = {}

    async def note(server: RunningServer, conversation: Conversation) -> None:
        held[conversation] = await hold(server, conversation)

    async with running_server(log) as server, trio.open_nursery() as nursery:
        for conversation in (voice_turn, text_turn, push_to_talk, barge_in):
            nursery.start_soon(note, server, conversation)
    return held


SPOKEN_LADDER = [
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
]
CLOSING_LADDER = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.done",
]


def test_voice_turn(talks: Talks) -> None:
    """Speech in, server VAD closes the turn, speech out, the full ladder in order."""
    talk = talks[voice_turn]
    started, stopped = (
        talk.of(f"input_audio_buffer.speech_{what}")[0] for what in ("started", "stopped")
    )
    committed = talk.of("input_audio_buffer.committed")[0]
    heard = talk.of("conversation.item.input_audio_transcription.completed")[0]
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == heard["item_id"]
    assert heard["transcript"].lower() == "go forward ten meters"
    done = talk.of("response.done")[0]["response"]
    assert done["status"] == "completed"
    ladder = talk.ladder(done["id"])
    assert ladder[:3] == SPOKEN_LADDER
    assert ladder[-5:] == CLOSING_LADDER
    said = talk.of("response.output_audio_transcript.done")[0]["transcript"]
    assert "go forward ten meters" in said.lower()
    audio = b"".join(
        base64.b64decode(e["delta"]) for e in talk.of("response.output_audio.delta")
    )
    assert len(audio) > RATE  # more than half a second of speech


def test_text_turn(talks: Talks) -> None:
    """A text item and a text answer; deltas join to the final text; usage is counted."""
    talk = talks[text_turn]
    text = talk.of("response.output_text.done")[0]["text"]
    assert "".join(e["delta"] for e in talk.of("response.output_text.delta")) == text
    assert "five" in text
    done = talk.of("response.done")[0]["response"]
    assert done["usage"]["output_tokens"] > 0
    assert done["output"][0]["content"][0]["text"] == text
    assert not talk.of("response.output_audio.delta")


def test_push_to_talk(talks: Talks) -> None:
    """No turn detection: the client commits and asks; nothing answers before."""
    talk = talks[push_to_talk]
    heard = talk.of("conversation.item.input_audio_transcription.completed")[0]
    assert heard["transcript"].lower() == "go forward ten meters"
    assert talk.of("response.done")[0]["response"]["status"] == "completed"
    assert not talk.of("input_audio_buffer.speech_started")


def test_barge_in(talks: Talks) -> None:
    """Speech during a long answer cuts it off; the truncated item keeps what was heard."""
    talk = talks[barge_in]
    cut, answer = (event["response"] for event in talk.of("response.done"))
    assert cut["status"] == "cancelled"
    assert cut["status_details"]["reason"] == "turn_detected"
    assert cut["output"][0]["status"] == "incomplete"
    said = talk.of("response.output_audio_transcript.done")[0]["transcript"]
    assert "sixty" not in said
    assert answer["status"] == "completed"
