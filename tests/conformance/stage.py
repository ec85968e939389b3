"""Plays a script, and sees that it goes as it says."""

from __future__ import annotations

import json
from base64 import b64encode

from attrs import define, field
from tests.conformance.phrasebook import phrased
from tests.conformance.players import Player
from tests.conformance.script import (
    Appends,
    Asked,
    Becomes,
    Closes,
    Gets,
    Names,
    Reports,
    Says,
    Script,
    Step,
    Waits,
    without_repeats,
)
from tests.conformance.witness import Witness
from tests.support.validation import validate

from trio_bridge.audio.encodings import CODINGS
from trio_bridge.messages import Command, Credit, InputAudio, MicrophoneAudio
from trio_bridge.realtime.wire import Dialect

UNCOUNTED = (InputAudio, MicrophoneAudio, Credit)
"""Commands that come in portions, which are nobody's business here."""


@define
class Stage:
    """A script being played."""

    player: Player
    dialect: Dialect
    _names: Names = field(factory=Names, init=False)
    _witness: Witness = field(init=False)
    _read: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)
    _looked: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._witness = Witness(self.dialect)

    async def play(self, script: Script) -> None:
        """Play it to its end, after which nothing may be left that was not expected."""
        for number, step in enumerate(script.steps):
            try:
                await self._take(step)
                self._see()
            except AssertionError as exc:
                exc.add_note(f"in step {number}, {step}")
                came = [each["type"] for each in self.player.events]
                exc.add_note(f"so far came: {came}")
                raise
        self._expect(Gets(()))
        self._witness.leave()

    async def _take(self, step: Step) -> None:
        match step:
            case Says(event):
                if isinstance(event, dict):
                    said = phrased(self._names.said(event), self.dialect)
                    assert said is not None, "the dialect cannot say this"
                    event = json.dumps(said)
                await self.player.say(event)
            case Appends(ms, encoding):
                coding = CODINGS[encoding]
                audio = bytes(ms * coding.bytes_per_second // 1000)
                frame = {
                    "type": "input_audio_buffer.append",
                    "audio": b64encode(audio).decode(),
                }
                await self.player.append(json.dumps(frame), ms)
            case Reports(events):
                for each in events:
                    await self.player.report(self._names.reported(each))
            case Waits(seconds):
                await self.player.wait(seconds)
            case Gets():
                self._expect(step)
            case Asked(commands):
                self._look(commands)
            case Becomes(dialect):
                self.dialect = self._witness.dialect = dialect
            case Closes():
                assert self.player.closed == (step.code, step.reason)

    def _see(self) -> None:
        """Hold all that has come against the protocol."""
        for event in self.player.events[self._seen :]:
            validate(event, self.dialect)
            self._witness.read(event)
        self._seen = len(self.player.events)

    def _expect(self, step: Gets) -> None:
        came = without_repeats(self.player.events[self._read :])
        self._read = len(self.player.events)
        said = [phrased(each, self.dialect) for each in step.patterns]
        wanted = [each for each in said if each is not None]
        types = [each["type"] for each in wanted]
        assert [each["type"] for each in came] == types, came
        for pattern, event in zip(wanted, came, strict=True):
            self._names.match(pattern, event, event["type"])

    def _look(self, commands: tuple[type[Command], ...]) -> None:
        since = self.player.commands[self._looked :]
        self._looked = len(self.player.commands)
        assert [type(each) for each in since if not isinstance(each, UNCOUNTED)] == [*commands]
