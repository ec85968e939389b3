"""openai-python: `client.realtime` and `client.beta.realtime`, sync and async.

    python -m tests.clients.openai_python URL RECORDING {ga,beta} {sync,async}

Every event is also held against the package's own types, from the raw frame: the package
builds events without validating.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAI
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError
from tests.clients.reporting import (
    BYTES_PER_SECOND,
    COUNT_A_LITTLE,
    COUNT_LONG,
    FORECAST,
    HEARD_BEFORE_BARGE_IN,
    QUESTION,
    WEATHER_TOOL,
    Complaint,
    Facts,
    Seen,
    run_all,
    speak,
)

THREADS = 32
"""Of the sync client: each connection has one that reads and one that sends."""

TYPES: Mapping[str, TypeAdapter[Any]] = {
    "ga": TypeAdapter(RealtimeServerEvent),
    "beta": TypeAdapter(BetaServerEvent),
}


def settings(dialect: str, modality: str, *, tools: bool = False) -> dict[str, Any]:
    """A session's settings, as the dialect writes them."""
    given: dict[str, Any] = {"tools": [WEATHER_TOOL]} if tools else {}
    if dialect == "beta":
        return given | {
            "modalities": ["text"] if modality == "text" else ["text", "audio"],
            "input_audio_format": "pcm16",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        }
    return given | {
        "type": "realtime",
        "output_modalities": [modality],
        "audio": {
            "input": {
                "transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
            }
        },
    }


