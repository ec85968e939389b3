"""The witness objects to what is wrong: each event of a good session, spoilt in one way."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conformance.players import engine_alone
from tests.conformance.script import Script
from tests.conformance.scripts.answers import CANCELLED, FUNCTION, OUT_OF_BAND, TEXT
from tests.conformance.scripts.turns import BARGE_IN, PUSH_TO_TALK
from tests.conformance.stage import Stage
from tests.conformance.witness import Witness
from tests.support.validation import validate

from trio_bridge.realtime.events import Json


async def told(script: Script) -> list[Json]:
    """What a client is told in a script."""
    async with engine_alone("ga", script.kind, strict=False) as player:
        await Stage(player, "ga").play(script)
        return player.events


def witnessed(events: list[Json]) -> None:
    witness = Witness()
    for event in events:
        witness.read(event)
    witness.leave()


@pytest.mark.parametrize("script", [TEXT, FUNCTION, OUT_OF_BAND, CANCELLED, BARGE_IN])
async def test_no_event_may_be_missing_or_come_twice(script: Script) -> None:
    """Whatever is left out is missed, but for deltas of sound, settings and the like."""
    events = await told(script)
    witnessed(events)
    for index, event in enumerate(events):
        with pytest.raises((AssertionError, KeyError, ValueError)):
            witnessed([*events[: index + 1], *events[index:]])
        missed = event["type"] not in MISSED_BY_NOBODY
        without = [*events[:index], *events[index + 1 :]]
        if missed:
            with pytest.raises((AssertionError, KeyError, ValueError)):
                witnessed(without)


MISSED_BY_NOBODY = {
    "session.updated",
    "error",
    "response.output_audio.delta",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "conversation.item.truncated",
    "conversation.item.retrieved",
}
"""Events without which the rest is still a session: the scripts say that they come."""


def packaged(events: list[Json]) -> None:
    for event in events:
        validate(event)


def spoilt(events: list[Json], event_type: str, change: Callable[[Json], Any]) -> list[Json]:
    events = deepcopy(events)
    event = next(each for each in events if each["type"] == event_type)
    change(event)
    return events


@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        ("response.output_text.delta", lambda event: event.update(delta="Bad ")),
        ("response.output_text.delta", lambda event: event.update(item_id="item_x")),
        ("response.output_text.delta", lambda event: event.update(output_index=1)),
        ("response.output_text.delta", lambda event: event.update(content_index=1)),
        ("response.output_text.delta", lambda event: event.update(response_id="resp_x")),
        ("response.output_text.done", lambda event: event.update(text="Good")),
        ("response.content_part.done", lambda event: event["part"].update(text="Good")),
        ("response.output_item.added", lambda event: event.update(output_index=1)),
        ("response.output_item.done", lambda event: event["item"].update(id="item_x")),
        ("conversation.item.done", lambda event: event.update(previous_item_id="item_x")),
        ("conversation.item.added", lambda event: event.update(previous_item_id="item_x")),
        ("response.done", lambda event: event["response"].update(output=[])),
        ("response.done", lambda event: event["response"].update(conversation_id="conv_x")),
        ("response.done", lambda event: event["response"]["usage"].update(total_tokens=1)),
        ("response.done", lambda event: event["response"].update(status="failed")),
        ("response.created", lambda event: event["response"].update(id="resp_x")),
        ("session.created", lambda event: event["session"].update(id="sess_x")),
    ],
)
async def test_what_does_not_fit(event_type: str, change: Callable[[Json], Any]) -> None:
    """One field that is wrong is seen."""
    events = await told(TEXT)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        witnessed(spoilt(events, event_type, change))


@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        (
            "conversation.item.input_audio_transcription.delta",
            lambda event: event.update(delta="Bye."),
        ),
        (
            "conversation.item.input_audio_transcription.completed",
            lambda event: event.update(item_id="item_x"),
        ),
        ("input_audio_buffer.committed", lambda event: event.update(previous_item_id="x")),
    ],
)
async def test_a_turn_that_does_not_fit(event_type: str, change: Callable[[Json], Any]) -> None:
    """The user's side is read as closely."""
    events = await told(PUSH_TO_TALK)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        witnessed(spoilt(events, event_type, change))


@pytest.mark.parametrize(
    ("event_type", "change"),
    [
        ("response.output_text.delta", lambda event: event.update(output_index="0")),
        ("response.output_text.delta", lambda event: event.update(output_index=0.0)),
        ("response.output_text.delta", lambda event: event.pop("content_index")),
        ("response.output_text.delta", lambda event: event.update(mood="calm")),
        ("response.output_item.added", lambda event: event["item"].update(status="new")),
        ("response.content_part.added", lambda event: event["part"].update(type="output_text")),
        ("session.created", lambda event: event["session"]["audio"].update(volume=1)),
        ("rate_limits.updated", lambda event: event["rate_limits"][0].update(limit="9")),
        ("session.created", lambda event: event.update(type="session.begun")),
    ],
)
async def test_what_the_package_would_not_say(
    event_type: str, change: Callable[[Json], Any]
) -> None:
    """Nothing is coerced, left out or made up."""
    events = await told(TEXT)
    with pytest.raises((ValidationError, AssertionError)):
        packaged(spoilt(events, event_type, change))
