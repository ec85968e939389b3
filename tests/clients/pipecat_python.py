"""pipecat-ai: its `OpenAIRealtimeLLMService` in a pipeline, between two context aggregators.

    python -m tests.clients.pipecat_python URL RECORDING

The service keeps the protocol's events to itself: what is seen are the frames it pushes. Any
error but a few, and any event that does not fit its types, ends what it receives.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import InputAudioRawFrame, LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
    TurnDetection,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
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

RATE = 24_000
SETTINGS = OpenAIRealtimeLLMService.Settings(
    session_properties=SessionProperties(
        audio=AudioConfiguration(
            input=AudioInput(
                transcription=InputAudioTranscription(),
                turn_detection=TurnDetection(silence_duration_ms=500),
            )
        )
    )
)


class Conversation:
    """One pipeline; what it saw is in `seen`, by the names of the frames' classes."""

    def __init__(self, url: str, asked: str | None) -> None:
        websocket = url.replace("http", "ws", 1)
        service: Any = OpenAIRealtimeLLMService(
            api_key="unused", base_url=f"{websocket}/v1/realtime", settings=SETTINGS
        )
        service.register_function(WEATHER_TOOL["name"], self._weather)
        service.add_event_handler("on_after_push_frame", self._pushed)
        messages: list[Any] = [] if asked is None else [{"role": "user", "content": asked}]
        context = LLMContext(messages, ToolsSchema([_weather_schema()]))
        aggregators = LLMContextAggregatorPair(context)
        self.worker: Any = PipelineWorker(
            Pipeline([aggregators.user(), service, aggregators.assistant()]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
        )
        self.worker.add_event_handler("on_pipeline_started", self._started)
        self.seen = Seen()
        self.seconds = 0.0

    async def say(self, recording: Path) -> None:
        async def send(pcm: bytes) -> None:
            await self.worker.queue_frame(InputAudioRawFrame(pcm, RATE, 1))

        await speak(send, recording)

    def said(self, after: int = 0) -> str:
        return "".join(frame.text for frame in self.seen.of("TTSTextFrame")[after:]).strip()

    def complaints(self) -> Facts:
        """What no scenario should see."""
        return {"errors": [frame.error for frame in self.seen.of("ErrorFrame")]}

    async def _weather(self, call: Any) -> None:
        self.seen.add("call", (call.function_name, dict(call.arguments)))
        await call.result_callback(FORECAST)

    async def _started(self, _worker: Any, _frame: Any) -> None:
        self.seen.add("started")

    async def _pushed(self, _service: Any, frame: Any) -> None:
        kind = type(frame).__name__
        self.seen.add(kind, frame)
        if kind == "ErrorFrame":
            self.seen.end(Complaint(frame.error))
        if kind == "TTSAudioRawFrame":
            self.seconds += len(frame.audio) / BYTES_PER_SECOND
            if self.seconds >= HEARD_BEFORE_BARGE_IN:
                self.seen.add("enough heard")


def _weather_schema() -> Any:
    parameters = WEATHER_TOOL["parameters"]
    return FunctionSchema(
        name=WEATHER_TOOL["name"],
        description=WEATHER_TOOL["description"],
        properties=parameters["properties"],
        required=parameters["required"],
    )


class Program:
    def __init__(self, url: str, recording: Path) -> None:
        self._url = url
        self._recording = recording

    @asynccontextmanager
    async def running(self, asked: str | None = None) -> AsyncGenerator[Conversation, None]:
        conversation = Conversation(self._url, asked)
        runner: Any = WorkerRunner(handle_sigint=False)
        await runner.add_workers(conversation.worker)
        task = asyncio.create_task(runner.run())
        try:
            await conversation.seen.wait("started")
            if asked is not None:
                await conversation.worker.queue_frame(LLMRunFrame())
            yield conversation
        finally:
            await runner.cancel()
            await task

    async def text_turn(self) -> Facts:
        async with self.running(COUNT_A_LITTLE) as conversation:
            await conversation.seen.wait("LLMFullResponseEndFrame")
            return {"said": conversation.said(), **conversation.complaints()}

    async def voice_turn(self) -> Facts:
        async with self.running() as conversation:
            await conversation.say(self._recording)
            await conversation.seen.wait("LLMFullResponseEndFrame")
            heard = await conversation.seen.wait("TranscriptionFrame")
            return {
                "seconds": conversation.seconds,
                "heard": heard.text,
                "said": conversation.said(),
                **conversation.complaints(),
            }

    async def function_call(self) -> Facts:
        async with self.running(QUESTION) as conversation:
            name, arguments = await conversation.seen.wait("call")
            await conversation.seen.wait("LLMFullResponseEndFrame", 2)
            return {
                "tool": name,
                "arguments": arguments,
                "said": conversation.said(),
                **conversation.complaints(),
            }

    async def barge_in(self) -> Facts:
        async with self.running(COUNT_LONG) as conversation:
            await conversation.seen.wait("enough heard")
            saying = asyncio.create_task(conversation.say(self._recording))
            await conversation.seen.wait("LLMFullResponseEndFrame")
            cut, words = conversation.seconds, len(conversation.seen.of("TTSTextFrame"))
            await saying
            await conversation.seen.wait("LLMFullResponseEndFrame", 2)
            heard = await conversation.seen.wait("TranscriptionFrame")
            return {
                "cut": {"seconds": cut},
                "heard": heard.text,
                "said": conversation.said(after=words),
                **conversation.complaints(),
            }


async def main(url: str, recording: str) -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    program = Program(url, Path(recording))
    await run_all(
        {
            "text_turn": program.text_turn,
            "voice_turn": program.voice_turn,
            "function_call": program.function_call,
            "barge_in": program.barge_in,
        }
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
