"""What a run is to do, as it is handed to the worker processes, and what they hand back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from attrs import asdict, define, field, frozen

RATE = 24_000
"""Hz: what the Realtime API carries."""

AFTERWARDS = 0.5
"""Seconds that the sessions go on after measuring."""

SETTLE = 2.0
"""Seconds after the last session has joined that are not measured."""

FINISH = 10.0
"""Seconds that sessions have to come to their end."""

VOICE_FINISH = 75.0
"""The same where that means the end of a turn and of its answer."""

Scenario = Literal["echo", "voice"]


@frozen
class Plan:
    """One run of one worker. Times are in seconds.

    Args:
        url: `ws://…`
        numbers: The sessions of this worker; a number is unique in a run.
        of: How many sessions the run has in all.
        frame_ms: A divisor of 1,000.
        seconds: How long is measured.
        ramp: Over which the sessions join.
        look_ahead: What the filters on the way hold back; no delay is counted for it.
        playout: What a simulated player keeps in hand before it begins to play.
        ca: A PEM file with certificates to trust under `wss://`.
        key: Sent as the bearer token, if it is not empty.
        scenario: What the sessions do.
        speech: The file with the utterances of the voice scenario: a series `0`, `1`…, each
            for the session of that number.
        heard: What the server hears in each of them, each time; empty: to be found out.
        repeated: Answers repeat what was heard.
        turns: After so many a session of the voice scenario ends. 0: it goes on.
        barge_in: Every so many turns a session interrupts an answer. 0: never.
    """

    url: str
    numbers: tuple[int, ...]
    of: int
    frame_ms: int
    seconds: float
    ramp: float
    look_ahead: float
    playout: float
    ca: str | None = None
    key: str = ""
    scenario: Scenario = "echo"
    speech: str = ""
    heard: tuple[tuple[str, ...], ...] = ()
    repeated: bool = False
    turns: int = 0
    barge_in: int = 0

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""
        return RATE * self.frame_ms // 1000

    @property
    def frame_seconds(self) -> float:
        """How long a frame is."""
        return self.frame_ms / 1000

    @property
    def measured_from(self) -> float:
        """When measuring begins, counted from the beginning of the run."""
        return self.ramp + SETTLE

    @property
    def measured_until(self) -> float:
        """When it ends."""
        return self.measured_from + self.seconds

    @property
    def talked_until(self) -> float:
        """When the sessions come to their end: so much later that the measured frames are back.
        All of them leave at once, which is work of its own."""
        return self.measured_until + AFTERWARDS

    @property
    def finish(self) -> float:
        """Seconds that sessions have to come to their end."""
        return FINISH if self.scenario == "echo" else VOICE_FINISH

    def dump(self) -> bytes:
        """The plan as a line of JSON."""
        return orjson.dumps(asdict(self)) + b"\n"

    @classmethod
    def load(cls, line: bytes) -> Plan:
        """The inverse of `dump`."""
        fields: dict[str, Any] = orjson.loads(line)
        heard = tuple(tuple(each) for each in fields["heard"])
        return cls(**(fields | {"numbers": tuple(fields["numbers"]), "heard": heard}))


@define
class Tally:
    """What one or several workers have seen. Times are in seconds."""

    created: list[float] = field(factory=list)
    """From connecting to `session.created`, by session."""
    added: list[float] = field(factory=list)
    """Delay of each frame, from its sending to the return of its last sample."""
    late_sends: list[float] = field(factory=list)
    """How long after its deadline each frame was sent: the generator's own failing."""
    lateness: list[float] = field(factory=list)
    """Of each piece of audio that came, against the moment at which a player without a buffer
    would have needed it."""
    answer: list[float] = field(factory=list)
    """From the end of speech to the first audio of the answer, by turn."""
    answer_beyond: list[float] = field(factory=list)
    """The same from where the server took the turn to have ended, silence included."""
    barge_in: list[float] = field(factory=list)
    """From speaking into an answer to its end."""
    underruns: int = 0
    stalled: float = 0.0
    """How long the simulated players stood still."""
    worker_cpu: float = 0.0
    """Processor time of the workers while measuring."""
    finished: int = 0
    """Sessions that came to their end with nothing wrong."""
    turns: int = 0
    """Said, heard and answered as they should be."""
    exact: int = 0
    """Of these, turns with the very transcript they have when spoken alone."""
    heard: list[tuple[int, str, str]] = field(factory=list)
    """Utterance, transcript and answer, by turn."""
    failures: list[tuple[int, str]] = field(factory=list)
    """Sessions with which something went wrong, and what."""

    def fail(self, number: int, why: str) -> None:
        """Note what went wrong in a session."""
        self.failures.append((number, why))

    def save(self, path: Path) -> None:
        """Write everything to a file that `add_saved` reads."""
        series = {name: np.asarray(getattr(self, name), np.float32) for name in _SERIES}
        rest = {name: getattr(self, name) for name in (*_SUMS, "failures", "heard")}
        np.savez(path, rest=np.frombuffer(orjson.dumps(rest), np.uint8), **series)  # type: ignore[arg-type]

    def add_saved(self, path: Path) -> None:
        """Add what a worker has saved."""
        with np.load(path) as saved:
            for name in _SERIES:
                getattr(self, name).extend(saved[name].tolist())
            rest = orjson.loads(saved["rest"].tobytes())
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + rest[name])
        self.heard += [(said, heard, answer) for said, heard, answer in rest["heard"]]
        self.failures += [(number, why) for number, why in rest["failures"]]


_SERIES = ("created", "added", "late_sends", "lateness", "answer", "answer_beyond", "barge_in")
_SUMS = ("underruns", "stalled", "worker_cpu", "finished", "turns", "exact")
