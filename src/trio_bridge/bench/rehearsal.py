"""Words for every session of the voice scenario, and what the server hears in them.

Before a run what is new in it is spoken alone, twice. Two utterances that the server hears
nearly alike would tell nobody apart: the second is passed over for another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import trio
from attrs import define, evolve, field

from trio_bridge.bench.fleet import BenchError
from trio_bridge.bench.plan import Plan
from trio_bridge.bench.run import Progress, carry_out
from trio_bridge.bench.speech import Recording, SpeechError, heard_alike, repeats, sayings
from trio_bridge.bench.voice import PATIENCE

JOINS = 2.0
"""Sessions that join in a second: hardly anybody else speaks."""


@define
class Rehearsal:
    """Finds words for ever more sessions.

    Args:
        recordings: What they are made of.
        folder: Where files go.
        show: Is told of the progress.
    """

    _recordings: Sequence[Recording]
    _folder: Path
    _show: Callable[[Progress], None]
    _left: Iterator[Recording] = field(init=False)
    """What has not been tried."""
    _known: list[tuple[Recording, tuple[str, ...]]] = field(factory=list, init=False)
    """What each session says, and what was heard in it, each time."""
    _repeated: bool = field(default=True, init=False)
    """Answers have repeated what was heard, so far."""

    def __attrs_post_init__(self) -> None:
        self._left = sayings(self._recordings)

    async def rehearsed(self, plan: Plan) -> Plan:
        """A plan with words for all of its sessions.

        Raises:
            SpeechError: There are not enough that can be told apart.
            BenchError: Something went wrong though hardly anybody spoke.
        """
        while (lacking := plan.of - len(self._known)) > 0:
            new = await trio.to_thread.run_sync(self._next, lacking)
            if not new:
                raise SpeechError(
                    f"{plan.of} sessions need words of their own, and {len(self._known)} can be"
                    f" told apart of what {len(self._recordings)} recordings give: name more of"
                    " them with --speech"
                )
            await self._speak(plan, new)
        known = self._known[: plan.of]
        return evolve(
            plan,
            speech=self._saved([recording for recording, _ in known]),
            heard=tuple(heard for _, heard in known),
            repeated=self._repeated,
        )

    def _next(self, most: int) -> list[Recording]:
        return list(islice(self._left, most))

    async def _speak(self, plan: Plan, sayings: Sequence[Recording]) -> None:
        count = len(sayings)
        alone = evolve(
            plan,
            numbers=tuple(range(count)),
            of=count,
            ramp=count / JOINS,
            speech=self._saved(sayings),
            turns=2,
            barge_in=0,
            seconds=2 * PATIENCE,
        )
        tally, _ = await carry_out(alone, 1, None, self._show)
        if tally.failures:
            number, why = tally.failures[0]
            raise BenchError(f"{sayings[number].name}, spoken alone: {why}")
        for number, saying in enumerate(sayings):
            heard = tuple(words for whose, words, _ in tally.heard if whose == number)
            if not any(heard_alike(heard, others) for _, others in self._known):
                self._known.append((saying, heard))
        self._repeated &= all(repeats(answer, words) for _, words, answer in tally.heard)

    def _saved(self, sayings: Sequence[Recording]) -> str:
        path = self._folder / "speech.npz"
        series = {str(n): np.frombuffer(each.pcm, "<i2") for n, each in enumerate(sayings)}
        np.savez(path, **series)  # type: ignore[arg-type]
        return str(path)
