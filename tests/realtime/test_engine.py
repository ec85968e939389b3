"""The protocol's sequences, event by event."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from tests.support.stage import LISTEN_BY_HAND, TRANSCRIBE, Stage, silence, speech, user_says

from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Cancel,
    Capabilities,
    Clear,
    Commit,
    Configure,
    Credit,
    Failure,
    MicrophoneAudio,
    Respond,
    ResponseFinished,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Transcript,
    Usage,
    Word,
)
from trio_bridge.realtime import Step
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.pacing import UNPACED_AHEAD
from trio_bridge.realtime.problems import invalid_json
from trio_bridge.realtime.recordings import UNSPOKEN_KEPT_MS
from trio_bridge.realtime.responder import RESPONSES_LIMIT, TRANSCRIPT_PATIENCE

COMMITTED = [
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
ITEM_OPENS = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
ITEM_CLOSES = [
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
SPEECH_CLOSES = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    *ITEM_CLOSES,
]
ENDS = ["response.done", "rate_limits.updated"]
SPOKEN = ["response.output_audio_transcript.delta", "audio"]


def text_session(**more: Any) -> Stage:
    stage = Stage(**more)
    stage.client(ev.SessionUpdate({"type": "realtime", "output_modalities": ["text"]}))
    return stage


def voice_turn(stage: Stage, name: str = "u1", text: str | None = "hello") -> list[str]:
    """Somebody speaks for 900 ms; what was heard follows, if `text` says so."""
    told = stage.client(silence(1))
    told += stage.backend(SpeechStarted(name, 0), SpeechStopped(name, 900))
    if text is not None:
        told += stage.backend(Transcript(name, text, final=True))
    return told


def problem(stage: Stage) -> tuple[str | None, str | None]:
    """The last error's code and the client's event it answers."""
    error = stage.seen(ev.Error)
    return error.code, error.client_event_id


# --- session -------------------------------------------------------------------------------


def test_a_session_shows_its_settings_and_configures_its_backend() -> None:
    """The first thing said is `session.created`, the first thing asked how to listen."""
    stage = Stage()
    assert (
        stage.seen(ev.SessionCreated).session["audio"]["input"]["turn_detection"]["type"]
        == "server_vad"
    )
    (configure,) = stage.asked
    assert isinstance(configure, Configure)
    assert configure.turn_detection is not None
    assert configure.transcription is None


def test_an_update_shows_everything_and_configures_only_what_changed() -> None:
    """The backend hears of an update when it changes how to listen."""
    stage = Stage()
    assert stage.client(ev.SessionUpdate({"type": "realtime", "instructions": "be kind"})) == [
        "session.updated"
    ]
    assert stage.commands == []
    assert stage.client(ev.SessionUpdate(LISTEN_BY_HAND)) == ["session.updated"]
    assert stage.commands == [Configure(None, None)]
    assert stage.seen(ev.SessionUpdated).session["instructions"] == "be kind"


def test_the_voice_cannot_change_after_it_was_heard() -> None:
    """A voice update after assistant audio is an error, and changes nothing."""
    stage = Stage()
    stage.client(user_says("hi"), ev.ResponseCreate())
    stage.backend(speech(stage.response_id, 0.5, "Hi."), ResponseFinished(stage.response_id))
    voice = {"type": "realtime", "audio": {"output": {"voice": "other"}}}
    assert stage.client(ev.SessionUpdate(voice, event_id="e9")) == ["error"]
    assert problem(stage) == ("cannot_update_voice", "e9")
    assert stage.engine.config.voice == "alloy"


def test_what_is_no_event_is_answered_with_an_error() -> None:
    """A frame that could not be read leaves the session as it was."""
    stage = Stage()
    step = stage.engine.reject(invalid_json(), stage.now)
    assert [type(event) for event in step.events] == [ev.Error]
    assert step.close is None


def test_a_lost_backend_fails_the_response_and_ends_the_session() -> None:
    """The client learns why, and then nothing moves any more."""
    stage = text_session()
    stage.client(user_says("hi"), ev.ResponseCreate())
    assert stage.backend(BackendLost(Failure("gone", "x" * 200))) == [*ENDS, "error"]
    assert stage.seen(ev.ResponseDone).response["status"] == "failed"
    assert stage.seen(ev.Error).kind == "server_error"
    assert stage.last.close == Failure("gone", "x" * 200)
    assert stage.client(user_says("hi")) == []
    assert stage.backend(TextDelta("r", "late")) == []
    assert stage.engine.tick(stage.now) == Step()
    assert stage.engine.reject(invalid_json(), stage.now) == Step()
    assert stage.engine.deadline == math.inf


# --- answers -------------------------------------------------------------------------------


def test_a_text_turn() -> None:
    """The whole ladder of a text answer."""
    stage = text_session()
    assert stage.client(user_says("hi")) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    question = stage.item_id
    assert stage.client(ev.ResponseCreate()) == ["response.created"]
    response = stage.seen(ev.ResponseCreated).response
    assert (response["status"], response["output"], response["usage"]) == (
        "in_progress",
        [],
        None,
    )
    assert isinstance(stage.commands[0], Respond)
    assert stage.request.request.items[0]["content"] == [{"type": "input_text", "text": "hi"}]
    told = stage.backend(
        TextDelta(stage.response_id, "Hel"),
        TextDelta(stage.response_id, "lo."),
        ResponseFinished(stage.response_id, usage=Usage(3, 2, 1)),
    )
    delta = "response.output_text.delta"
    assert told == [
        *ITEM_OPENS,
        delta,
        delta,
        "response.output_text.done",
        *ITEM_CLOSES,
        *ENDS,
    ]
    assert stage.seen(ev.ResponseOutputItemAdded).item["content"] == []
    assert stage.seen(ev.ConversationItemAdded).previous_item_id == question
    assert stage.seen(ev.ResponseContentPartAdded).part == {"type": "text", "text": ""}
    done = stage.seen(ev.ResponseDone).response
    assert done["status"] == "completed"
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "Hello."}]
    assert done["usage"]["total_tokens"] == 5
    assert done["usage"]["input_token_details"]["cached_tokens"] == 1


def test_a_spoken_answer() -> None:
    """The whole ladder of an audio answer: each chunk's words before its sound."""
    stage = Stage()
    stage.client(user_says("hi"), ev.ResponseCreate())
    assert stage.commands[-1] == Credit(stage.response_id, UNPACED_AHEAD)
    told = stage.backend(
        speech(stage.response_id, 0.3, "Hello "),
        speech(stage.response_id, 0.3),
        speech(stage.response_id, 0.3, "there."),
        ResponseFinished(stage.response_id),
    )
    assert told == [*ITEM_OPENS, *SPOKEN, "audio", *SPOKEN, *SPEECH_CLOSES, *ENDS]
    assert stage.seen(ev.ResponseContentPartDone).part == {
        "type": "audio",
        "transcript": "Hello there.",
    }
    (item,) = stage.seen(ev.ResponseDone).response["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello there."}]


