"""livekit-plugins-openai: a session of its `RealtimeModel`, driven as its agents drive it.

python -m tests.clients.livekit_python URL RECORDING
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai.realtime import RealtimeModel
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad
from tests.clients.reporting import (
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

RATE = 24_000


class Answer:
    """One generation, drained as its streams come."""

    def __init__(self) -> None:
        self.item_id = ""
        self.text = ""
        self.seconds = 0.0
        self.calls: list[Any] = []

    async def drain(self, generation: Any, seen: Seen) -> None:
        async def messages() -> None:
            async for message in generation.message_stream:
                self.item_id = message.message_id
                await asyncio.gather(text(message), audio(message))

        async def text(message: Any) -> None:
            async for piece in message.text_stream:
                self.text += piece

        async def audio(message: Any) -> None:
            async for frame in message.audio_stream:
                self.seconds += frame.duration
                if self.seconds >= HEARD_BEFORE_BARGE_IN:
                    seen.add("enough heard")

        async def calls() -> None:
            async for call in generation.function_stream:
                self.calls.append(call)

        await asyncio.gather(messages(), calls())
        seen.add("answer", self)


class Conversation:
    """One session; what it saw is in `seen`: server events by type, its own by name."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.seen = Seen()
        self._draining: set[asyncio.Task[None]] = set()
        self.answers: list[Answer] = []
        for name in ("error", "input_speech_started", "input_audio_transcription_completed"):
            session.on(name, lambda event=None, name=name: self.seen.add(f"own {name}", event))
        session.on(
            "openai_server_event_received", lambda event: self.seen.add(event["type"], event)
        )
        session.on("error", lambda event: self.seen.end(Complaint(str(event.error))))
        session.on("generation_created", self._answered)

    def _answered(self, generation: Any) -> None:
        answer = Answer()
        self.answers.append(answer)
        task = asyncio.create_task(answer.drain(generation, self.seen))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def ask(self, text: str) -> None:
        context = self.session.chat_ctx.copy()
        context.add_message(role="user", content=text)
        await self.session.update_chat_ctx(context)
        await self.session.generate_reply()

    async def say(self, recording: Path) -> None:
        async def send(pcm: bytes) -> None:
            self.session.push_audio(rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2))

        await speak(send, recording)

    async def heard(self) -> str:
        # Interim transcripts come under the same name.
        count = 1
        while not (one := await self.seen.wait(TRANSCRIBED, count)).is_final:
            count += 1
        return str(one.transcript)

    def complaints(self) -> Facts:
        """What no scenario should see."""
        own = [str(event.error) for event in self.seen.of("own error")]
        return {"errors": own + [event["error"]["message"] for event in self.seen.of("error")]}


TRANSCRIBED = "own input_audio_transcription_completed"


class Program:
    def __init__(self, http: aiohttp.ClientSession, url: str, recording: Path) -> None:
        self._recording = recording
        self._model: Any = RealtimeModel(
            base_url=f"{url}/v1",
            api_key="unused",
            http_session=http,
            input_audio_transcription=AudioTranscription(model="gpt-4o-mini-transcribe"),
            turn_detection=ServerVad(type="server_vad", silence_duration_ms=500),
        )

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Conversation, None]:
        session = self._model.session()
        try:
            yield Conversation(session)
        finally:
            await session.aclose()

    async def connect(self) -> Facts:
        async with self.connected() as conversation:
            created = await conversation.seen.wait("session.created")
            await conversation.session.update_instructions("Be brief.")
            await conversation.seen.wait("session.updated", 2)
            return {"session": created["session"]["id"], **conversation.complaints()}

    async def text_turn(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.ask(COUNT_A_LITTLE)
            answer = await conversation.seen.wait("answer")
            done = await conversation.seen.wait("response.done")
            return {
                "said": answer.text,
                "status": done["response"]["status"],
                **conversation.complaints(),
            }

    async def voice_turn(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.say(self._recording)
            answer = await conversation.seen.wait("answer")
            done = await conversation.seen.wait("response.done")
            return {
                "status": done["response"]["status"],
                "seconds": answer.seconds,
                "heard": await conversation.heard(),
                "said": answer.text,
                **conversation.complaints(),
            }

    async def function_call(self) -> Facts:
        @llm.function_tool
        async def get_weather(city: str) -> str:
            """The weather in a city."""
            return FORECAST if city else ""

        async with self.connected() as conversation:
            await conversation.session.update_tools([get_weather])
            await conversation.ask(QUESTION)
            (call,) = (await conversation.seen.wait("answer")).calls
            arguments = json.loads(call.arguments)
            context = conversation.session.chat_ctx.copy()
            output = await get_weather(**arguments)
            context.insert(
                llm.FunctionCallOutput(
                    call_id=call.call_id, name=call.name, output=output, is_error=False
                )
            )
            await conversation.session.update_chat_ctx(context)
            await conversation.session.generate_reply()
            answer = await conversation.seen.wait("answer", 2)
            return {
                "tool": call.name,
                "arguments": arguments,
                "said": answer.text,
                **conversation.complaints(),
            }

    async def barge_in(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.ask(COUNT_LONG)
            await conversation.seen.wait("enough heard")
            saying = asyncio.create_task(conversation.say(self._recording))
            await conversation.seen.wait("own input_speech_started")
            interrupted = conversation.answers[0]
            conversation.session.truncate(
                message_id=interrupted.item_id, modalities=["audio"], audio_end_ms=1000
            )
            cut = (await conversation.seen.wait("response.done"))["response"]
            truncated = await conversation.seen.wait("conversation.item.truncated")
            await saying
            done = await conversation.seen.wait("response.done", 2)
            answer = await conversation.seen.wait("answer", 2)
            return {
                "cut": {
                    "status": cut["status"],
                    "reason": cut["status_details"]["reason"],
                    "seconds": interrupted.seconds,
                },
                "truncated_ms": truncated["audio_end_ms"],
                "status": done["response"]["status"],
                "heard": await conversation.heard(),
                "said": answer.text,
                **conversation.complaints(),
            }


async def main(url: str, recording: str) -> None:
    async with aiohttp.ClientSession() as http:
        program = Program(http, url, Path(recording))
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
