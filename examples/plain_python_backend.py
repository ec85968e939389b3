"""A voice server whose answers come from a plain async function: no Dora, no models.

It plays back what you said, a tone higher, and answers text with text. Run it, then in
another terminal:

    python -m trio_bridge talk FILE.wav --url ws://127.0.0.1:8081/v1/realtime

Text in:

    python -m trio_bridge talk --text "hello" --url ws://127.0.0.1:8081/v1/realtime
"""

from __future__ import annotations

import numpy as np
import trio

import trio_bridge
from trio_bridge.backend import Emit
from trio_bridge.messages import (
    AudioDelta,
    Command,
    Commit,
    InputAudio,
    Respond,
    ResponseFinished,
    Samples,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    Transcript,
)
from trio_bridge.settings import ServerSettings, Settings

RATE = 16_000
LOUD = 0.02  # a frame with more power than this (RMS) is speech
SILENCE = RATE // 2  # samples of quiet that end a turn


class Parrot:
    """One session: hears turns by loudness and keeps the last one to play it back."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.clock = 0
        self.quiet = 0
        self.turns = 0
        self.speaking = False
        self.heard: list[Samples] = []

    async def hear(self, samples: Samples) -> None:
        """Follow the microphone: report where speech starts and stops."""
        self.clock += len(samples)
        loud = float(np.sqrt(np.mean(np.square(samples)))) > LOUD
        self.quiet = 0 if loud else self.quiet + len(samples)
        if loud and not self.speaking:
            self.speaking, self.heard = True, []
            self.turns += 1
            await self.emit(SpeechStarted(f"turn-{self.turns}", self.clock * 1000 // RATE))
        if self.speaking:
            self.heard.append(samples)
            if self.quiet >= SILENCE:
                self.speaking = False
                await self.emit(SpeechStopped(f"turn-{self.turns}", self.clock * 1000 // RATE))
                await self.emit(Transcript(f"turn-{self.turns}", "(a sound)", final=True))

    async def commit(self, item_id: str) -> None:
        """The client ended the turn itself."""
        self.turns += 1
        self.speaking = False
        await self.emit(
            Transcript(f"turn-{self.turns}", "(a sound)", final=True, item_id=item_id)
        )

    async def answer(self, command: Respond) -> None:
        """Text for text; otherwise what was heard, played a tone higher."""
        if command.request.output_modality == "text" or not self.heard:
            await self.emit(TextDelta(command.response_id, "You said something."))
        else:
            sound = np.concatenate(self.heard)
            await self.emit(AudioDelta(command.response_id, sound, RATE * 9 // 8))
        await self.emit(ResponseFinished(command.response_id))


async def parrot(commands: trio.MemoryReceiveChannel[Command], emit: Emit) -> None:
    """Answer one session; it is cancelled when the session ends."""
    session = Parrot(emit)
    async for command in commands:
        match command:
            case InputAudio(samples):
                await session.hear(samples)
            case Commit(item_id):
                await session.commit(item_id)
            case Respond():
                await session.answer(command)
            case _:
                pass  # configure, clear, cancel, credit: the parrot has no use for them


async def main() -> None:
    settings = Settings(server=ServerSettings(port=8081))
    backend = trio_bridge.InProcessBackend(parrot)
    async with trio_bridge.open_bridge(settings, backend=backend) as bridge:
        print("talk to", bridge.url, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        print("bye")
