import base64

import numpy as np
import pytest
import trio
from attrs import Factory, define

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.client.connection import ClientError
from trio_bridge.client.conversation import (
    ANSWER_LIMIT,
    ANSWER_PATIENCE,
    SILENCE_PATIENCE,
    Conversation,
)

LOUD = float32_to_pcm16(np.full(480, 0.5, np.float32))
QUIET = bytes(960)


@define
class FakeConnection:
    """A server that says what the test has it say, at the time it is to be said."""

    script: list  # type: ignore[type-arg]
    sent: list = Factory(list)  # type: ignore[type-arg]

    async def send(self, event_type, **fields):
        self.sent.append((event_type, fields))

    async def receive(self):
        if not self.script:
            await trio.sleep_forever()
        when, event = self.script[0]
        await trio.sleep_until(when)
        self.script.pop(0)
        return event


@define
class FakeReport:
    told: list = Factory(list)  # type: ignore[type-arg]

    def __getattr__(self, name):
        return lambda value: self.told.append((name, value))


@pytest.fixture
def stage():
    """`stage(script)`: a conversation, its connection, its report, and the audio it plays."""

    def build(script):
        start = trio.current_time()
        connection = FakeConnection([(start + when, event) for when, event in script])
        report, audio = FakeReport(), bytearray()
        return Conversation(connection, report, audio.extend), connection, report, audio  # type: ignore[arg-type]

    return build


def answer(when, text="hi", status="completed"):
    return [
        (when, {"type": "response.output_audio_transcript.delta", "delta": text}),
        (
            when + 0.1,
            {"type": "response.output_audio.delta", "delta": base64.b64encode(b"ab").decode()},
        ),
        (when + 0.2, {"type": "response.done", "response": {"status": status}}),
    ]


def spoken(stop_at, end_ms, item="item_1"):
    return [
        (0.1, {"type": "input_audio_buffer.speech_started", "item_id": item}),
        (
            stop_at,
            {
                "type": "input_audio_buffer.speech_stopped",
                "item_id": item,
                "audio_end_ms": end_ms,
            },
        ),
    ]


def heard(when, words="hello", item="item_1"):
    kind = "conversation.item.input_audio_transcription.completed"
    return (when, {"type": kind, "item_id": item, "transcript": words})


async def test_a_question_in_writing(autojump_clock, stage):
    """One item, one response; latencies count from the question, audio is played."""
    conversation, connection, report, audio = stage(answer(0.5))
    await conversation.ask("what time is it?")
    await conversation.listen()
    assert [event for event, _ in connection.sent] == [
        "conversation.item.create",
        "response.create",
    ]
    (turn,) = conversation.turns
    assert turn.answer == "hi"
    assert turn.status == "completed"
    assert turn.summary()["latency_ms"] == {
        "first_text": 500.0,
        "first_audio": 600.0,
        "done": 700.0,
    }
    assert bytes(audio) == b"ab"
    assert [name for name, _ in report.told] == ["answered", "turn"]


async def test_latencies_count_from_the_last_loud_frame(autojump_clock, stage):
    """Silence at the end of a recording is not part of what was said."""
    conversation, *_ = stage([*spoken(1.0, 1000), heard(1.1), *answer(1.2)])
    for number in range(50):
        await trio.sleep(0.02)
        await conversation.say(LOUD if number < 20 else QUIET)
    conversation.said_all_speech()
    await conversation.listen()
    (turn,) = conversation.turns
    # The twentieth frame left at 0.4 s; events are read from the end of the recording on.
    assert turn.summary()["latency_ms"]["heard"] == pytest.approx(700, abs=1)
    assert turn.heard == "hello"


async def test_a_transcript_may_come_after_the_answer(autojump_clock, stage):
    """The turn is complete, and reported, when both are there."""
    conversation, _, report, _ = stage([*spoken(0.5, 400), *answer(0.6), heard(2.0)])
    await conversation.say(LOUD)
    conversation.said_all_speech()
    await conversation.listen()
    assert conversation.turns[0].heard == "hello"
    assert report.told[-1][0] == "turn"


