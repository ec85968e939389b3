"""What the tests of recognisers share: speech, and what the node's own pool makes of it."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.contract import Transcript
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import DataflowError
from trio_bridge.nodes.decoder_pool import DecoderPool
from trio_bridge.nodes.worker_process import worker_command

SAMPLE = Path(__file__).parents[1] / "audio_samples" / "go_forward_ten_meters.wav"


def speech() -> bytes:
    with wave.open(str(SAMPLE)) as file:
        return bytes(file.readframes(file.getnframes()))


def urgencies(pid: int) -> dict[int, int]:
    """Each thread of a process → how nice it is."""
    threads = (int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    return {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


async def refusal() -> str:
    """The line that a user is shown of a recogniser that does not start."""
    with pytest.raises(DataflowError) as caught:
        async with open_dora_backend(DoraSettings()):
            pass
    assert caught.value.node == "asr"
    (line,) = caught.value.log.splitlines()
    assert line.startswith("asr: ")
    return line


async def transcripts(engine: str, pcm: bytes, **settings: Any) -> list[Transcript]:
    """What a worker process makes of it, spoken in real time."""
    said: list[Transcript] = []
    over = trio.Event()

    def emit(transcript: Transcript) -> None:
        said.append(transcript)
        if transcript.event != "partial":
            over.set()

    pool = DecoderPool(worker_command(engine), 1, emit, print, 60)
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            utterance = pool.begin("s", "u", {"language": "en", **settings})
            for at in range(0, len(pcm), 3_200):
                pool.add(utterance, pcm[at : at + 3_200])
                await trio.sleep(0.1)
            pool.end(utterance, "item")
            await over.wait()
            nursery.cancel_scope.cancel()
    return said
