"""The recognition node: `segment` in, `transcript` out, many sessions in one process.

`python -m trio_bridge.nodes.asr`. `ASR_ENGINE` names the engine, `ASR_MODEL` the folder of its
model, if it has none of its own, `TRIO_BRIDGE_ASR_WORKERS` the most recognisers to run (by
default what the machine carries).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import trio
from attrs import define, field

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.dora.contract import Segment, Transcript
from trio_bridge.nodes.decoder_pool import DecoderPool, default_workers, first_lost
from trio_bridge.nodes.host import NodeIO, open_node
from trio_bridge.nodes.local_model import ModelMissing
from trio_bridge.nodes.recognition import DEFAULT_ENGINE, UnknownEngine, engine_kind
from trio_bridge.nodes.turns import Utterance
from trio_bridge.nodes.variables import Variable
from trio_bridge.nodes.worker_process import WorkerLost, worker_command


def complain(message: str) -> None:
    """Write a line where the bridge finds it: it keeps what its nodes print."""
    print(f"asr: {message}", file=sys.stderr)  # noqa: T201


@define(eq=False)
class Recognition:
    """All sessions' utterances under way."""

    pool: DecoderPool
    _utterances: dict[str, dict[str, Utterance]] = field(factory=dict, init=False)

    def sessions(self) -> int:
        """How many sessions it holds state for."""
        return len(self._utterances)

    def take(self, row: Segment) -> None:
        """Take the next row; rows for utterances that are not under way are dropped."""
        if row.event == "close":
            self._utterances.pop(row.session_id, None)
            self.pool.close(row.session_id)
            return
        if row.event == "start":
            settings = _settings(row.data)
            begun = self.pool.begin(row.session_id, row.utterance_id, settings)
            self._utterances.setdefault(row.session_id, {})[row.utterance_id] = begun
            return
        mine = self._utterances.get(row.session_id, {})
        if row.utterance_id in mine:
            self._go_on(mine, row)
        else:
            complain(f"session {row.session_id}: {row.event} for {row.utterance_id!r}, unknown")

    def _go_on(self, mine: dict[str, Utterance], row: Segment) -> None:
        utterance = mine[row.utterance_id]
        match row.event:
            case "audio" if row.samples is not None:
                self.pool.add(utterance, float32_to_pcm16(np.nan_to_num(row.samples)))
            case "end":
                self.pool.end(utterance, row.item_id)
            case "drop":
                self.pool.drop(utterance)
                del mine[row.utterance_id]
            case _:
                complain(f"session {row.session_id}: bad row {row.event!r}")

    def forget(self, transcript: Transcript) -> None:
        """An utterance's last transcript has been sent."""
        self._utterances.get(transcript.session_id, {}).pop(transcript.utterance_id, None)


def _settings(data: str | None) -> Mapping[str, Any]:
    settings = json.loads(data) if data else None
    return settings if isinstance(settings, dict) else {}


def settings_from(environment: Mapping[str, str]) -> tuple[str, int]:
    """The engine's name and the most workers, from the environment.

    Raises:
        UnknownEngine: There is no such engine.
        ModelMissing: Its package or its model is not on this machine.
        ValueError: The number of workers is none.
    """
    engine = environment.get(Variable.ASR_ENGINE) or DEFAULT_ENGINE
    memory = engine_kind(engine).memory(environment)
    given = environment.get(Variable.ASR_WORKERS)
    if not given:
        return engine, default_workers(memory)
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"TRIO_BRIDGE_ASR_WORKERS={given!r} is not a number from 1 up")
    return engine, int(given)


async def serve(io: NodeIO, engine: str, limit: int) -> str | None:
    """Recognise what comes in until the dataflow stops; tells why the engine does not start."""

    def emit(transcript: Transcript) -> None:
        io.send("transcript", transcript)
        if transcript.event != "partial":
            recognition.forget(transcript)

    patience = engine_kind(engine).patience
    recognition = Recognition(
        DecoderPool(worker_command(engine), limit, emit, io.report, patience)
    )
    failures: list[str] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(recognition.pool.run)
            io.sessions = recognition.sessions
            async for batch in io:
                for row in batch.rows:
                    recognition.take(row)
            nursery.cancel_scope.cancel()
    except* WorkerLost as group:
        failures.append(f"the engine {engine} does not start: {first_lost(group)}")
    return failures[0] if failures else None


async def main() -> None:
    """Be the node. Ends the process with a word on stderr if the engine does not start."""
    async with open_node("asr") as io:
        try:
            engine, limit = settings_from(os.environ)
        except (UnknownEngine, ModelMissing, ValueError) as exc:
            # Raised outside, or the nursery would wrap it and show its insides.
            failure: str | None = str(exc)
        else:
            failure = await serve(io, engine, limit)
    if failure is not None:
        raise SystemExit(f"asr: {failure}")


if __name__ == "__main__":
    trio.run(main)
