"""The synthesis node: answers as text in on `speak`, answers as speech out on `answer`.

`python -m trio_bridge.nodes.tts`. `TTS_ENGINE` names the engine, `TTS_LANGUAGE` the language of
voices that do not say one, `TTS_MODEL` the folder of the engine's voices, if it has none of its
own, `TTS_CACHE_MB` how much speech is kept for sentences that come again (0: none).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, TypeAlias

import trio
from attrs import define, field

from trio_bridge.dora.contract import Answer, Cancel, Credit
from trio_bridge.nodes.gently import gently, import_gently
from trio_bridge.nodes.host import NodeIO, open_node
from trio_bridge.nodes.recent import Recent
from trio_bridge.nodes.speaking import AnswerBroken, Delivery, Emit, Outgoing, SpokenAnswer
from trio_bridge.nodes.synthesis import Engine, EngineError
from trio_bridge.nodes.variables import Variable
from trio_bridge.nodes.voicing import UtteranceCache, Voicing

ANSWERS_MAX: Final = 1024
"""Answers under way at once; one more fails. Far more than sessions a bridge carries."""

REMEMBERED: Final = 4096
"""Answers that have ended, and credit for answers that have not begun: both only matter for
the moments by which one port overtakes another."""

ENGINES: Final[Mapping[str, str]] = {
    "espeak": "trio_bridge.nodes.espeak",
    "piper": "trio_bridge.nodes.piper_engine",
}
"""Name → module, whose `open_engine(environment)` makes the engine, `gently` where that starts
no threads."""

DEFAULT_ENGINE: Final = "espeak"

Key: TypeAlias = tuple[str, str]


@define(eq=False)
class _Entry:
    out: Outgoing
    speech: SpokenAnswer | None
    expected: int = 0


@define(eq=False)
class Synthesis:
    """All answers under way, of all sessions.

    Args:
        voicing: What speaks.
        emit: Sends a row on a port; never waits.
        nursery: Where each spoken answer has its task.
    """

    voicing: Voicing
    emit: Emit
    nursery: trio.Nursery
    _answers: dict[Key, _Entry] = field(factory=dict, init=False)
    _ended: Recent[Key, None] = field(factory=lambda: Recent(REMEMBERED), init=False)
    _early_credit: Recent[Key, float] = field(factory=lambda: Recent(REMEMBERED), init=False)

    def sessions(self) -> int:
        """How many sessions have an answer under way."""
        return len({session_id for session_id, _ in self._answers})

    def take(self, row: Answer | Cancel | Credit) -> None:
        """Take a row from any port, in any order of the ports."""
        key = row.session_id, row.response_id
        if key in self._ended:
            return
        match row:
            case Credit():
                self._grant(key, row.seconds)
            case Cancel():
                self._end(key, "cancelled")
            case Answer():
                try:
                    self._add(key, row)
                except AnswerBroken as exc:
                    self._end(key, "failed", exc.code, str(exc))

    def _grant(self, key: Key, seconds: float) -> None:
        entry = self._answers.get(key)
        if entry is None:
            if seconds > self._early_credit.get(key, 0.0):
                self._early_credit.put(key, seconds)
        elif entry.speech is not None:
            entry.speech.grant(seconds)

    def _add(self, key: Key, row: Answer) -> None:
        entry = self._answers.get(key)
        expected = entry.expected if entry else 0
        if row.event == "done" and row.status == "cancelled":
            # What has not been spoken yet never will be: this row does not wait its turn.
            self._end(key, "cancelled")
            return
        if row.seq != expected:
            raise AnswerBroken("answer_torn", "a part of the answer was lost on its way")
        if entry is None:
            entry = self._open(key, row)
        entry.expected += 1
        if entry.speech is not None:
            entry.speech.add(row)
        else:
            entry.out.forward(row)
            if entry.out.finished:
                self._forget(key)

    def _open(self, key: Key, row: Answer) -> _Entry:
        if len(self._answers) >= ANSWERS_MAX:
            raise AnswerBroken("too_many_answers", "too many answers are being spoken at once")
        try:
            delivery = Delivery.parse(row.data)
        except (ValueError, TypeError) as exc:
            raise AnswerBroken("bad_answer", f"the answer's first row is wrong: {exc}") from exc
        out = Outgoing(*key, self.emit)
        credit = self._early_credit.pop(key, 0.0)
        speech = None
        if delivery.modality == "audio":
            speech = SpokenAnswer(out, delivery, self.voicing, credit)
        entry = self._answers[key] = _Entry(out, speech)
        if speech is not None:
            self.nursery.start_soon(self._speak, key, speech)
        return entry

    async def _speak(self, key: Key, speech: SpokenAnswer) -> None:
        try:
            await speech.run()
        except AnswerBroken as exc:
            self._end(key, "failed", exc.code, str(exc))
        except EngineError as exc:
            self._end(key, "failed", "speech_failed", str(exc))
        else:
            self._forget(key)

    def _end(self, key: Key, status: str, code: str | None = None, why: str = "") -> None:
        """End an answer from here, begun or not."""
        if key in self._ended:
            # A piece that was in the engine when its answer was stopped may still complain.
            return
        entry = self._answers.get(key)
        out = entry.out if entry else Outgoing(*key, self.emit)
        out.send("done", status=status, error_code=code, error=why or None)
        if entry is not None and entry.speech is not None:
            entry.speech.stop()
        self._forget(key)

    def _forget(self, key: Key) -> None:
        self._answers.pop(key, None)
        self._early_credit.pop(key, 0.0)
        self._ended.put(key, None)


def open_engine(environment: Mapping[str, str]) -> Engine:
    """The engine that the environment names, ready to speak.

    Raises:
        EngineError: There is no such engine, or it does not start.
    """
    name = environment.get(Variable.TTS_ENGINE) or DEFAULT_ENGINE
    if name not in ENGINES:
        raise EngineError(f"TTS_ENGINE={name!r} is not known; there are: {', '.join(ENGINES)}")
    import_gently([ENGINES[name]])
    make: Callable[[Mapping[str, str]], Engine] = import_module(ENGINES[name]).open_engine
    engine = make(environment)
    # The first piece loads the voice; nobody should have to wait for that.
    gently(lambda: engine.synthesise("Ready.", voice="", speed=1.0, stop=threading.Event()))
    return engine


def open_cache(environment: Mapping[str, str]) -> UtteranceCache:
    """A cache as large as the environment says.

    Raises:
        EngineError: It says no number.
    """
    given = environment.get(Variable.TTS_CACHE_MB) or "0"
    if not given.isdecimal():
        raise EngineError(f"TTS_CACHE_MB={given!r} is not a number from 0 up")
    return UtteranceCache(int(given) * 2**20)


async def serve(io: NodeIO, voicing: Voicing) -> None:
    """Speak what comes in until the dataflow stops."""
    async with trio.open_nursery() as nursery:
        synthesis = Synthesis(voicing, io.send, nursery)
        io.sessions = synthesis.sessions
        async for batch in io:
            for row in batch.rows:
                synthesis.take(row)
        nursery.cancel_scope.cancel()


async def main() -> None:
    """Be the node. Ends the process with a word on stderr if the engine does not start."""
    failure = None
    async with open_node("tts") as io:
        try:
            cache = open_cache(os.environ)
            engine = await trio.to_thread.run_sync(open_engine, os.environ)
        except EngineError as exc:
            # Raised outside, or the nursery would wrap it and show its insides.
            failure = str(exc)
        else:
            await serve(io, Voicing(engine, cache))
    if failure is not None:
        raise SystemExit(f"tts: {failure}")


if __name__ == "__main__":
    trio.run(main)
