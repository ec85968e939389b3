"""One engine for all answers: who may use it when, and what it need not make again."""

from __future__ import annotations

import threading
from functools import partial
from typing import Final, TypeAlias

import trio
from attrs import define, field

from trio_bridge.nodes.synthesis import Engine, Utterance

MARK_BYTES: Final = 160
"""What a mark takes in memory, its two numbers with it."""

ENTRY_BYTES: Final = 1_000
"""What an entry takes beside its samples, marks and text."""

Key: TypeAlias = tuple[str, float, str]
"""Voice, speed, text: with one engine, all that an utterance depends on."""


@define(eq=False)
class UtteranceCache:
    """Utterances that were made before; those not asked for longest go first.

    Args:
        limit: The bytes that it may hold. 0: nothing is kept.
    """

    limit: int
    size: int = field(default=0, init=False)
    """The bytes that it holds."""
    _entries: dict[Key, Utterance] = field(factory=dict, init=False)

    def get(self, key: Key) -> Utterance | None:
        """The utterance, which is then the one asked for last."""
        found = self._entries.pop(key, None)
        if found is not None:
            self._entries[key] = found
        return found

    def put(self, key: Key, utterance: Utterance) -> None:
        """Keep a whole utterance, if it fits at all."""
        size = _size(key, utterance)
        if size > self.limit:
            return
        self._drop(key)
        # Many answers will read the same samples.
        utterance.samples.flags.writeable = False
        self._entries[key] = utterance
        self.size += size
        while self.size > self.limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.size -= _size(key, found)

    def __len__(self) -> int:
        return len(self._entries)


def _size(key: Key, utterance: Utterance) -> int:
    text = 4 * (len(key[0]) + len(key[2]))
    return ENTRY_BYTES + text + utterance.samples.nbytes + MARK_BYTES * len(utterance.marks)


@define(eq=False)
class Voicing:
    """The engine as answers see it: a piece of text in, an utterance out.

    Args:
        engine: What speaks. One piece at a time is let into it; who waits is served in order,
            so answers take turns piece by piece.
        cache: What it need not make again.
    """

    engine: Engine
    cache: UtteranceCache = field(factory=lambda: UtteranceCache(0))
    _turn: trio.Lock = field(factory=trio.Lock, init=False)

    async def speak(
        self, text: str, *, voice: str, speed: float, stop: threading.Event
    ) -> Utterance:
        """See `Engine.synthesise`.

        Raises:
            EngineError: The engine cannot.
        """
        key = voice, speed, text
        found = self.cache.get(key)
        if found is not None:
            await trio.lowlevel.checkpoint()
            return found
        async with self._turn:
            # Who was ahead may have made it.
            found = self.cache.get(key)
            if found is None:
                make = partial(
                    self.engine.synthesise, text, voice=voice, speed=speed, stop=stop
                )
                found = await trio.to_thread.run_sync(make)
                # What was stopped is half an utterance, and nobody can tell where it ends.
                if not stop.is_set():
                    self.cache.put(key, found)
            return found