async def test_a_transcript_that_never_comes_is_not_waited_for(autojump_clock, stage):
    """The answer is what counts; the turn is reported without it."""
    conversation, _, report, _ = stage([*spoken(0.5, 400), *answer(0.6)])
    await conversation.say(LOUD)
    conversation.said_all_speech()
    await conversation.listen()
    assert conversation.turns[0].heard is None
    assert report.told[-1][0] == "turn"


async def test_two_turns_in_one_recording(autojump_clock, stage):
    """Each has its own words and its own answer; an interrupted answer is one too."""
    second = [
        (3.0, {"type": "input_audio_buffer.speech_started", "item_id": "item_2"}),
        (3.1, {"type": "response.done", "response": {"status": "cancelled"}}),
        (
            4.0,
            {
                "type": "input_audio_buffer.speech_stopped",
                "item_id": "item_2",
                "audio_end_ms": 20,
            },
        ),
        heard(4.1, "again", "item_2"),
        *answer(4.2, "well"),
    ]
    conversation, *_ = stage([*spoken(1.0, 20), heard(1.1), *answer(1.2)[:2], *second])
    await conversation.say(LOUD)
    conversation.said_all_speech()
    await conversation.listen()
    assert [turn.heard for turn in conversation.turns] == ["hello", "again"]
    assert [turn.status for turn in conversation.turns] == ["cancelled", "completed"]


async def test_nobody_was_heard(autojump_clock, stage):
    """Said after a while that is short beside the patience for an answer."""
    conversation, *_ = stage([])
    await conversation.say(QUIET)
    conversation.said_all_speech()
    with pytest.raises(ClientError, match="nobody"):
        await conversation.listen()
    assert trio.current_time() == pytest.approx(SILENCE_PATIENCE)


async def test_no_answer(autojump_clock, stage):
    """A server that goes quiet is not waited for without end."""
    conversation, *_ = stage([])
    await conversation.ask("hello?")
    with pytest.raises(ClientError, match="no answer"):
        await conversation.listen()
    assert trio.current_time() == pytest.approx(ANSWER_PATIENCE)


async def test_an_answer_without_end(autojump_clock, stage):
    """A server that speaks on and on is not listened to for ever."""
    delta = {"type": "response.output_audio.delta", "delta": ""}
    conversation, *_ = stage([(second, delta) for second in range(1, 1000)])
    await conversation.ask("hello?")
    with pytest.raises(ClientError, match="did not end"):
        await conversation.listen()
    assert trio.current_time() == pytest.approx(ANSWER_LIMIT)


async def test_the_end_of_a_recording_starts_the_clock(autojump_clock, stage):
    """While something is still being said there is no deadline, however long it takes."""
    conversation, *_ = stage([])

    async def speak():
        await trio.sleep(1000)
        conversation.said_all_speech()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        with pytest.raises(ClientError, match="nobody"):
            await conversation.listen()
    assert trio.current_time() == pytest.approx(1000 + SILENCE_PATIENCE)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "error", "error": {"message": "No.", "code": "bad"}}, r"No\. \(bad\)"),
        ({"type": "error", "error": {"message": "No.", "code": None}}, r"No\.$"),
        ({"type": "error"}, "shape not known: error"),
        ({"type": "response.output_audio.delta", "delta": "?"}, "shape not known"),
        (
            {
                "type": "response.done",
                "response": {
                    "status": "failed",
                    "status_details": {"error": {"code": "server_error"}},
                },
            },
            "the answer failed: server_error",
        ),
    ],
)
async def test_what_goes_wrong_is_said(autojump_clock, stage, event, words):
    """An error of the server, and an event that is none, end the conversation in words."""
    conversation, *_ = stage([(0.1, event)])
    await conversation.ask("hello?")
    with pytest.raises(ClientError, match=words):
        await conversation.listen()
