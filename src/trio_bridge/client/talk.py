"""`talk`: say something to a Realtime server, and show what it heard and what it answers."""

from __future__ import annotations

import argparse
import sys
from itertools import chain, repeat
from pathlib import Path

import trio

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.client.connection import ClientError, RealtimeConnection, connect
from trio_bridge.client.conversation import FRAME_SECONDS, Conversation
from trio_bridge.client.report import JsonLines, Lines, Report
from trio_bridge.client.sound import WIRE_RATE, microphone, read_sound, write_pcm16

FRAME_SAMPLES = round(WIRE_RATE * FRAME_SECONDS)
SILENCE = bytes(2 * FRAME_SAMPLES)

HELLO_TIMEOUT = 10.0
"""Seconds a server may take for its first event. It sends it at once, or has no place."""

MICROPHONE = "-"


async def talk(options: argparse.Namespace) -> int:
    """Carry out the command.

    Args:
        options: `file` (a path, or `-` for the microphone) or `text`; `url`, `ca`, `save`,
            `json`.

    Returns:
        The exit status, 0.

    Raises:
        SoundError: A file cannot be read or written, or there is no microphone.
        ClientError: The server cannot be reached, refuses, reports an error, or does not
            answer.
    """
    live = options.file == MICROPHONE
    frames = _frames(Path(options.file)) if options.file is not None and not live else None
    report: Report = JsonLines(sys.stdout) if options.json else Lines(sys.stdout)
    reply = bytearray()
    if options.save is not None:
        # Before anything is said: a path that cannot be written would waste a conversation.
        write_pcm16(Path(options.save), bytes(reply))
    began = trio.current_time()
    async with connect(options.url, ca=options.ca) as connection:
        await _greet(connection)
        connect_ms = round((trio.current_time() - began) * 1000, 1)
        report.connected(connect_ms)
        conversation = Conversation(connection, report, reply.extend)
        try:
            async with trio.open_nursery() as nursery:
                if options.text is not None:
                    await conversation.ask(options.text)
                elif frames is not None:
                    nursery.start_soon(_speak_recording, conversation, frames)
                else:
                    nursery.start_soon(_speak_live, conversation)
                await conversation.listen(one_turn=live)
                nursery.cancel_scope.cancel()
        finally:
            if options.save is not None:
                write_pcm16(Path(options.save), bytes(reply))
    report.end(
        {
            "connect_ms": connect_ms,
            "turns": [turn.summary() for turn in conversation.turns],
            "audio_seconds": round(len(reply) / 2 / WIRE_RATE, 3),
            "saved": options.save,
        }
    )
    return 0


async def _greet(connection: RealtimeConnection) -> None:
    with trio.move_on_after(HELLO_TIMEOUT):
        event = await connection.receive()
        if event["type"] == "session.created":
            return
        error = event.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise ClientError(f"the server opens no session: {message or event['type']}")
    raise ClientError(f"the server opened no session in {HELLO_TIMEOUT:g} s")


async def _speak_recording(conversation: Conversation, frames: list[bytes]) -> None:
    await conversation.prepare_to_speak()
    began = trio.current_time()
    for number, frame in enumerate(chain(frames, repeat(SILENCE))):
        # Each frame has its own place in time: a late one does not delay the rest.
        await trio.sleep_until(began + number * FRAME_SECONDS)
        if number == len(frames):
            conversation.said_all_speech()
        await conversation.say(frame)


async def _speak_live(conversation: Conversation) -> None:
    await conversation.prepare_to_speak()
    async with microphone(FRAME_SAMPLES) as frames:
        async for frame in frames:
            await conversation.say(frame)


def _frames(path: Path) -> list[bytes]:
    pcm = float32_to_pcm16(read_sound(path))
    size = len(SILENCE)
    return [pcm[at : at + size].ljust(size, b"\0") for at in range(0, len(pcm), size)]