def test_an_empty_answer_is_well_formed() -> None:
    """Nothing produced: a completed response without output."""
    stage = Stage()
    stage.client(ev.ResponseCreate())
    assert stage.backend(ResponseFinished(stage.response_id)) == ENDS
    assert stage.seen(ev.ResponseDone).response["output"] == []


def test_text_of_an_audio_answer_is_transcript() -> None:
    """A backend that does not speak still answers a session that wants speech."""
    stage = Stage()
    stage.client(ev.ResponseCreate())
    told = stage.backend(
        TextDelta(stage.response_id, "Hi"), ResponseFinished(stage.response_id)
    )
    assert told == [*ITEM_OPENS, SPOKEN[0], *SPEECH_CLOSES, *ENDS]


def test_speech_of_a_text_answer_is_text() -> None:
    """A session that wants text gets the words of a backend that speaks unasked."""
    stage = text_session()
    stage.backend(ResponseOpened("own"))
    told = stage.backend(speech("own", 1, "Hi"), speech("own", 1), ResponseFinished("own"))
    assert told == [
        *ITEM_OPENS,
        "response.output_text.delta",
        "response.output_text.done",
        *ITEM_CLOSES,
        *ENDS,
    ]


@pytest.mark.parametrize(
    ("finished", "status", "details"),
    [
        (
            {"status": "incomplete", "reason": "max_output_tokens"},
            "incomplete",
            "max_output_tokens",
        ),
        ({"status": "incomplete", "reason": "bored"}, "incomplete", None),
        ({"status": "cancelled"}, "cancelled", None),
        ({"status": "failed", "failure": Failure("llm_down", "no")}, "failed", None),
        ({"status": "failed"}, "failed", None),
    ],
)
def test_an_answer_that_did_not_complete(
    finished: dict[str, Any], status: str, details: str | None
) -> None:
    """The response says how it ended, its open item is incomplete."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    stage.backend(
        TextDelta(stage.response_id, "Hal"), ResponseFinished(stage.response_id, **finished)
    )
    done = stage.seen(ev.ResponseDone).response
    assert done["status"] == done["status_details"]["type"] == status
    assert done["status_details"].get("reason") == details
    assert ("error" in done["status_details"]) == (status == "failed")
    assert done["output"][0]["status"] == "incomplete"


def test_function_calls_beside_a_message() -> None:
    """Each call is an item of its own, told as soon as it is there."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    response = stage.response_id
    stage.backend(TextDelta(response, "One moment."))
    message = stage.item_id
    told = stage.backend(
        ToolCallDelta(response, "c1", "look", '{"a"'),
        ToolCallDelta(response, "c1", "look", ":1}"),
        ToolCallDone(response, "c1", "look", '{"a":1}'),
        ToolCallDone(response, "c2", "time", "{}"),
        ResponseFinished(response),
    )
    opens = ["response.output_item.added", "conversation.item.added"]
    delta = "response.function_call_arguments.delta"
    closes = [
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert told == [
        *opens,
        delta,
        delta,
        *closes,
        *opens,
        delta,
        *closes,
        "response.output_text.done",
        *ITEM_CLOSES,
        *ENDS,
    ]
    output = stage.seen(ev.ResponseDone).response["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [item["status"] for item in output] == ["completed"] * 3
    assert output[1]["arguments"] == '{"a":1}'
    added = [each for each in stage.said if isinstance(each, ev.ResponseOutputItemAdded)]
    assert [each.output_index for each in added] == [0, 1, 2]
    assert added[1].item["arguments"] == ""
    chain = [each for each in stage.said if isinstance(each, ev.ConversationItemAdded)]
    assert chain[1].previous_item_id == message


def test_a_call_that_was_cut_off_is_not_reported_as_done() -> None:
    """Clients carry out a call on `arguments.done`; half a call must never get there, nor
    into what the model is shown later."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    stage.backend(ToolCallDelta(stage.response_id, "c1", "look", '{"a'))
    assert stage.client(ev.ResponseCancel()) == [
        "conversation.item.done",
        "response.output_item.done",
        *ENDS,
    ]
    assert stage.seen(ev.ResponseOutputItemDone).item["status"] == "incomplete"
    stage.client(ev.ResponseCreate())
    assert stage.request.request.items == ()


def test_a_runaway_answer_fails() -> None:
    """A backend that does not stop is stopped."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    response = stage.response_id
    stage.backend(TextDelta(response, "x" * 1_000_000), TextDelta(response, "x"))
    assert stage.commands == [Cancel(response)]
    details = stage.seen(ev.ResponseDone).response["status_details"]
    assert details["error"]["code"] == "response_too_large"


# --- asking for answers --------------------------------------------------------------------


def test_one_answer_at_a_time() -> None:
    """A second response of the conversation is an error; one beside it is not."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    first = stage.response_id
    assert stage.client(ev.ResponseCreate(event_id="e2")) == ["error"]
    assert problem(stage) == ("conversation_already_has_active_response", "e2")
    assert first in stage.seen(ev.Error).message
    beside = {"conversation": "none", "metadata": {"topic": "x"}}
    assert stage.client(ev.ResponseCreate(beside)) == ["response.created"]
    response = stage.seen(ev.ResponseCreated).response
    assert response["conversation_id"] is None
    assert response["metadata"] == {"topic": "x"}
    told = stage.backend(TextDelta(response["id"], "a"), ResponseFinished(response["id"]))
    assert not [name for name in told if name.startswith("conversation.")]
    assert stage.engine.deadline == math.inf
    assert len(stage.engine.conversation) == 0


def test_so_many_answers_beside_each_other_and_no_more() -> None:
    """Their number is bounded."""
    stage = text_session()
    for _ in range(RESPONSES_LIMIT):
        assert stage.client(ev.ResponseCreate({"conversation": "none"})) == ["response.created"]
    assert stage.client(ev.ResponseCreate({"conversation": "none"})) == ["error"]
    assert problem(stage) == ("too_many_responses", None)


def test_an_answer_to_items_of_its_own() -> None:
    """`input` replaces the conversation, and may refer to its items."""
    stage = text_session()
    stage.client(user_says("one", id="one"), user_says("two", id="two"))
    given = [{"type": "item_reference", "id": "one"}, user_says("three").item]
    assert stage.client(ev.ResponseCreate({"input": given})) == ["response.created"]
    texts = [item["content"][0]["text"] for item in stage.request.request.items]
    assert texts == ["one", "three"]
    assert len(stage.engine.conversation) == 2


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"type": "item_reference", "id": "nope"}, "response.input[0].id"),
        ({"type": "message", "role": "user", "content": 1}, "response.input[0].content"),
    ],
)
def test_an_answer_to_what_is_not_there(given: ev.Json, param: str) -> None:
    """A wrong `input` makes no response."""
    stage = text_session()
    assert stage.client(ev.ResponseCreate({"input": [given]})) == ["error"]
    assert stage.seen(ev.Error).param == param


def test_a_backend_that_takes_no_requests() -> None:
    """A response that cannot be made still has its ladder, failed; a turn asks for none."""
    stage = Stage(Capabilities(responses=False))
    assert stage.client(ev.ResponseCreate()) == ["response.created", *ENDS]
    assert stage.seen(ev.ResponseDone).response["status_details"]["error"]["code"]
    assert stage.commands == []
    assert voice_turn(stage)[-3:] == COMMITTED


def test_an_unasked_answer_has_an_id_of_ours() -> None:
    """The backend's name for its answer stays between the two of us."""
    stage = Stage(lead=2.0)
    assert stage.backend(ResponseOpened("own")) == ["response.created"]
    assert stage.commands == [Credit("own", 2.5)]
    assert stage.response_id.startswith("resp_")
    stage.backend(speech("own", 0.2, "Hi"))
    assert stage.seen(ev.ResponseOutputAudioSamples).response_id == stage.response_id
    stage.client(ev.ResponseCancel(stage.response_id))
    assert stage.commands == [Cancel("own")]


def test_an_unasked_answer_is_refused_while_another_is_active() -> None:
    """One at a time holds for the backend too; what it says of the refused one is dropped."""
    stage = Stage()
    stage.client(ev.ResponseCreate())
    assert stage.backend(ResponseOpened("own")) == []
    assert stage.commands == [Cancel("own")]
    assert stage.backend(TextDelta("own", "x"), ResponseFinished("own")) == []
    assert stage.engine.dropped == 2


def test_late_and_double_reports_are_dropped() -> None:
    """Nothing is said about a response that is over, or of one that was never opened."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    response = stage.response_id
    stage.backend(ResponseFinished(response))
    late: list[BackendEvent] = [
        TextDelta(response, "x"),
        ToolCallDone(response, "c", "n", "{}"),
        ResponseFinished(response),
        ResponseOpened(response),
        speech("nobody", 1),
        SpeechStopped("nobody", 5),
        Transcript("nobody", "x", final=True, item_id="none"),
    ]
    assert stage.backend(*late) == []
    assert stage.engine.dropped == len(late)


def test_nothing_is_added_to_an_answer_that_was_ended() -> None:
    """While its speech is still leaving, it is active; but the backend has had its say."""
    stage = Stage(lead=2.0)
    stage.client(ev.ResponseCreate())
    response = stage.response_id
    stage.backend(speech(response, 3, "All."), ResponseFinished(response))
    assert stage.backend(TextDelta(response, "More."), speech(response, 1, "More.")) == []
    assert stage.engine.dropped == 2
    stage.at(stage.now + 10)
    (item,) = stage.seen(ev.ResponseDone).response["output"]
    assert item["content"][0]["transcript"] == "All."
    assert stage.seconds_told() == pytest.approx(3)


# --- cancelling ----------------------------------------------------------------------------


def test_a_cancelled_answer_closes_with_what_was_said() -> None:
    """`response.cancel`: the ladder closes in order, the backend is told to stop."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    response = stage.response_id
    stage.backend(TextDelta(response, "Hal"))
    assert stage.client(ev.ResponseCancel()) == [
        "response.output_text.done",
        *ITEM_CLOSES,
        *ENDS,
    ]
    assert stage.commands == [Cancel(response)]
    done = stage.seen(ev.ResponseDone).response
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("response_id", [None, "resp_nope"])
def test_there_may_be_nothing_to_cancel(response_id: str | None) -> None:
    """With nothing active, or another response than that, it is an error."""
    stage = text_session()
    if response_id:
        stage.client(ev.ResponseCreate())
    assert stage.client(ev.ResponseCancel(response_id, event_id="e")) == ["error"]
    assert problem(stage) == ("response_cancel_not_active", "e")


# --- turns ---------------------------------------------------------------------------------


def test_a_voice_turn() -> None:
    """Server VAD: the turn's events, then its answer, asked for once the words are known."""
    stage = Stage()
    assert stage.client(silence(1)) == []
    assert isinstance(stage.commands[0], MicrophoneAudio)
    assert stage.backend(SpeechStarted("u", 120)) == ["input_audio_buffer.speech_started"]
    started = stage.seen(ev.InputAudioBufferSpeechStarted)
    assert started.audio_start_ms == 120
    told = stage.backend(SpeechStopped("u", 900))
    assert told == ["input_audio_buffer.speech_stopped", *COMMITTED, "response.created"]
    assert stage.commands == []
    assert stage.seen(ev.InputAudioBufferCommitted).item_id == started.item_id
    assert stage.seen(ev.ConversationItemDone).item["content"] == [
        {"type": "input_audio", "transcript": None}
    ]
    assert stage.backend(Transcript("u", "good morning", final=True)) == []
    assert stage.request.request.items[0]["content"] == [
        {"type": "input_audio", "transcript": "good morning"}
    ]


def test_a_transcript_is_told_to_who_asked_for_it() -> None:
    """Deltas joined are the transcript; `completed` says how long the speech was."""
    stage = Stage()
    stage.client(ev.SessionUpdate(TRANSCRIBE), silence(2))
    stage.backend(SpeechStarted("u", 500), Transcript("u", "go for", final=False))
    stage.backend(Transcript("u", "go forward", final=False))
    assert stage.backend(SpeechStopped("u", 1500))[4] == (
        "conversation.item.input_audio_transcription.delta"
    )
    stage.backend(Transcript("u", "go forward ten", final=False))
    told = stage.backend(Transcript("u", "go forward ten meters", final=True))
    assert told == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    deltas = [
        each.delta
        for each in stage.said
        if isinstance(each, ev.ConversationItemInputAudioTranscriptionDelta)
    ]
    assert deltas == ["go", " forward", " ten meters"]
    completed = stage.seen(ev.ConversationItemInputAudioTranscriptionCompleted)
    assert completed.transcript == "go forward ten meters"
    assert completed.usage == {"type": "duration", "seconds": 1.0}


def test_a_transcript_may_come_before_its_speech() -> None:
    """Speech and transcripts travel on different ports; either may be first."""
    stage = Stage()
    stage.client(ev.SessionUpdate(TRANSCRIBE), silence(1))
    assert stage.backend(Transcript("u", "early", final=True)) == []
    told = stage.backend(SpeechStarted("u", 0), SpeechStopped("u", 900))
    assert told == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        *COMMITTED,
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
    ]
    assert stage.request.request.items[0]["content"][0]["transcript"] == "early"


def test_a_failed_transcript_is_told_and_not_waited_for() -> None:
    """The answer is asked for without it."""
    stage = Stage()
    stage.client(ev.SessionUpdate(TRANSCRIBE))
    voice_turn(stage, text=None)
    failed = Transcript("u1", "", final=True, failure=Failure("asr_failed", "no"))
    assert stage.backend(failed) == ["conversation.item.input_audio_transcription.failed"]
    assert isinstance(stage.commands[0], Respond)


def test_an_answer_waits_for_words_so_long_and_no_longer() -> None:
    """A recogniser that never answers does not keep the session from going on."""
    stage = Stage()
    voice_turn(stage, text=None)
    begun = stage.now
    assert stage.engine.deadline == begun + TRANSCRIPT_PATIENCE
    stage.at(begun + TRANSCRIPT_PATIENCE - 0.1)
    assert stage.commands == []
    stage.at(begun + TRANSCRIPT_PATIENCE)
    assert isinstance(stage.commands[0], Respond)


def test_a_backend_without_transcripts_is_not_waited_for() -> None:
    """It hears by itself."""
    stage = Stage(Capabilities(transcripts=False))
    voice_turn(stage, text=None)
    assert isinstance(stage.commands[0], Respond)


def test_deleted_speech_is_not_waited_for() -> None:
    """What is not in the conversation any more is not answered."""
    stage = Stage()
    voice_turn(stage, text=None)
    assert stage.client(ev.ConversationItemDelete(stage.item_id)) == [
        "conversation.item.deleted"
    ]
    assert stage.request.request.items == ()
    assert stage.backend(Transcript("u1", "x", final=True)) == []


def test_push_to_talk() -> None:
    """The client commits, and asks for its answer itself."""
    stage = Stage()
    stage.client(ev.SessionUpdate(LISTEN_BY_HAND), silence(0.5))
    assert stage.client(ev.InputAudioBufferCommit()) == COMMITTED
    assert stage.commands == [Commit(stage.item_id)]
    assert stage.client(ev.ResponseCreate()) == ["response.created"]
    stage.backend(Transcript("u7", "hi", final=False, item_id=stage.item_id))
    assert stage.commands == []
    stage.backend(Transcript("u7", "hi you", final=True, item_id=stage.item_id))
    assert stage.request.request.items[0]["content"][0]["transcript"] == "hi you"


def test_a_commit_ends_the_speech_that_is_going_on() -> None:
    """It gets the id that was announced; the late end of speech is dropped."""
    stage = Stage()
    stage.client(silence(1))
    stage.backend(SpeechStarted("u", 0))
    announced = stage.seen(ev.InputAudioBufferSpeechStarted).item_id
    assert stage.client(ev.InputAudioBufferCommit()) == COMMITTED
    assert stage.commands == [Commit(announced)]
    assert stage.backend(SpeechStopped("u", 990)) == []
    assert stage.engine.dropped == 1


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (b"", "input_audio_buffer_commit_empty"),
        (bytes(4_798), "input_audio_buffer_commit_empty"),
        (bytes(9_601), "invalid_value"),
    ],
)
def test_what_cannot_be_committed(audio: bytes, code: str) -> None:
    """Nothing, under 100 ms, half a sample."""
    stage = Stage()
    stage.client(ev.InputAudioBufferAppend(audio))
    assert stage.client(ev.InputAudioBufferCommit("e")) == ["error"]
    assert problem(stage) == (code, "e")
    assert stage.commands == []


