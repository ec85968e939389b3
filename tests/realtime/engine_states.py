"""How many states of the engine the rule-based machine reaches.

    python -m tests.realtime.engine_states --examples 2000

Two moments are the same state if the engine would take the same branches in both: a state is
what kind of thing is going on, not how many seconds or words of it. Counts are told apart as
none, one and more.
"""

from __future__ import annotations

import argparse
from typing import Any

from attrs import frozen

from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.realtime.problems import MIN_COMMIT_MS
from trio_bridge.realtime.response import Response
from trio_bridge.realtime.values import ServerVad


@frozen
class EngineState:
    """What an engine is in the middle of."""

    settings: tuple[Any, ...]
    turn: tuple[Any, ...]
    responses: tuple[tuple[Any, ...], ...]
    conversation: tuple[Any, ...]


def state_of(engine: RealtimeEngine) -> EngineState:
    """The state that an engine is in."""
    return EngineState(
        _settings(engine), _turn(engine), _responses(engine), _conversation(engine)
    )


def _some(count: int) -> str:
    return ("none", "one")[count] if count < 2 else "more"


def _settings(engine: RealtimeEngine) -> tuple[Any, ...]:
    config = engine.config
    detection = config.turn_detection
    return (
        engine._closed,
        config.type,
        config.output_modality,
        config.input_format.encoding,
        config.output_format.encoding,
        config.transcription is not None,
        bool(config.include),
        type(detection).__name__,
        detection and (detection.create_response, detection.interrupt_response),
        isinstance(detection, ServerVad) and detection.idle_timeout_ms is not None,
    )


def _turn(engine: RealtimeEngine) -> tuple[Any, ...]:
    turns = engine._turns
    uncommitted = turns.ledger.uncommitted_ms
    waiting = {id(each): each for each in (*turns._by_name.values(), *turns._by_item.values())}
    return (
        turns.going_on,
        engine._turn_unanswered,
        engine._responses.idle.waiting,
        "none" if not uncommitted else "enough" if uncommitted >= MIN_COMMIT_MS else "little",
        _some(sum(each.item is None and each.item_id is None for each in waiting.values())),
        _some(sum(each.item is not None for each in waiting.values())),
    )


def _responses(engine: RealtimeEngine) -> tuple[tuple[Any, ...], ...]:
    responder = engine._responses
    each = (
        (response.in_conversation, response.id in responder._waiting, *_response(response))
        for response in responder._under_way.values()
    )
    return tuple(sorted(set(each), key=repr))


def _response(response: Response) -> tuple[Any, ...]:
    outputs = response._outputs
    calls = outputs._calls.values()
    return (
        response.id == response.backend_id,
        response.config.output_modality,
        response.ending is not None,
        response.pacer.drained,
        outputs._message is not None,
        _some(sum(call.open for call in calls)),
        _some(sum(not call.open for call in calls)),
    )


def _conversation(engine: RealtimeEngine) -> tuple[Any, ...]:
    items = list(engine.conversation)
    return (
        _some(len(items)),
        any(item.awaits_transcript for item in items),
        any(item.sealed for item in items),
        engine.conversation.has_assistant_audio,
        bool(engine.conversation.recordings.let_go),
    )


def main() -> None:
    """Drive the machine and print what it reached."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test
    from tests.realtime.test_engine_machine import Session

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    reached: set[EngineState] = set()

    class Counted(Session):
        def a_step_is_over(self) -> None:
            reached.add(state_of(self.stage.engine))

    run_state_machine_as_test(
        Counted,
        settings=settings(
            max_examples=arguments.examples,
            stateful_step_count=arguments.steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{len(reached)} states in {arguments.examples} sessions of {arguments.steps} steps")  # noqa: T201
    for part in ("settings", "turn", "responses", "conversation"):
        print(f"{len({getattr(state, part) for state in reached}):7} of {part}")  # noqa: T201
    without = {(state.turn, state.responses, state.conversation) for state in reached}
    print(f"{len(without):7} whatever the settings")  # noqa: T201


if __name__ == "__main__":
    main()
