"""What the user says: turns that end by themselves or by the client, interruptions, silence,
transcripts, formats."""

from __future__ import annotations

from typing import Final

from tests.conformance.script import (
    Appends,
    Asked,
    Gets,
    Like,
    Name,
    Script,
    Waits,
    asked,
    event,
    gets,
    reports,
    says,
)
from tests.conformance.scripts.parts import (
    ANSWER,
    BY_HAND,
    OPENED,
    QUESTION,
    TRANSCRIBED,
    UPDATED,
    R,
    asks,
    begins,
    closes,
    committed,
    created,
    done,
    error,
    hearing,
    opens,
    says_aloud,
    session,
    speech,
    spoken,
    stops,
    understood,
)

from trio_bridge.messages import (
    Cancel,
    Clear,
    Commit,
    Configure,
    Failure,
    Logprob,
    Respond,
    ResponseFinished,
    TextDelta,
    Transcript,
)
from trio_bridge.realtime.events import Json

SECOND, NEXT, LAST = Name("the second response"), Name("the next turn"), Name("the last turn")


def transcript_delta(delta: str, item: Name = QUESTION) -> Json:
    return event(
        "conversation.item.input_audio_transcription.delta",
        item_id=item,
        content_index=0,
        delta=delta,
    )


def transcript_done(text: str, item: Name = QUESTION, **more: object) -> Json:
    return event(
        "conversation.item.input_audio_transcription.completed",
        item_id=item,
        content_index=0,
        transcript=text,
        **more,
    )


SERVER_VAD = Script(
    "a turn that ends by itself, answered aloud",
    [
        OPENED,
        *TRANSCRIBED,
        asked(Configure, Configure),
        Appends(500),
        begins(at_ms=200),
        gets(event("input_audio_buffer.speech_started", item_id=QUESTION, audio_start_ms=200)),
        Appends(500),
        reports(Transcript("u1", "hello", final=False)),
        stops(at_ms=900),
        gets(
            event("input_audio_buffer.speech_stopped", item_id=QUESTION, audio_end_ms=900),
            *committed(),
            created(),
        ),
        # The answer waits until what is answered is known.
        Asked(()),
        reports(Transcript("u1", "hello there", final=False)),
        gets(transcript_delta("hello")),
        understood("hello there"),
        gets(
            transcript_delta(" there"),
            transcript_done("hello there", usage={"type": "duration", "seconds": 0.7}),
        ),
        asked(Respond),
        reports(speech("Good day.")),
        gets(*opens(), *spoken("Good day.")),
        reports(ResponseFinished(R)),
        gets(*closes("Good day."), *done()),
        says("conversation.item.retrieve", item_id=QUESTION),
        gets(
            event(
                "conversation.item.retrieved",
                item={
                    "id": QUESTION,
                    "content": [{"type": "input_audio", "transcript": "hello there"}],
                },
            )
        ),
    ],
)

SEMANTIC_VAD = Script(
    "a turn that ends when it sounds finished, not answered",
    [
        OPENED,
        hearing(
            turn_detection={
                "type": "semantic_vad",
                "eagerness": "low",
                "create_response": False,
            }
        ),
        gets(
            event(
                "session.updated",
                session={
                    "audio": {
                        "input": {
                            "turn_detection": {
                                "type": "semantic_vad",
                                "eagerness": "low",
                                "create_response": False,
                                "interrupt_response": True,
                            }
                        }
                    }
                },
            )
        ),
        Appends(1000),
        begins(),
        gets("input_audio_buffer.speech_started"),
        stops(),
        gets("input_audio_buffer.speech_stopped", *committed()),
        understood("hello"),
        says("response.create"),
        gets(created()),
        reports(ResponseFinished(R)),
        gets(*done()),
    ],
)

