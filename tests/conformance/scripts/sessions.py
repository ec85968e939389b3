"""Sessions: what they begin with, how they are changed, how they end."""

from __future__ import annotations

from typing import Any, Final

from tests.conformance.script import (
    ANYTHING,
    Appends,
    Becomes,
    Closes,
    Gets,
    Like,
    Script,
    Waits,
    event,
    gets,
    reports,
    says,
)
from tests.conformance.scripts.parts import (
    OPENED,
    R,
    asks,
    closes,
    created,
    done,
    error,
    opens,
    session,
    speech,
    spoken,
    written,
)

from trio_bridge.messages import BackendLost, Failure, ResponseFinished, TextDelta
from trio_bridge.realtime.events import Json

LOOK: Final[Json] = {"type": "function", "name": "look", "parameters": {"type": "object"}}

BEGUN: Final[Json] = {
    "object": "realtime.session",
    "id": Like("^sess_"),
    "model": "test",
    "output_modalities": ["audio"],
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "expires_at": ANYTHING,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
                "create_response": True,
                "interrupt_response": True,
            },
        },
        "output": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "voice": "alloy",
            "speed": 1.0,
        },
    },
}

CONNECT = Script("what a session begins with", [gets(event("session.created", session=BEGUN))])

CONNECT_GA = Script(
    "what a session of today begins with",
    [
        gets(
            event(
                "session.created",
                session={
                    "type": "realtime",
                    "truncation": "auto",
                    "prompt": None,
                    "include": None,
                },
            )
        )
    ],
    dialects=("ga",),
)


def shows(**fields: Any) -> tuple[Any, ...]:
    """A setting that is taken, and shown as it was given."""
    return session(**fields), gets(event("session.updated", session=fields))


UPDATES = Script(
    "one setting after the other",
    [
        OPENED,
        *shows(instructions="Be kind."),
        *shows(tools=[LOOK]),
        *shows(tool_choice="required"),
        *shows(tool_choice={"type": "function", "name": "look"}),
        *shows(max_output_tokens=200),
        *shows(max_output_tokens="inf"),
        *shows(output_modalities=["text"]),
        *shows(tracing="auto"),
        *shows(tracing={"workflow_name": "w", "group_id": "g"}),
        *shows(audio={"output": {"voice": "ash", "speed": 1.25}}),
        *shows(audio={"input": {"noise_reduction": {"type": "near_field"}}}),
        *shows(audio={"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}),
        *shows(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.75}}}),
        *shows(audio={"input": {"turn_detection": {"type": "semantic_vad"}}}),
        *shows(audio={"input": {"turn_detection": None}}),
        # What was set before holds still.
        session(),
        gets(
            event(
                "session.updated",
                session={
                    "instructions": "Be kind.",
                    "tools": [LOOK],
                    "tool_choice": {"type": "function", "name": "look"},
                    "output_modalities": ["text"],
                    "audio": {
                        "input": {
                            "noise_reduction": {"type": "near_field"},
                            "transcription": {"model": "gpt-4o-mini-transcribe"},
                            "turn_detection": None,
                        },
                        "output": {"voice": "ash", "speed": 1.25},
                    },
                },
            )
        ),
        # The empty value clears.
        *shows(instructions="", tools=[]),
        *shows(audio={"input": {"transcription": None, "noise_reduction": None}}),
    ],
)

UPDATES_GA = Script(
    "settings that only today's sessions have",
    [
        OPENED,
        *shows(truncation="disabled"),
        *shows(
            truncation={
                "type": "retention_ratio",
                "retention_ratio": 0.5,
                "token_limits": {"post_instructions": 1000},
            }
        ),
        *shows(prompt={"id": "pmpt_1", "version": "2"}),
        *shows(include=["item.input_audio_transcription.logprobs"]),
        *shows(parallel_tool_calls=False),
        *shows(reasoning={"effort": "low"}),
        *shows(
            audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}
        ),
        session(audio={"output": {"voice": {"id": "voice_1"}}}),
        gets(event("session.updated", session={"audio": {"output": {"voice": "voice_1"}}})),
    ],
    dialects=("ga",),
)