class Conversation:
    """One connection, sync or async; what it saw is in `seen`, by GA's names of the events."""

    def __init__(self, connection: Any, dialect: str, *, threads: bool) -> None:
        self.connection = connection
        self.seen = Seen()
        self._dialect = dialect
        self._threads = threads

    async def do(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a method of the client, of either kind."""
        if self._threads:
            return await asyncio.to_thread(method, **arguments)
        return await method(**arguments)

    async def read(self) -> None:
        while True:
            try:
                raw = await self.do(self.connection.recv_bytes)
            except Exception as exc:  # noqa: BLE001  # a lost connection, whatever its kind
                self.seen.end(exc)
                return
            self._validate(json.loads(raw))
            event = self.connection.parse_event(raw)
            self.seen.add(self._ga_name(event.type), event)
            if event.type == "error":
                self.seen.end(Complaint(event.error.message))
            if self.seconds() >= HEARD_BEFORE_BARGE_IN and not self.seen.of("enough heard"):
                self.seen.add("enough heard")

    def seconds(self, response_id: str | None = None) -> float:
        """Audio received, in all or for one response."""
        deltas = self.seen.of("response.output_audio.delta")
        return sum(
            len(base64.b64decode(event.delta)) / BYTES_PER_SECOND
            for event in deltas
            if response_id in (None, event.response_id)
        )

    async def update(self, modality: str, *, tools: bool = False) -> Any:
        session = settings(self._dialect, modality, tools=tools)
        await self.do(self.connection.session.update, session=session)
        return await self.seen.wait("session.updated")

    async def ask(self, text: str) -> None:
        part = {"type": "input_text", "text": text}
        item = {"type": "message", "role": "user", "content": [part]}
        await self.do(self.connection.conversation.item.create, item=item)
        await self.do(self.connection.response.create)

    async def say(self, recording: Path) -> None:
        async def send(pcm: bytes) -> None:
            audio = base64.b64encode(pcm).decode()
            await self.do(self.connection.input_audio_buffer.append, audio=audio)

        await speak(send, recording)

    def complaints(self) -> Facts:
        """What no scenario should see: protocol errors, and events that do not fit."""
        return {
            "errors": [event.error.message for event in self.seen.of("error")],
            "misfits": self.seen.of("misfit"),
        }

    def _validate(self, event: dict[str, Any]) -> None:
        try:
            model = TYPES[self._dialect].validate_python(event)
        except ValidationError as exc:
            self.seen.add("misfit", f"{event['type']}: {exc}")
            return
        # For a type that the union does not know it may build some other member.
        if event["type"] not in str(type(model).model_fields["type"].annotation):
            self.seen.add("misfit", f"{event['type']} was taken for {type(model).__name__}")

    def _ga_name(self, event_type: str) -> str:
        if self._dialect == "beta":
            for kind in ("text", "audio", "audio_transcript"):
                if event_type.startswith(f"response.{kind}."):
                    return event_type.replace("response.", "response.output_")
        return event_type


class Program:
    def __init__(self, url: str, recording: Path, dialect: str, kind: str) -> None:
        self._recording = recording
        self._dialect = dialect
        self._threads = kind == "sync"
        # The beta client makes wss of any base URL, unless the WebSocket's own is given.
        websocket = url.replace("http", "ws", 1)
        client = OpenAI if self._threads else AsyncOpenAI
        self._client: Any = client(
            api_key="unused", base_url=f"{url}/v1", websocket_base_url=f"{websocket}/v1"
        )

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Conversation, None]:
        api = self._client if self._dialect == "ga" else self._client.beta
        manager = api.realtime.connect(model="gpt-realtime")
        if self._threads:
            connection = await asyncio.to_thread(manager.__enter__)
        else:
            connection = await manager.__aenter__()
        conversation = Conversation(connection, self._dialect, threads=self._threads)
        reading = asyncio.create_task(conversation.read())
        try:
            yield conversation
        finally:
            await conversation.do(connection.close)
            await reading

    async def connect(self) -> Facts:
        async with self.connected() as conversation:
            created = await conversation.seen.wait("session.created")
            await conversation.update("audio")
            return {"session": created.session.id, **conversation.complaints()}

    async def text_turn(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.update("text")
            await conversation.ask(COUNT_A_LITTLE)
            done = await conversation.seen.wait("response.done")
            deltas = conversation.seen.of("response.output_text.delta")
            return {
                "said": "".join(event.delta for event in deltas),
                "status": done.response.status,
                **conversation.complaints(),
            }

    async def voice_turn(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.update("audio")
            await conversation.say(self._recording)
            done = await conversation.seen.wait("response.done")
            return {
                "status": done.response.status,
                "seconds": conversation.seconds(done.response.id),
                **await self._words(conversation),
            }

    async def function_call(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.update("text", tools=True)
            await conversation.ask(QUESTION)
            done = await conversation.seen.wait("response.done")
            (call,) = done.response.output
            output = {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": FORECAST,
            }
            await conversation.do(conversation.connection.conversation.item.create, item=output)
            await conversation.do(conversation.connection.response.create)
            await conversation.seen.wait("response.done", 2)
            return {
                "tool": call.name,
                "arguments": json.loads(call.arguments),
                "said": conversation.seen.of("response.output_text.done")[-1].text,
                **conversation.complaints(),
            }

    async def barge_in(self) -> Facts:
        async with self.connected() as conversation:
            await conversation.update("audio")
            await conversation.ask(COUNT_LONG)
            await conversation.seen.wait("enough heard")
            saying = asyncio.create_task(conversation.say(self._recording))
            cut = await conversation.seen.wait("response.done")
            first = conversation.seen.of("response.output_audio.delta")[0]
            await conversation.do(
                conversation.connection.conversation.item.truncate,
                item_id=first.item_id,
                content_index=0,
                audio_end_ms=1000,
            )
            truncated = await conversation.seen.wait("conversation.item.truncated")
            await saying
            done = await conversation.seen.wait("response.done", 2)
            return {
                "cut": {
                    "status": cut.response.status,
                    "reason": cut.response.status_details.reason,
                    "seconds": conversation.seconds(cut.response.id),
                },
                "truncated_ms": truncated.audio_end_ms,
                "status": done.response.status,
                **await self._words(conversation),
            }

    async def _words(self, conversation: Conversation) -> Facts:
        heard = await conversation.seen.wait(
            "conversation.item.input_audio_transcription.completed"
        )
        said = conversation.seen.of("response.output_audio_transcript.done")[-1]
        return {
            "heard": heard.transcript,
            "said": said.transcript,
            **conversation.complaints(),
        }


async def main(url: str, recording: str, dialect: str, kind: str) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    program = Program(url, Path(recording), dialect, kind)
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