TWO_TURNS = Script(
    "two turns, one after the other",
    [
        OPENED,
        *says_aloud(),
        reports(speech("Yes."), ResponseFinished(R)),
        gets(*opens(), *spoken("Yes."), *closes("Yes."), *done()),
        Appends(1000),
        begins("u2", 1100),
        gets(event("input_audio_buffer.speech_started", item_id=NEXT, audio_start_ms=1100)),
        stops("u2", 1800),
        gets(
            event("input_audio_buffer.speech_stopped", item_id=NEXT, audio_end_ms=1800),
            *committed(NEXT, previous=ANSWER),
            created(SECOND),
        ),
        understood("and now", "u2"),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

PUSH_TO_TALK = Script(
    "turns that the client ends",
    [
        OPENED,
        *BY_HAND,
        *TRANSCRIBED,
        asked(Configure, Configure, Configure),
        Appends(400),
        says("input_audio_buffer.commit", event_id="c1"),
        gets(*committed()),
        asked(Commit),
        understood("Hello.", "x1", QUESTION),
        gets(
            transcript_delta("Hello."),
            transcript_done("Hello.", usage={"type": "duration", "seconds": 0.4}),
        ),
        says("response.create"),
        gets(created()),
        reports(ResponseFinished(R)),
        gets(*done()),
        Appends(300),
        says("input_audio_buffer.clear"),
        gets("input_audio_buffer.cleared"),
        asked(Respond, Clear),
        says("input_audio_buffer.commit"),
        gets(error("input_audio_buffer_commit_empty")),
        Appends(200),
        says("input_audio_buffer.commit"),
        gets(*committed(NEXT, previous=QUESTION)),
        reports(
            Transcript("x2", "", final=True, item_id=NEXT, failure=Failure("asr", "Too soft."))
        ),
        gets(
            event(
                "conversation.item.input_audio_transcription.failed",
                item_id=NEXT,
                content_index=0,
                error={"code": "asr", "message": "Too soft."},
            )
        ),
    ],
)

COMMITTED_EARLY = Script(
    "a commit in the middle of speech is its end",
    [
        OPENED,
        Appends(600),
        begins(),
        gets(event("input_audio_buffer.speech_started", item_id=QUESTION)),
        says("input_audio_buffer.commit"),
        gets(*committed()),
        stops(at_ms=550),
        understood("hel", item=QUESTION),
    ],
)

CLEARED = Script(
    "speech that is taken back",
    [
        OPENED,
        Appends(600),
        begins(),
        gets(event("input_audio_buffer.speech_started", item_id=QUESTION)),
        says("input_audio_buffer.clear"),
        gets("input_audio_buffer.cleared"),
        stops(at_ms=550),
        understood("hello"),
        Appends(600),
        begins("u2", 700),
        gets(event("input_audio_buffer.speech_started", item_id=NEXT, audio_start_ms=700)),
    ],
)

BARGE_IN = Script(
    "an answer that the user interrupts",
    [
        OPENED,
        *says_aloud(),
        reports(speech("One two three four.", 1.5)),
        gets(*opens(), *spoken("One two three four.")),
        Appends(500),
        asked(Configure, Respond),
        begins("u2", 1200),
        gets(
            event("input_audio_buffer.speech_started", item_id=NEXT, audio_start_ms=1200),
            *closes("One two three four.", status="incomplete"),
            *done(
                status="cancelled",
                status_details={"type": "cancelled", "reason": "turn_detected"},
                output=[{"id": ANSWER, "status": "incomplete"}],
            ),
        ),
        asked(Cancel),
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=700),
        gets(
            event(
                "conversation.item.truncated",
                item_id=ANSWER,
                content_index=0,
                audio_end_ms=700,
            )
        ),
        reports(speech("Five.", 0.2), ResponseFinished(R)),
        Appends(500),
        stops("u2", 1900),
        gets(
            event("input_audio_buffer.speech_stopped", item_id=NEXT, audio_end_ms=1900),
            *committed(NEXT, previous=ANSWER),
            created(SECOND),
        ),
        understood("stop", "u2"),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

UNINTERRUPTED = Script(
    "an answer that goes on while the user speaks",
    [
        OPENED,
        hearing(turn_detection={"type": "server_vad", "interrupt_response": False}),
        UPDATED,
        *says_aloud(),
        reports(speech("One.")),
        gets(*opens(), *spoken("One.")),
        Appends(1000),
        begins("u2", 1200),
        gets(event("input_audio_buffer.speech_started", item_id=NEXT)),
        reports(speech(" Two.")),
        gets(*spoken(" Two.")),
        stops("u2", 1700),
        gets("input_audio_buffer.speech_stopped", *committed(NEXT, previous=ANSWER)),
        understood("go on", "u2"),
        reports(ResponseFinished(R)),
        gets(*closes("One. Two."), *done(), created(SECOND)),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

PACED = Script(
    "speech leaves only a little ahead of its playback",
    [
        OPENED,
        *asks(),
        gets(created()),
        reports(speech("Long.", 5.0), ResponseFinished(R)),
        gets(*opens(), *spoken("Long.")),
        Waits(1.0),
        gets(spoken("")[1]),
        says("response.cancel"),
        gets(*closes("Long.", status="incomplete"), *done(status="cancelled")),
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=9000),
        gets(error("invalid_value", message=Like("is already shorter than 9000ms"))),
    ],
)

IDLE = Script(
    "a silence that is answered",
    [
        OPENED,
        hearing(turn_detection={"type": "server_vad", "idle_timeout_ms": 5000}),
        UPDATED,
        *says_aloud(),
        reports(speech("Are you there?", 1.0), ResponseFinished(R)),
        gets(*opens(), *spoken("Are you there?"), *closes("Are you there?"), *done()),
        Appends(4000),
        Waits(5.9),
        Gets(()),
        Appends(1500),
        Waits(0.2),
        gets(
            event("input_audio_buffer.timeout_triggered", item_id=NEXT),
            *committed(NEXT, previous=ANSWER),
            created(SECOND),
        ),
        reports(TextDelta(SECOND, "Hello?"), ResponseFinished(SECOND)),
        gets(
            *opens(LAST, SECOND),
            spoken("Hello?", LAST, SECOND)[0],
            *closes("Hello?", LAST, SECOND),
            *done(SECOND),
        ),
    ],
)

G711: Final = [
    Script(
        f"{name} in both directions",
        [
            OPENED,
            session(
                audio={
                    "input": {"format": {"type": f"audio/{name}"}, "turn_detection": None},
                    "output": {"format": {"type": f"audio/{name}"}},
                }
            ),
            gets(
                event(
                    "session.updated",
                    session={
                        "audio": {
                            "input": {"format": {"type": f"audio/{name}"}},
                            "output": {"format": {"type": f"audio/{name}"}},
                        }
                    },
                )
            ),
            Appends(90, name),
            says("input_audio_buffer.commit"),
            gets(
                error(
                    "input_audio_buffer_commit_empty", message=Like("only has 90.00ms of audio")
                )
            ),
            Appends(10, name),
            says("input_audio_buffer.commit"),
            gets(*committed()),
            understood("hm", "x1", QUESTION),
            says("response.create"),
            gets(created(audio={"output": {"format": {"type": f"audio/{name}"}}})),
            reports(speech("Hm.", 0.5)),
            gets(*opens(), *spoken("Hm.")),
            reports(ResponseFinished(R)),
            # The resampler's look-ahead leaves with the end.
            gets(spoken("")[1], *closes("Hm."), *done()),
        ],
    )
    for name in ("pcmu", "pcma")
]

EACH_ITS_FORMAT = Script(
    "one format in, another out",
    [
        OPENED,
        session(audio={"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}}),
        gets(
            event(
                "session.updated",
                session={
                    "audio": {
                        "input": {"format": {"type": "audio/pcmu"}},
                        "output": {"format": {"type": "audio/pcm", "rate": 24000}},
                    }
                },
            )
        ),
        Appends(200, "pcmu"),
        says("input_audio_buffer.commit"),
        gets(*committed()),
        understood("hm", "x1", QUESTION),
        says(
            "response.create",
            response={"audio": {"output": {"format": {"type": "audio/pcma"}}}},
        ),
        gets(created(audio={"output": {"format": {"type": "audio/pcma"}}})),
        reports(ResponseFinished(R)),
        gets(*done()),
        says("response.create"),
        gets(created(SECOND, audio={"output": {"format": {"type": "audio/pcm"}}})),
        reports(speech("Hm.", response=SECOND), ResponseFinished(SECOND)),
        gets(
            *opens(response=SECOND),
            *spoken("Hm.", response=SECOND),
            *closes("Hm.", response=SECOND),
            *done(SECOND),
        ),
    ],
)

TRANSCRIPTION = Script(
    "a session that only transcribes",
    [
        gets(
            event(
                "session.created",
                session={
                    "type": "transcription",
                    "object": "realtime.transcription_session",
                    "audio": {"input": {"format": {"type": "audio/pcm"}}},
                },
            )
        ),
        says(
            "session.update",
            session={
                "type": "transcription",
                "include": ["item.input_audio_transcription.logprobs"],
                "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}},
            },
        ),
        gets(
            event(
                "session.updated",
                session={
                    "type": "transcription",
                    "include": ["item.input_audio_transcription.logprobs"],
                    "audio": {
                        "input": {"transcription": {"model": "whisper-1", "language": "en"}}
                    },
                },
            )
        ),
        Appends(1000),
        begins(),
        gets("input_audio_buffer.speech_started"),
        stops(),
        gets("input_audio_buffer.speech_stopped", *committed()),
        reports(
            Transcript("u1", "so it", final=False),
            Transcript("u1", "so it is", final=False),
            Transcript(
                "u1",
                "so it is",
                final=True,
                logprobs=(Logprob("so", -0.5), Logprob(" it", -0.25), Logprob(" is", -1.0)),
            ),
        ),
        gets(
            transcript_delta("so it"),
            transcript_done(
                "so it is",
                logprobs=[
                    {"token": "so", "logprob": -0.5},
                    {"token": " it", "logprob": -0.25},
                    {"token": " is", "logprob": -1.0},
                ],
            ),
        ),
        says("response.create", event_id="r"),
        gets(error("invalid_value", "type", event_id="r")),
        asked(Configure, Configure),
    ],
    kind="transcription",
)

BECOMES_TRANSCRIPTION = Script(
    "a session that becomes one that only transcribes",
    [
        OPENED,
        *asks(),
        gets(created()),
        says("session.update", session={"type": "transcription"}),
        gets(
            *done(status="cancelled"),
            event("session.updated", session={"type": "transcription"}),
        ),
        says("response.create"),
        gets(error("invalid_value", "type")),
        says("session.update", session={"type": "realtime"}),
        gets(error("invalid_value", "session.type")),
    ],
    dialects=("ga",),
)

SCRIPTS: Final = [
    SERVER_VAD,
    SEMANTIC_VAD,
    TWO_TURNS,
    PUSH_TO_TALK,
    COMMITTED_EARLY,
    CLEARED,
    BARGE_IN,
    UNINTERRUPTED,
    PACED,
    IDLE,
    *G711,
    EACH_ITS_FORMAT,
    TRANSCRIPTION,
    BECOMES_TRANSCRIPTION,
]