TEMPERATURE = Script(
    "a setting that only yesterday's sessions have",
    [
        OPENED,
        says("session.update", session={"temperature": 0.7}),
        gets(event("session.updated", session={"temperature": 0.7})),
    ],
    dialects=("beta",),
)

ALL_OR_NOTHING = Script(
    "an update with one thing wrong changes nothing",
    [
        OPENED,
        says(
            "session.update",
            event_id="u1",
            session={"type": "realtime", "instructions": "new", "max_output_tokens": 0},
        ),
        gets(error("integer_below_min_value", "session.max_output_tokens", event_id="u1")),
        session(),
        gets(event("session.updated", session={"max_output_tokens": "inf"})),
    ],
)

VOICE = Script(
    "the voice stays once it was heard",
    [
        OPENED,
        *shows(audio={"output": {"voice": "ash"}}),
        *asks(),
        gets(created()),
        reports(speech("Hm."), ResponseFinished(R)),
        gets(*opens(), *spoken("Hm."), *closes("Hm."), *done()),
        session(audio={"output": {"voice": "verse"}}),
        gets(
            error(
                "cannot_update_voice",
                message="Cannot update a conversation's voice if assistant audio is present.",
            )
        ),
        *shows(audio={"output": {"voice": "ash"}}),
    ],
)

EXPIRED = Script(
    "a session lasts an hour",
    [
        OPENED,
        Waits(3590.0),
        Gets(()),
        *asks(),
        gets(created()),
        reports(TextDelta(R, "So")),
        gets(*opens(), spoken("So")[0]),
        Waits(11.0),
        gets(
            *closes("So", status="incomplete"),
            *done(status="failed"),
            event(
                "error",
                error={
                    "code": "session_expired",
                    "message": "Your session hit the maximum duration of 60 minutes.",
                },
            ),
        ),
        Closes(1001, "Your session hit the maximum duration of 60 minutes."),
    ],
)

LOST = Script(
    "a backend that is gone takes its session with it",
    [
        OPENED,
        *asks(),
        gets(created()),
        reports(BackendLost(Failure("dataflow_broken", "It broke."))),
        gets(
            *done(status="failed", status_details={"error": {"code": "dataflow_broken"}}),
            event("error", error={"type": "server_error", "code": "dataflow_broken"}),
        ),
        Closes(1011, "It broke."),
    ],
)

STRICT = Script(
    "a strict session knows its fields",
    [
        OPENED,
        session(colour="blue"),
        gets(error("unknown_parameter", "session.colour")),
        says("response.create", response={"mood": 1}, event_id="r1"),
        gets(error("unknown_parameter", "response.mood", event_id="r1")),
        says("response.cancel", why="no reason"),
        gets(error("unknown_parameter", "why")),
        *shows(instructions="Be kind."),
    ],
    strict=True,
)

LENIENT = Script(
    "any other session passes over what it does not know",
    [
        OPENED,
        session(colour="blue", instructions="Be kind."),
        gets(event("session.updated", session={"instructions": "Be kind."})),
        says("input_audio_buffer.clear", why="no reason"),
        gets("input_audio_buffer.cleared"),
        Appends(20),
    ],
)

SWITCHED = Script(
    "a session of yesterday that does not say so",
    [
        OPENED,
        # Told as it is, not in the words of GA: nothing but its shape says what it is.
        Becomes("beta"),
        says("session.update", session={"modalities": ["text"], "voice": "ash"}),
        gets(
            event(
                "session.updated",
                session={"modalities": ["text"], "voice": "ash", "input_audio_format": "pcm16"},
            )
        ),
        *asks(),
        gets(created(output_modalities=["text"])),
        reports(TextDelta(R, "Good day."), ResponseFinished(R)),
        gets(
            *opens(kind="text"),
            *written("Good day."),
            *closes("Good day.", kind="text"),
            *done(),
        ),
    ],
    dialects=("ga",),
)

SCRIPTS: Final = [
    CONNECT,
    CONNECT_GA,
    UPDATES,
    UPDATES_GA,
    TEMPERATURE,
    ALL_OR_NOTHING,
    VOICE,
    EXPIRED,
    LOST,
    STRICT,
    LENIENT,
    SWITCHED,
]
