"""Turns that end by what was said, in the dataflow that ships, at the pace of speech."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from tests.support.recordings import load

from trio_bridge.dora.backend import DoraBackend, open_dora_backend
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.messages import Configure, InputAudio, SpeechStopped, Transcript

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RATE = 16_000
FRAME = 320
BEFORE = 0.5
WHOLE = load("sense_and_sensibility_0930")
CUT = load("sense_and_sensibility_0870")[: 3 * RATE]
"""`… had then leisure to`: the reader goes on, the recording does not."""


async def silence_before_the_end(backend: DoraBackend, speech: NDArray[np.float32]) -> float:
    """Seconds from the last of the speech to the end of the turn."""
    quiet = np.zeros(5 * RATE, np.float32)
    whole = np.concatenate([quiet[: int(BEFORE * RATE)], speech, quiet])
    whole += np.random.default_rng(7).normal(0, 1e-4, len(whole)).astype(np.float32)
    stops = []
    async with backend.session(f"s{len(speech)}") as session, trio.open_nursery() as nursery:
        session.send(Configure({"type": "semantic_vad", "eagerness": "medium"}, None))

        async def listen() -> None:
            async for event in session.events:
                if isinstance(event, SpeechStopped):
                    stops.append(event.audio_ms / 1000)
                if isinstance(event, Transcript) and event.final:
                    nursery.cancel_scope.cancel()

        nursery.start_soon(listen)
        began = trio.current_time()
        for number, start in enumerate(range(0, len(whole), FRAME)):
            await trio.sleep_until(began + number * FRAME / RATE)
            session.send(InputAudio(whole[start : start + FRAME]))
        await trio.sleep(5)
    (stop,) = stops
    return float(stop - BEFORE - len(speech) / RATE)


async def test_a_finished_sentence_ends_sooner_than_one_that_leads_on() -> None:
    waits: dict[str, float] = {}

    async def measure(name: str, speech: NDArray[np.float32]) -> None:
        waits[name] = await silence_before_the_end(backend, speech)

    with trio.fail_after(60):
        async with open_dora_backend(DoraSettings("voice")) as backend:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(measure, "whole", WHOLE)
                nursery.start_soon(measure, "cut", CUT)
            assert backend.instances[0].lost == 0
    assert waits["whole"] < 1.0
    assert waits["cut"] == pytest.approx(4.0, abs=0.1)
