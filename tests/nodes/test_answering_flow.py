"""Language and synthesis nodes as processes of a real dataflow."""

from typing import Any

import pytest
import trio

from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import DataflowError
from trio_bridge.messages import (
    AudioDelta,
    Cancel,
    Credit,
    Respond,
    ResponseFinished,
    ResponseRequest,
    TextDelta,
    ToolCallDone,
)

pytestmark = pytest.mark.e2e

FLOW = """
nodes:
  - id: bridge
    path: dynamic
    inputs: {answer: tts/answer, ack-echo: echo/ack, ack-chat: chat/ack, ack-tts: tts/ack}
    outputs: [listen, request, cancel, credit]
  - id: echo
    path: python
    args: -m trio_bridge.nodes.echo
    inputs: {listen: bridge/listen}
    outputs: [ack]
  - id: chat
    path: python
    args: -m trio_bridge.nodes.chat
    inputs: {request: bridge/request, cancel: bridge/cancel}
    outputs: [speak, ack]
  - id: tts
    path: python
    args: -m trio_bridge.nodes.tts
    inputs: {speak: chat/speak, cancel: bridge/cancel, credit: bridge/credit}
    outputs: [answer, ack]
"""

TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
CLOCK = {**TOOL, "name": "get_time"}


def asked(text, **fields):
    earlier = {"type": "message", "role": "assistant", "content": []}
    content = [{"type": "input_audio", "transcript": text}]
    said = {"type": "message", "role": "user", "content": content}
    return ResponseRequest((earlier, said), **fields)


async def until_finished(session):
    events: list[Any] = []
    with trio.fail_after(10):
        while not events or not isinstance(events[-1], ResponseFinished):
            events.append(await session.events.receive())
    return events


def spoken(events):
    deltas = [event for event in events if isinstance(event, AudioDelta)]
    seconds = sum(len(delta.samples) / delta.sample_rate for delta in deltas)
    return "".join(delta.text for delta in deltas), seconds


async def test_a_conversation(tmp_path):
    """Spoken, written, called and cancelled answers, by the built-in responder."""
    flow = tmp_path / "answering.yml"
    flow.write_text(FLOW)
    async with (
        open_dora_backend(DoraSettings(dataflow=str(flow))) as backend,
        backend.session("s") as session,
    ):
        session.send(Credit("spoken", 99))
        session.send(Respond("spoken", asked("count to three", voice="marin")))
        *events, finish = await until_finished(session)
        text, seconds = spoken(events)
        assert text == "One, two, three."
        assert 0.8 < seconds < 3
        assert [word.text for event in events for word in event.words] == text.split()
        assert finish.status == "completed"
        assert finish.usage.output_tokens > 0

        session.send(Respond("written", asked("hello", output_modality="text")))
        *events, finish = await until_finished(session)
        assert all(isinstance(event, TextDelta) for event in events)
        assert "".join(event.text for event in events).startswith("Hello!")

        session.send(Respond("called", asked("the weather in Rome", tools=(TOOL,))))
        *_, call, finish = await until_finished(session)
        assert isinstance(call, ToolCallDone)
        assert (call.name, call.arguments) == ("get_weather", '{"city":"Rome"}')

        both = asked("the weather in Rome and the time in Oslo", tools=(TOOL, CLOCK))
        session.send(Respond("called twice", both))
        *events, finish = await until_finished(session)
        done = [event for event in events if isinstance(event, ToolCallDone)]
        assert [(call.name, call.arguments) for call in done] == [
            ("get_weather", '{"city":"Rome"}'),
            ("get_time", '{"city":"Oslo"}'),
        ]
        assert finish.status == "completed"

        session.send(Respond("cut", asked("count to one hundred")))
        session.send(Credit("cut", 1.0))
        heard = 0.0
        with trio.fail_after(10):
            while heard < 0.99:
                event = await session.events.receive()
                assert isinstance(event, AudioDelta)
                heard += len(event.samples) / event.sample_rate
        session.send(Cancel("cut"))
        *events, finish = await until_finished(session)
        assert finish.status == "cancelled"
        assert heard + spoken(events)[1] <= 1.0


@pytest.mark.parametrize(
    ("variable", "value", "node", "words"),
    [
        ("TTS_ENGINE", "parrot", "tts", "TTS_ENGINE='parrot' is not known"),
        ("TTS_ENGINE", "piper", "tts", "TTS_ENGINE=piper "),
        ("TRIO_BRIDGE_LLM_URL", "localhost:11434", "chat", "must start with http"),
    ],
)
async def test_wrong_settings_are_said(tmp_path, monkeypatch, variable, value, node, words):
    """The node at fault and its one line, without a traceback."""
    monkeypatch.setenv(variable, value)
    flow = tmp_path / "answering.yml"
    flow.write_text(FLOW)
    with pytest.raises(DataflowError) as caught:
        async with open_dora_backend(DoraSettings(dataflow=str(flow))):
            pass
    assert caught.value.node == node
    assert words in caught.value.log
    assert "Traceback" not in caught.value.log
