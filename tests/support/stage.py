"""An engine on a stage: what it says is checked, noted down, and read back as names."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from attrs import define, field

from tests.support.validation import validate
from trio_bridge.messages import (
    AudioDelta,
    BackendEvent,
    Capabilities,
    Command,
    Respond,
    Word,
)
from trio_bridge.realtime import Ids, RealtimeEngine, SessionConfig, Step
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.problems import ProtocolError
from trio_bridge.realtime.recordings import KEPT_LIMIT
from trio_bridge.realtime.wire import Codec, Dialect

NAMES = {kind: tag for tag, kind in ev.SERVER_TAGS.items()}
NAMES[ev.ResponseOutputAudioSamples] = "audio"
RATE = 8_000
"""Of the speech in these tests, in Hz."""

LISTEN_BY_HAND = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
TRANSCRIBE = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}


@define
class Stage:
    """A session without a client, a backend or time, all of which the test plays."""

    capabilities: Capabilities = field(factory=Capabilities)
    lead: float = math.inf
    config: SessionConfig = field(factory=SessionConfig)
    strict: bool = False
    max_seconds: float = math.inf
    audio_limit: int = KEPT_LIMIT
    dialect: Dialect = "ga"
    now: float = 100.0
    engine: RealtimeEngine = field(init=False)
    said: list[ev.ServerEvent] = field(factory=list, init=False)
    shown: list[ev.Json] = field(factory=list, init=False)
    asked: list[Command] = field(factory=list, init=False)
    last: Step = field(factory=Step, init=False)
    _codec: Codec = field(init=False)
    _event_ids: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._codec = Codec(self.dialect)
        self.engine = RealtimeEngine(
            session_id="sess_1",
            model="any",
            config=self.config,
            capabilities=self.capabilities,
            now=self.now,
            expires_at=2_000_000_000,
            lead=self.lead,
            ids=Ids("t"),
            strict=self.strict,
            max_seconds=self.max_seconds,
            audio_limit=self.audio_limit,
        )
        self._note(self.engine.start())

    def client(self, *received: ev.ClientEvent) -> list[str]:
        """The client sends; returns what it is told."""
        return self._play([self.engine.receive(event, self.now) for event in received])

    def reject(self, problem: ProtocolError) -> list[str]:
        """The client sends what is no event; returns what it is told."""
        return self._play([self.engine.reject(problem, self.now)])

    def backend(self, *reported: BackendEvent) -> list[str]:
        """The backend reports; returns what the client is told."""
        return self._play([self.engine.report(event, self.now) for event in reported])

    def at(self, now: float) -> list[str]:
        """Time passes until `now`, with a tick whenever one is due."""
        steps = []
        while self.engine.deadline <= now:
            before = self.now = max(self.now, self.engine.deadline)
            steps.append(self.engine.tick(self.now))
            assert self.engine.deadline > before or steps[-1] != Step(), "an idle wake-up"
        self.now = now
        return self._play(steps)

    def seen(self, kind: type[Any]) -> Any:
        """The last event of a kind that the client was told."""
        return next(event for event in reversed(self.said) if isinstance(event, kind))

    def seconds_told(self) -> float:
        """How much audio the client was told in all."""
        samples = [
            each for each in self.said if isinstance(each, ev.ResponseOutputAudioSamples)
        ]
        return sum(len(each.samples) / each.sample_rate for each in samples)

    @property
    def request(self) -> Respond:
        """The last response that the backend was asked for."""
        return next(each for each in reversed(self.asked) if isinstance(each, Respond))

    @property
    def response_id(self) -> str:
        """The id of the response that was created last."""
        return str(self.seen(ev.ResponseCreated).response["id"])

    @property
    def item_id(self) -> str:
        """The id of the item that was added last."""
        return str(self.seen(ev.ConversationItemAdded).item["id"])

    @property
    def commands(self) -> list[Command]:
        """What the last call asked of the backend."""
        return list(self.last.commands)

    def _play(self, steps: list[Step]) -> list[str]:
        self.last = Step(
            tuple(event for step in steps for event in step.events),
            tuple(command for step in steps for command in step.commands),
            steps[-1].close if steps else None,
        )
        self._note(self.last)
        return [NAMES[type(event)] for event in self.last.events]

    def _note(self, step: Step) -> None:
        for event in step.events:
            self._check(event)
        self.said += step.events
        self.asked += step.commands

    def _check(self, event: ev.ServerEvent) -> None:
        if isinstance(event, ev.ResponseOutputAudioSamples):
            self.shown.append(self._as_delta(event))
            return
        assert event.event_id not in self._event_ids, "an event id was given twice"
        self._event_ids.add(event.event_id)
        message = self._codec.dump(event)
        if message is None:
            assert self.dialect == "beta", "GA says every event"
            return
        self.shown.append(json.loads(message))
        validate(self.shown[-1], self.dialect)

    def _as_delta(self, event: ev.ResponseOutputAudioSamples) -> ev.Json:
        """What stands for speech among the events that a client would see."""
        return {
            "type": "response.audio.delta"
            if self.dialect == "beta"
            else "response.output_audio.delta",
            "event_id": f"speech_{len(self.shown)}",
            "response_id": event.response_id,
            "item_id": event.item_id,
            "output_index": event.output_index,
            "content_index": event.content_index,
            "delta": "AAAA",
        }


def speech(
    response_id: str, seconds: float, text: str = "", words: tuple[Word, ...] = ()
) -> AudioDelta:
    """A chunk of speech."""
    samples = np.zeros(round(seconds * RATE), dtype=np.float32)
    return AudioDelta(response_id, samples, RATE, text, words)


def silence(seconds: float) -> ev.InputAudioBufferAppend:
    """Input audio."""
    return ev.InputAudioBufferAppend(bytes(2 * round(seconds * 24_000)))


def user_says(text: str, **more: Any) -> ev.ConversationItemCreate:
    """A message of the user's."""
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content, **more}
    return ev.ConversationItemCreate(item)
