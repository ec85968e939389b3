"""openai-agents: `RealtimeRunner` and its session.

    python -m tests.clients.openai_agents_python URL RECORDING

The package holds every event against strict types; what does not fit becomes an `error` event
of its session, and is reported as such.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from tests.clients.reporting import (
    BYTES_PER_SECOND,
    COUNT_A_LITTLE,
    COUNT_LONG,
    FORECAST,
    HEARD_BEFORE_BARGE_IN,
    QUESTION,
    Complaint,
    Facts,
    Seen,
    run_all,
    speak,
)


class Conversation:
    """One session; what it saw is in `seen`: server events by type, its own by `own …`."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.seen = Seen()
        self.seconds = 0.0

    async def read(self) -> None:
        try:
            async for event in self.session:
                self._see(event)
        except Exception as exc:  # noqa: BLE001  # whatever ended the session
            self.seen.end(exc)
        else:
            self.seen.end(ConnectionError("the session is over"))

    def _see(self, event: Any) -> None:
        if event.type == "raw_model_event":
            if event.data.type == "raw_server_event":
                self.seen.add(event.data.data["type"], event.data.data)
            return
        self.seen.add(f"own {event.type}", event)
        if event.type == "error":
            self.seen.end(Complaint(str(event.error)))
        if event.type == "audio":
            self.seconds += len(event.audio.data) / BYTES_PER_SECOND
            if self.seconds >= HEARD_BEFORE_BARGE_IN:
                self.seen.add("enough heard")

    def said(self) -> str:
        done = self.seen.of("response.output_audio_transcript.done")[-1]
        return str(done["transcript"])

    async def heard(self) -> str:
        done = await self.seen.wait("conversation.item.input_audio_transcription.completed")
        return str(done["transcript"])

    def complaints(self) -> Facts:
        """What no scenario should see."""
        return {"errors": [str(event.error) for event in self.seen.of("own error")]}


class Program:
    def __init__(self, url: str, recording: Path) -> None:
        websocket = url.replace("http", "ws", 1)
        self._endpoint = f"{websocket}/v1/realtime?model=gpt-realtime"
        self._recording = recording

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Conversation, None]:
        @function_tool
        async def get_weather(city: str) -> str:
            """The weather in a city."""
            return FORECAST if city else ""

        agent = RealtimeAgent(name="Guide", instructions="Be brief.", tools=[get_weather])
        running = await RealtimeRunner(agent).run(
            model_config={"url": self._endpoint, "api_key": "unused"}
        )
        async with running as session:
            conversation = Conversation(session)
            reading = asyncio.create_task(conversation.read())
            yield conversation
        await reading

    async def connect(self) -> Facts:
        async with self.connected() as conversation:
            created = await conversation.seen.wait("session.created")
            await conversation.seen.wait("session.updated")
            return {"session": created["session"]["id"], **conversation.complaints()}

    async def text_turn(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.session.send_message(COUNT_A_LITTLE)
            done = await conversation.seen.wait("response.done")
            return {
                "said": conversation.said(),
                "status": done["response"]["status"],
                **conversation.complaints(),
            }

    async def voice_turn(self) -> Facts:
        async with self.connected() as conversation:
            await speak(conversation.session.send_audio, self._recording)
            done = await conversation.seen.wait("response.done")
            await conversation.seen.wait("own agent_end")
            return {
                "status": done["response"]["status"],
                "seconds": conversation.seconds,
                "heard": await conversation.heard(),
                "said": conversation.said(),
                **conversation.complaints(),
            }

    async def function_call(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.session.send_message(QUESTION)
            ended = await conversation.seen.wait("own tool_end")
            await conversation.seen.wait("response.done", 2)
            return {
                "tool": ended.tool.name,
                "arguments": json.loads(ended.arguments),
                "said": conversation.said(),
                **conversation.complaints(),
            }

    async def barge_in(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.session.send_message(COUNT_LONG)
            await conversation.seen.wait("enough heard")
            saying = asyncio.create_task(
                speak(conversation.session.send_audio, self._recording)
            )
            await conversation.seen.wait("own audio_interrupted")
            heard_of_it = conversation.seconds
            cut = (await conversation.seen.wait("response.done"))["response"]
            truncated = await conversation.seen.wait("conversation.item.truncated")
            await saying
            done = await conversation.seen.wait("response.done", 2)
            return {
                "cut": {
                    "status": cut["status"],
                    "reason": cut["status_details"]["reason"],
                    "seconds": heard_of_it,
                },
                "truncated_ms": truncated["audio_end_ms"],
                "status": done["response"]["status"],
                "heard": await conversation.heard(),
                "said": conversation.said(),
                **conversation.complaints(),
            }


async def main(url: str, recording: str) -> None:
    set_tracing_disabled(disabled=True)
    program = Program(url, Path(recording))
    await run_all(
        {
            "connect": program.connect,
            "text_turn": program.text_turn,
            "voice_turn": program.voice_turn,
            "function_call": program.function_call,
            "barge_in": program.barge_in,
        }
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