def test_clearing_takes_back_the_speech_that_is_going_on() -> None:
    """Its end, and its words, come too late; the client may use its id again."""
    stage = Stage()
    stage.client(silence(1))
    stage.backend(SpeechStarted("u", 0))
    assert stage.client(ev.InputAudioBufferClear()) == ["input_audio_buffer.cleared"]
    assert stage.commands == [Clear()]
    assert stage.backend(SpeechStopped("u", 900), Transcript("u", "x", final=True)) == []
    assert stage.client(ev.InputAudioBufferCommit()) == ["error"]


def test_an_announced_item_id_is_taken() -> None:
    """No item of the client's gets the id of speech that is going on."""
    stage = Stage()
    stage.backend(SpeechStarted("u", 0))
    announced = stage.seen(ev.InputAudioBufferSpeechStarted).item_id
    assert stage.client(user_says("me", id=announced)) == ["error"]
    assert problem(stage)[0] == "item_create_duplicate_item_id"


# --- barge-in ------------------------------------------------------------------------------


def speaking(*, interrupt: bool = True) -> Stage:
    """A session whose answer, 10 s long, has been playing for a second."""
    stage = Stage(lead=2.0)
    if not interrupt:
        detection = {"type": "server_vad", "interrupt_response": False}
        stage.client(
            ev.SessionUpdate(
                {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
            )
        )
    stage.client(user_says("tell me"), ev.ResponseCreate())
    words = tuple(Word(f"w{n}", n * 1000, n * 1000 + 900) for n in range(10))
    text = " ".join(word.text for word in words)
    stage.backend(speech(stage.response_id, 10, text, words))
    stage.at(stage.now + 1)
    return stage


def test_barge_in() -> None:
    """Speech stops the answer in the same step: first what happened, then the ladder."""
    stage = speaking()
    response = stage.response_id
    assert stage.seconds_told() == pytest.approx(3, abs=0.11)
    told = stage.backend(SpeechStarted("u", 0))
    assert told == ["input_audio_buffer.speech_started", *SPEECH_CLOSES, *ENDS]
    assert stage.commands == [Cancel(response)]
    done = stage.seen(ev.ResponseDone).response
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    assert stage.engine.deadline == math.inf
    assert stage.backend(speech(response, 1, "more"), ResponseFinished(response)) == []


def test_what_was_not_sent_was_not_said() -> None:
    """The model is shown the words that left, then, after a truncate, those that were heard."""
    stage = speaking()
    stage.backend(SpeechStarted("u", 0))
    answer = stage.seen(ev.ResponseDone).response["output"][0]["id"]
    stage.client(ev.ConversationItemRetrieve(answer))
    kept = stage.seen(ev.ConversationItemRetrieved).item["content"][0]["transcript"]
    assert kept == "w0 w1 w2"
    assert stage.client(ev.ConversationItemTruncate(answer, 0, 1950)) == [
        "conversation.item.truncated"
    ]
    stage.backend(SpeechStopped("u", 900), Transcript("u", "stop", final=True))
    answered = stage.request.request.items[1]
    assert answered["content"] == [{"type": "output_audio", "transcript": "w0 w1"}]


def test_an_answer_nobody_heard_is_not_shown_to_the_model() -> None:
    """Truncated to nothing, it was never said."""
    stage = speaking()
    stage.backend(SpeechStarted("u", 0))
    answer = stage.seen(ev.ResponseDone).response["output"][0]["id"]
    stage.client(ev.ConversationItemTruncate(answer, 0, 0))
    stage.backend(SpeechStopped("u", 900), Transcript("u", "stop", final=True))
    roles = [item["role"] for item in stage.request.request.items]
    assert roles == ["user", "user"]


@pytest.mark.parametrize(
    ("item", "index", "ms", "code"),
    [
        ("nope", 0, 0, "item_truncate_invalid_item_id"),
        (None, 0, 3_200, "invalid_value"),
        (None, 1, 0, "invalid_value"),
        (None, 0, -1, "integer_below_min_value"),
        ("question", 0, 0, "unsupported_content_type"),
    ],
)
def test_what_cannot_be_truncated(item: str | None, index: int, ms: int, code: str) -> None:
    """Unknown items, unheard-of positions, what is not speech."""
    stage = speaking()
    question = next(iter(stage.engine.conversation)).id
    stage.backend(SpeechStarted("u", 0))
    answer = stage.seen(ev.ResponseDone).response["output"][0]["id"]
    named = {None: answer, "question": question}.get(item, item)
    assert stage.client(ev.ConversationItemTruncate(str(named), index, ms)) == ["error"]
    assert problem(stage)[0] == code


def test_truncating_what_is_still_being_spoken() -> None:
    """The client has stopped listening: what is said from there on does not count."""
    stage = speaking()
    answer = stage.item_id
    stage.client(ev.ConversationItemTruncate(answer, 0, 1000))
    stage.backend(ResponseFinished(stage.response_id))
    stage.at(stage.now + 10)
    assert stage.seen(ev.ResponseDone).response["status"] == "completed"
    item = stage.engine.conversation.get(answer)
    assert item is not None
    assert item.to_json()["content"][0]["transcript"] == "w0"


def test_without_interruption_the_answer_goes_on_and_the_turn_is_answered_after_it() -> None:
    """`interrupt_response` false: two turns get one answer, afterwards."""
    stage = speaking(interrupt=False)
    response = stage.response_id
    stage.client(silence(2))
    assert stage.backend(SpeechStarted("u1", 0)) == ["input_audio_buffer.speech_started"]
    assert stage.backend(SpeechStopped("u1", 900))[-1] == "conversation.item.done"
    stage.backend(SpeechStarted("u2", 1000), SpeechStopped("u2", 1900))
    stage.backend(Transcript("u1", "one", final=True), Transcript("u2", "two", final=True))
    stage.backend(ResponseFinished(response))
    told = stage.at(stage.now + 10)
    assert told[-3:] == [*ENDS, "response.created"]
    heard = [item["content"][0].get("transcript") for item in stage.request.request.items]
    assert heard[2:] == ["one", "two"]
    stage.backend(ResponseFinished(stage.response_id))
    assert stage.engine.deadline == math.inf


def test_barge_in_while_the_words_are_still_awaited() -> None:
    """The backend was never asked, so there is nothing to stop; the next turn answers both."""
    stage = Stage()
    voice_turn(stage, "u1", text=None)
    told = stage.backend(SpeechStarted("u2", 1000))
    assert told == ["input_audio_buffer.speech_started", *ENDS]
    assert stage.commands == []
    stage.backend(Transcript("u1", "one", final=True), SpeechStopped("u2", 1900))
    stage.backend(Transcript("u2", "two", final=True))
    heard = [item["content"][0]["transcript"] for item in stage.request.request.items]
    assert heard == ["one", "two"]


# --- pacing --------------------------------------------------------------------------------


def test_speech_leaves_as_it_is_due_and_ends_with_its_last_sample() -> None:
    """Never more than `lead` ahead; `response.done` comes when all has left."""
    stage = Stage(lead=2.0)
    stage.client(ev.ResponseCreate())
    begun = stage.now
    stage.backend(speech(stage.response_id, 6, "long"), ResponseFinished(stage.response_id))
    for tenths in range(45):
        told = stage.at(begun + tenths / 10)
        ahead = stage.seconds_told() - tenths / 10
        assert ahead <= 2.001
        assert ahead > 1.89 or stage.seconds_told() > 5.999
        assert ("response.done" in told) == (tenths == 40)
    assert stage.seconds_told() == pytest.approx(6)


def test_a_session_unlimited_in_lead_sends_at_once() -> None:
    """And grants everything."""
    stage = Stage(lead=math.inf)
    stage.client(ev.ResponseCreate())
    told = stage.backend(speech(stage.response_id, 600), ResponseFinished(stage.response_id))
    assert told[-1] == "rate_limits.updated"
    assert stage.seconds_told() == 600


def test_a_node_without_restraint_fails_its_response() -> None:
    """What waits here is bounded."""
    stage = Stage(lead=2.0)
    stage.client(ev.ResponseCreate())
    for _ in range(7):
        stage.backend(speech(stage.response_id, 10))
    details = stage.seen(ev.ResponseDone).response["status_details"]
    assert details["error"]["code"] == "response_too_large"


def test_speech_at_an_impossible_rate_fails_its_response() -> None:
    """Nothing can play it."""
    stage = Stage()
    stage.client(ev.ResponseCreate())
    chunk = speech(stage.response_id, 0.1)
    stage.backend(type(chunk)(chunk.response_id, chunk.samples, 0))
    assert stage.seen(ev.ResponseDone).response["status"] == "failed"


# --- audio that is kept --------------------------------------------------------------------


def shown(stage: Stage, item_id: str) -> ev.Json:
    """An item as it is retrieved, with its audio."""
    stage.client(ev.ConversationItemRetrieve(item_id))
    item: ev.Json = stage.seen(ev.ConversationItemRetrieved).item
    return stage.engine.conversation.recordings.shown(item)


def test_a_turn_keeps_its_sound() -> None:
    """From where speech started to where it stopped; other events are without."""
    stage = Stage()
    for number in range(10):
        stage.client(ev.InputAudioBufferAppend(bytes([number]) * 4_800))
    stage.backend(SpeechStarted("u", 200), SpeechStopped("u", 500))
    added = stage.seen(ev.ConversationItemAdded).item
    assert "audio" not in added["content"][0]
    audio = base64.b64decode(shown(stage, stage.item_id)["content"][0]["audio"])
    assert audio == b"".join(bytes([number]) * 4_800 for number in (2, 3, 4))
    stage.client(ev.ConversationItemDelete(stage.item_id))
    assert stage.engine.conversation.recordings._kept == {}


def test_audio_that_comes_with_an_item_comes_back() -> None:
    """With the transcript that makes it understood; without one it is refused."""
    stage = Stage()
    part = {"type": "input_audio", "audio": "AAEC", "transcript": "hi"}
    item = {"type": "message", "role": "user", "content": [part]}
    assert stage.client(ev.ConversationItemCreate(item)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert stage.seen(ev.ConversationItemDone).item["content"] == [
        {"type": "input_audio", "transcript": "hi"}
    ]
    assert shown(stage, stage.item_id)["content"] == [part]
    stage.client(ev.ResponseCreate())
    assert stage.request.request.items[0]["content"][0]["transcript"] == "hi"
    assert "audio" not in stage.request.request.items[0]["content"][0]


def test_long_silence_is_not_kept() -> None:
    """While speech is looked for and nobody speaks, only so much of the input is."""
    stage = Stage()
    for _ in range(60):
        stage.client(silence(1.0))
    kept = stage.engine.conversation.recordings._size / 48
    assert UNSPOKEN_KEPT_MS <= kept <= UNSPOKEN_KEPT_MS + 2_000
    stage.client(ev.SessionUpdate(LISTEN_BY_HAND))
    for _ in range(60):
        stage.client(silence(1.0))
    assert stage.engine.conversation.recordings._size / 48 == kept + 60_000


# --- formats -------------------------------------------------------------------------------


def telephone(direction: str, law: str) -> ev.SessionUpdate:
    audio = {direction: {"format": {"type": f"audio/{law}"}}}
    return ev.SessionUpdate({"type": "realtime", "audio": audio})


def test_sizes_are_those_of_the_input_format() -> None:
    """800 bytes of G.711 are what 4,800 of PCM16 are."""
    stage = Stage()
    stage.client(ev.SessionUpdate(LISTEN_BY_HAND), telephone("input", "pcma"))
    stage.client(ev.InputAudioBufferAppend(bytes(799)))
    assert stage.commands == [MicrophoneAudio(bytes(799), "pcma", 8_000)]
    assert stage.client(ev.InputAudioBufferCommit()) == ["error"]
    stage.client(ev.InputAudioBufferAppend(bytes(1)))
    assert stage.client(ev.InputAudioBufferCommit()) == COMMITTED


def test_a_response_may_have_a_format_of_its_own() -> None:
    """The session's, unless `response.create` says otherwise; what is spoken says which."""
    stage = Stage()
    stage.client(telephone("output", "pcmu"))
    for response, encoding in (
        (None, "pcmu"),
        ({"audio": {"output": {"format": {"type": "audio/pcma"}}}}, "pcma"),
        ({"audio": {"output": {"format": {"type": "audio/pcm", "rate": 24_000}}}}, "pcm"),
    ):
        stage.client(ev.ResponseCreate(response))
        created = stage.seen(ev.ResponseCreated).response
        assert created["audio"]["output"]["format"]["type"] == f"audio/{encoding}"
        stage.backend(speech(stage.response_id, 0.5, "Hi."))
        assert stage.seen(ev.ResponseOutputAudioSamples).encoding == encoding
        stage.backend(ResponseFinished(stage.response_id))


# --- what an answer is asked with, and what it cost ----------------------------------------


def test_settings_reach_the_backend() -> None:
    """All that a language node can act on; MCP tools are not among it."""
    tool = {"type": "function", "name": "look"}
    server = {"type": "mcp", "server_label": "files"}
    stage = text_session()
    stage.client(
        ev.SessionUpdate(
            {
                "type": "realtime",
                "tools": [server, tool],
                "tool_choice": server,
                "temperature": 0.7,
                "reasoning": {"effort": "low"},
                "prompt": {"id": "pmpt"},
                "tracing": "auto",
            }
        ),
        ev.ResponseCreate({"reasoning": {"effort": "high"}, "prompt": {"id": "other"}}),
    )
    request = stage.request.request
    assert request.tools == (tool,)
    assert request.tool_choice == "auto"
    assert request.temperature == 0.7
    assert request.reasoning == {"effort": "high"}
    assert stage.seen(ev.ResponseCreated).response["temperature"] == 0.7


def test_items_about_mcp_servers_are_kept_from_the_model() -> None:
    """They are in the conversation, in their place, and in nobody's way."""
    stage = text_session()
    listed = {"type": "mcp_list_tools", "server_label": "files", "tools": []}
    assert stage.client(ev.ConversationItemCreate(listed), user_says("hi"))[0] == (
        "conversation.item.added"
    )
    mcp = next(iter(stage.engine.conversation)).id
    assert stage.seen(ev.ConversationItemAdded).previous_item_id == mcp
    stage.client(ev.ResponseCreate())
    assert [item["type"] for item in stage.request.request.items] == ["message"]


def test_a_long_conversation_is_cut_as_the_session_says() -> None:
    """For the model; the client's items stay."""
    stage = text_session()
    truncation = {
        "type": "retention_ratio",
        "retention_ratio": 0.5,
        "token_limits": {"post_instructions": 100},
    }
    stage.client(ev.SessionUpdate({"type": "realtime", "truncation": truncation}))
    for number in range(6):
        stage.client(user_says(f"{number}" * 80))
    stage.client(ev.ResponseCreate())
    shown = [item["content"][0]["text"][0] for item in stage.request.request.items]
    assert shown == ["4", "5"]
    assert len(stage.engine.conversation) == 6
    given = [user_says("x" * 800).item, user_says("y").item]
    stage.client(ev.ResponseCreate({"input": given, "conversation": "none"}))
    assert len(stage.request.request.items) == 2


def test_usage_tells_text_from_audio() -> None:
    """Text as the model counted it, audio by how long it was."""
    stage = Stage()
    voice_turn(stage)
    stage.backend(
        speech(stage.response_id, 2.0, "Hi."),
        ResponseFinished(stage.response_id, usage=Usage(7, 3, 2)),
    )
    usage = stage.seen(ev.ResponseDone).response["usage"]
    assert usage["input_token_details"]["text_tokens"] == 7
    assert usage["input_token_details"]["audio_tokens"] == 9
    assert usage["output_token_details"] == {"text_tokens": 3, "audio_tokens": 40}
    assert (usage["input_tokens"], usage["output_tokens"]) == (16, 43)
    assert usage["total_tokens"] == 59


def test_an_answer_beside_another_is_cancelled_by_its_name() -> None:
    """And only it; without a name the conversation's own is meant."""
    stage = text_session()
    stage.client(ev.ResponseCreate())
    own = stage.response_id
    stage.client(ev.ResponseCreate({"conversation": "none"}))
    beside = stage.response_id
    assert stage.client(ev.ResponseCancel(beside)) == ENDS
    assert stage.commands == [Cancel(beside)]
    assert stage.client(ev.ResponseCancel()) == ENDS
    assert stage.commands == [Cancel(own)]


# --- limits --------------------------------------------------------------------------------


def test_a_session_has_its_time() -> None:
    """Then what is under way fails, and the client is told why it is closed."""
    stage = text_session(max_seconds=3_600.0)
    stage.client(user_says("hi"), ev.ResponseCreate())
    assert stage.engine.deadline <= stage.now + 3_600
    assert stage.at(stage.now + 3_599) == []
    assert stage.at(stage.now + 1) == [*ENDS, "error"]
    assert problem(stage) == ("session_expired", None)
    words = "Your session hit the maximum duration of 60 minutes."
    assert stage.last.close == Failure("session_expired", words)
    assert stage.engine.deadline == math.inf
    assert stage.client(user_says("hi")) == []


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (ev.SessionUpdate({"type": "realtime", "mood": 1}), "session.mood"),
        (ev.ResponseCreate({"mood": 1}), "response.mood"),
        (user_says("hi", mood=1), "item.mood"),
        (
            ev.ResponseCreate({"input": [{"type": "item_reference", "id": "x", "mood": 1}]}),
            "response.input[0].mood",
        ),
    ],
)
def test_a_strict_session_refuses_what_the_protocol_does_not_know(
    event: ev.ClientEvent, param: str
) -> None:
    """By its path, and nothing has happened; other sessions take no notice of it."""
    stage = text_session(strict=True)
    assert stage.client(event) == ["error"]
    error = stage.seen(ev.Error)
    assert (error.code, error.param) == ("unknown_parameter", param)
    if "x" not in str(event):
        assert "error" not in text_session().client(event)
