"""A session over a transport in memory and a backend in plain Python, on a virtual clock."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from trio_bridge.audio.encodings import CODINGS, Encoding
from trio_bridge.backend import BackendSession, Emit, Handler, InProcessBackend
from trio_bridge.closing import Ending
from trio_bridge.errors import TransportClosed
from trio_bridge.hearing import WAITING
from trio_bridge.messages import (
    AudioDelta,
    Cancel,
    Capabilities,
    Clear,
    Command,
    Commit,
    Configure,
    Credit,
    InputAudio,
    Respond,
    ResponseFinished,
    ResponseOpened,
    SpeechStarted,
    TextDelta,
    Transcript,
)
from trio_bridge.mooring import READ_AHEAD
from trio_bridge.realtime.config import SessionConfig
from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.session import Session, SessionLimits
from trio_bridge.transport import MemoryTransport, memory_transport_pair

Commands = trio.MemoryReceiveChannel[Command]


def make_session(
    answering: Handler | InProcessBackend,
    *,
    resume_window: float = 0.0,
    lead: float = 2.0,
    **engine_settings: Any,
) -> Session:
    backend = (
        answering if isinstance(answering, InProcessBackend) else InProcessBackend(answering)
    )
    engine = RealtimeEngine(
        session_id="sess_test",
        model="test",
        config=SessionConfig(),
        capabilities=Capabilities(),
        now=trio.current_time(),
        expires_at=4_000_000_000,
        lead=lead,
        **engine_settings,
    )
    return Session("sess_test", engine, backend, SessionLimits(resume_window=resume_window))


class Peer:
    """The client's end of a transport."""

    def __init__(self, session: Session) -> None:
        self.transport, server_end = memory_transport_pair()
        session.attach(server_end)

    async def send(self, event_type: str, **fields: Any) -> None:
        await self.transport.send(json.dumps({"type": event_type, **fields}).encode())

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.transport.receive())
        return event

    async def until(self, event_type: str) -> dict[str, Any]:
        while (event := await self.next())["type"] != event_type:
            pass
        return event

    async def ask(self, text: str = "hello") -> None:
        content = [{"type": "input_text", "text": text}]
        await self.send(
            "conversation.item.create",
            item={"type": "message", "role": "user", "content": content},
        )
        await self.send("response.create")


async def closed(transport: MemoryTransport) -> tuple[int | None, str]:
    """Read until the other end has closed; how it did."""
    try:
        while True:
            await transport.receive()
    except TransportClosed as exc:
        return exc.code, exc.reason


async def idle(commands: Commands, emit: Emit) -> None:
    async for _ in commands:
        pass


def speaking(seconds: float, *, rate: int = 24_000, chunk: float = 0.1) -> Handler:
    """Answers every request with a tone, as far as credit goes."""

    async def handler(commands: Commands, emit: Emit) -> None:
        response_id, said, credit = "", 0.0, 0.0
        async for command in commands:
            match command:
                case Respond():
                    response_id, said, credit = command.response_id, 0.0, 0.0
                case Credit(_, granted):
                    credit = granted
                case Cancel():
                    response_id = ""
                case _:
                    continue
            while response_id and said < seconds and said + chunk <= credit + 1e-9:
                t = np.arange(int(rate * chunk)) / rate + said
                samples = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
                await emit(AudioDelta(response_id, samples, rate, text=f"{said:.1f} "))
                said += chunk
            if response_id and said >= seconds - 1e-9:
                await emit(ResponseFinished(response_id))
                response_id = ""

    return handler


async def test_a_text_turn(autojump_clock: MockClock) -> None:
    """What the client asks reaches the backend, what it answers reaches the client."""

    async def handler(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            if isinstance(command, Respond):
                await emit(TextDelta(command.response_id, "hi"))
                await emit(ResponseFinished(command.response_id))

    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        assert (await peer.next())["type"] == "session.created"
        await peer.send(
            "session.update", session={"type": "realtime", "output_modalities": ["text"]}
        )
        await peer.ask()
        assert (await peer.until("response.output_text.done"))["text"] == "hi"
        await peer.until("response.done")
        await peer.transport.close()
    assert session.ending is not None
    assert session.ending.code == 1000


async def test_audio_is_resampled_in_order_with_commit_and_clear(
    autojump_clock: MockClock,
) -> None:
    """The backend hears 16 kHz, and commit and clear come where they were said."""
    heard: list[Any] = []

    async def handler(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            match command:
                case InputAudio(samples, rate):
                    assert rate == 16_000
                    heard.append(len(samples))
                case Commit() | Clear() | Configure():
                    heard.append(type(command).__name__)
                case _:
                    pass

    session = make_session(handler)
    peer = Peer(session)
    frame = base64.b64encode(bytes(960)).decode()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        for _ in range(10):
            await peer.send("input_audio_buffer.append", audio=frame)
        await peer.send("input_audio_buffer.commit")
        await peer.until("conversation.item.done")
        await peer.send("input_audio_buffer.append", audio=frame)
        await peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
        await trio.testing.wait_all_tasks_blocked()
        await peer.transport.close()
    names = [entry for entry in heard if isinstance(entry, str)]
    assert names == ["Configure", "Commit", "Clear"]
    before = [e for e in heard[: heard.index("Commit")] if isinstance(e, int)]
    after = [e for e in heard[heard.index("Commit") :] if isinstance(e, int)]
    assert sum(before) == 3200
    assert sum(after) == 320


async def test_output_is_paced_and_credit_is_what_paces_it(autojump_clock: MockClock) -> None:
    """Audio leaves at most the lead ahead of real time; the response lasts until the last."""
    session = make_session(speaking(10.0))
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.ask()
        first = None
        samples = 0
        while (event := await peer.next())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                now = trio.current_time()
                first = now if first is None else first
                samples += len(base64.b64decode(event["delta"])) // 2
                assert samples / 24_000 <= now - first + 2.0 + 0.11
        assert first is not None
        assert trio.current_time() - first == pytest.approx(8.0, abs=0.3)
        assert samples == 240_000
        await peer.transport.close()


async def test_unpaced_output_leaves_at_once_however_long(autojump_clock: MockClock) -> None:
    """Without a lead to keep, credit follows what has left and nothing waits for a clock."""
    session = make_session(speaking(90.0), lead=math.inf)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        began = trio.current_time()
        await peer.ask()
        samples = 0
        while (event := await peer.next())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                samples += len(base64.b64decode(event["delta"])) // 2
        assert samples == 90 * 24_000
        assert trio.current_time() == began
        await peer.transport.close()


async def test_speech_cuts_a_long_answer_off(autojump_clock: MockClock) -> None:
    """A barge-in cancels the backend's work and nothing of the answer follows."""
    cancelled = trio.Event()
    tell: list[Emit] = []
    speak = speaking(30.0)

    async def handler(commands: Commands, emit: Emit) -> None:
        tell.append(emit)
        send, receive = trio.open_memory_channel[Command](100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak, receive, emit)
            async for command in commands:
                if isinstance(command, Cancel):
                    cancelled.set()
                await send.send(command)

    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.ask()
        await peer.until("response.output_audio.delta")
        await trio.sleep(5)
        await tell[0](SpeechStarted("u1", 100))
        await peer.until("input_audio_buffer.speech_started")
        after = []
        while (event := await peer.next())["type"] != "response.done":
            after.append(event["type"])
        assert "response.output_audio_transcript.delta" not in after
        assert event["response"]["status_details"]["reason"] == "turn_detected"
        await cancelled.wait()
        with trio.move_on_after(30) as silence:
            assert (await peer.next())["type"] == "rate_limits.updated"
            await peer.next()
        assert silence.cancelled_caught
        await peer.transport.close()


async def test_a_session_outlives_its_transport(autojump_clock: MockClock) -> None:
    """Detached in mid-answer and attached again, the client misses and repeats nothing."""
    session = make_session(speaking(6.0), resume_window=5.0)
    peer = Peer(session)
    audio = b""
    deltas: list[str] = []

    def note(event: dict[str, Any]) -> None:
        nonlocal audio
        deltas.append(event["event_id"])
        audio += base64.b64decode(event["delta"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.ask()
        while len(audio) < 24_000 * 2 * 3:
            event = await peer.next()
            if event["type"] == "response.output_audio.delta":
                note(event)
        assert session.detach() is not None
        # What had been handed over before the transport went is still in it.
        await peer.transport.close()
        await trio.sleep(3)
        peer = Peer(session)
        while (event := await peer.next())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                note(event)
        await peer.transport.close()
    assert len(deltas) == len(set(deltas))
    t = np.arange(len(audio) // 2) / 24_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * t)
    heard = np.frombuffer(audio, "<i2") / 32768
    assert len(heard) == 144_000
    assert np.abs(heard - tone).max() < 1e-3


async def test_the_resume_window_ends(autojump_clock: MockClock) -> None:
    """Nobody comes back: the session is over when the window is."""
    session = make_session(idle, resume_window=7.0)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.until("session.created")
        began = trio.current_time()
        session.detach()
    assert trio.current_time() - began == pytest.approx(7.0)
    assert session.ending == Ending(1000, "the client has left")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_event"),
        (b"\0", "invalid_event"),
        ('{"type":"nope"}', "invalid_value"),
        ('{"type":"response.cancel"}', "response_cancel_not_active"),
    ],
)
async def test_bad_input_is_answered_and_the_session_goes_on(
    frame: str | bytes, code: str, autojump_clock: MockClock
) -> None:
    """An error event, and then an ordinary update still works."""
    session = make_session(idle)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.transport._send.send(frame)
        assert (await peer.until("error"))["error"]["code"] == code
        await peer.send("session.update", session={"type": "realtime"})
        await peer.until("session.updated")
        await peer.transport.close()


async def _raise(commands: Commands, emit: Emit) -> None:
    async for command in commands:
        if isinstance(command, Respond):
            raise RuntimeError("no idea")


async def _return(commands: Commands, emit: Emit) -> None:
    async for command in commands:
        if isinstance(command, Respond):
            return


@pytest.mark.parametrize("handler", [_raise, _return])
async def test_a_backend_that_fails_ends_its_session_with_a_reason(
    handler: Handler, autojump_clock: MockClock
) -> None:
    """The client gets response.done failed, an error event, and close 1011."""
    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.ask()
        assert (await peer.until("response.done"))["response"]["status"] == "failed"
        await peer.until("error")
        code, reason = await closed(peer.transport)
    assert code == 1011
    assert "handler" in reason


async def test_a_step_that_fails_is_its_session_s_and_nobody_else_s(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where the backend's own task takes it: who reports does not hear of it."""
    reported: list[str] = []

    async def report(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            if isinstance(command, Respond):
                for text in ("one", "two"):
                    await emit(TextDelta(command.response_id, text))
                    reported.append(text)

    def fail(*_: Any) -> None:
        raise ArithmeticError("an error of ours")

    session = make_session(report)
    monkeypatch.setattr(RealtimeEngine, "report", fail)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.ask()
        assert (await peer.until("error"))["error"]["code"] == "internal_error"
        code, _ = await closed(peer.transport)
    assert code == 1011
    assert "one" in reported
    assert "an error of ours" in capsys.readouterr().out


class Crowded(InProcessBackend):
    """A place comes free after a minute; `waiting` are in line."""

    waiting = 0

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
        self.waiting += 1
        try:
            await trio.sleep(60)
        finally:
            self.waiting -= 1
        async with super().session(session_id) as link:
            yield link


@pytest.mark.parametrize("resume_window", [0.0, 5.0])
async def test_who_hangs_up_leaves_the_line(
    autojump_clock: MockClock, resume_window: float
) -> None:
    """Whatever it has said before; a session that may be resumed waits that long for it."""
    backend = Crowded(idle)
    session = make_session(backend, resume_window=resume_window)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        for _ in range(3):
            await peer.send("session.update", session={"type": "realtime"})
        await trio.sleep(10)
        assert backend.waiting == 1
        left_at = trio.current_time()
        await peer.transport.close(1000, "")
    assert trio.current_time() - left_at == pytest.approx(resume_window)
    assert backend.waiting == 0


async def test_what_is_said_in_line_is_heard_in_order(autojump_clock: MockClock) -> None:
    """And what comes later after it; a client that says a lot is not read without bound."""
    backend = Crowded(idle)
    session = make_session(backend)
    peer = Peer(session)
    numbers = range(80)
    unsent = list(numbers)

    async def say() -> None:
        for number in numbers:
            await peer.send(f"event-{number}", padding="." * (READ_AHEAD // 20))
            unsent.remove(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await trio.sleep(55)
        nursery.start_soon(say)
        await trio.sleep(4)
        assert unsent
        await peer.until("session.created")
        for number in numbers:
            assert f"event-{number}'" in (await peer.until("error"))["error"]["message"]
        await peer.transport.close(1000, "")


async def test_a_client_that_does_not_read_is_disconnected(autojump_clock: MockClock) -> None:
    """After the send timeout, with a reason, though its messages are still unread."""
    session = make_session(idle)
    peer = Peer(session)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        with suppress(TransportClosed):
            while True:
                await peer.send("input_audio_buffer.clear")
    assert trio.current_time() - began == pytest.approx(10.0)
    assert session.ending is not None
    assert session.ending.code == 1008


async def test_a_burst_is_held_back_not_refused(autojump_clock: MockClock) -> None:
    """A client that sends 2,000 events at once and reads slowly gets all its answers."""
    session = make_session(idle)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)

        async def send() -> None:
            for _ in range(2000):
                await peer.send("input_audio_buffer.clear")

        nursery.start_soon(send)
        for _ in range(2000):
            await peer.until("input_audio_buffer.cleared")
            await trio.sleep(0.001)
        await peer.transport.close()


async def test_much_audio_may_be_heard_again_at_once(autojump_clock: MockClock) -> None:
    """An item with audio of its own has all appends that are not committed heard again."""
    heard = 0

    async def listening(commands: Commands, emit: Emit) -> None:
        nonlocal heard
        async for command in commands:
            heard += isinstance(command, InputAudio) and command.samples.size

    session = make_session(listening)
    peer = Peer(session)
    frame, appends = base64.b64encode(bytes(960)).decode(), 3 * WAITING
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        by_hand = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await peer.send("session.update", session=by_hand)
        for _ in range(appends):
            await peer.send("input_audio_buffer.append", audio=frame)
        content = [{"type": "input_audio", "audio": base64.b64encode(bytes(48_000)).decode()}]
        item = {"type": "message", "role": "user", "content": content}
        await peer.send("conversation.item.create", item=item)
        await peer.until("conversation.item.done")
        await peer.send("input_audio_buffer.clear")
        await peer.until("input_audio_buffer.cleared")
        await trio.sleep(1)
        assert heard == pytest.approx(16_000 * (2 * appends * 0.02 + 1.0), abs=10)
        await peer.transport.close()


async def test_an_asked_for_end_lets_what_is_queued_out(autojump_clock: MockClock) -> None:
    """`end` closes with its code after the events that were due."""
    session = make_session(idle)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.until("session.created")
        session.end(Ending(1001, "going"))
        assert await closed(peer.transport) == (1001, "going")


async def test_a_cancelled_session_still_says_goodbye(autojump_clock: MockClock) -> None:
    session = make_session(idle)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.until("session.created")
        nursery.cancel_scope.cancel()
    assert peer.transport.closed is not None
    assert peer.transport.closed[0] == 1001


@pytest.mark.parametrize("wait", [0, 1], ids=["a place at once", "a place to wait for"])
async def test_a_session_may_be_cancelled_at_any_step(
    wait: int, autojump_clock: MockClock
) -> None:
    """While it waits, begins, hears and speaks: it always says that it goes, and nothing of it
    counts as a failure."""

    async def echo(commands: Commands, emit: Emit) -> None:
        await emit(ResponseOpened("r"))
        async for command in commands:
            if isinstance(command, InputAudio):
                await emit(AudioDelta("r", command.samples, command.sample_rate))

    class Echo(InProcessBackend):
        @asynccontextmanager
        async def session(self, session_id: str) -> AsyncGenerator[BackendSession, None]:
            for _ in range(8 * wait):
                await trio.lowlevel.checkpoint()
            async with super().session(session_id) as link:
                yield link

    frame = base64.b64encode(bytes(1920)).decode()
    for steps in range(80):
        session = make_session(Echo(echo))
        peer = Peer(session)
        for _ in range(5):
            await peer.send("input_audio_buffer.append", audio=frame)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert (await closed(peer.transport))[0] == 1001, steps


async def test_a_transcript_reaches_the_client(autojump_clock: MockClock) -> None:
    """Push-to-talk: the backend's transcript becomes the item's."""

    async def handler(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            if isinstance(command, Commit):
                await emit(Transcript("u1", "hello", final=True, item_id=command.item_id))

    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.send(
            "session.update",
            session={
                "type": "realtime",
                "audio": {"input": {"turn_detection": None, "transcription": {"model": "x"}}},
            },
        )
        audio = base64.b64encode(bytes(9600)).decode()
        await peer.send("input_audio_buffer.append", audio=audio)
        await peer.send("input_audio_buffer.commit")
        done = await peer.until("conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == "hello"
        await peer.transport.close()


def listening_by_hand(encoding: str) -> dict[str, Any]:
    audio = {"format": {"type": f"audio/{encoding}"}}
    return {
        "type": "realtime",
        "audio": {"input": {"turn_detection": None, **audio}, "output": audio},
    }


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
async def test_telephone_speech_both_ways(law: Encoding, autojump_clock: MockClock) -> None:
    """G.711 in becomes 16 kHz for the backend, what it says leaves as G.711; and both can be
    retrieved as they went over the wire."""
    heard: list[Any] = []

    async def handler(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            match command:
                case InputAudio(samples, rate):
                    assert rate == 16_000
                    heard.append(samples)
                case Commit(item_id):
                    await emit(Transcript("u", "hm", final=True, item_id=item_id))
                case Respond(response_id):
                    t = np.arange(22_050) / 22_050
                    samples = (0.5 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
                    await emit(AudioDelta(response_id, samples, 22_050, "hm"))
                    await emit(ResponseFinished(response_id))

    coding = CODINGS[law]
    t = np.arange(8_000) / 8_000
    spoken = coding.encode((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32))
    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.send("session.update", session=listening_by_hand(law))
        for start in range(0, len(spoken), 160):
            frame = base64.b64encode(spoken[start : start + 160]).decode()
            await peer.send("input_audio_buffer.append", audio=frame)
        await peer.send("input_audio_buffer.commit")
        question = (await peer.until("conversation.item.done"))["item"]["id"]
        await peer.send("response.create")
        said = b""
        while (event := await peer.next())["type"] != "response.done":
            if event["type"] == "response.output_audio.delta":
                said += base64.b64decode(event["delta"])
        answer = event["response"]["output"][0]["id"]
        usage = event["response"]["usage"]
        retrieved = []
        for item_id in (question, answer):
            await peer.send("conversation.item.retrieve", item_id=item_id)
            item = (await peer.until("conversation.item.retrieved"))["item"]
            retrieved.append(base64.b64decode(item["content"][0]["audio"]))
        await peer.transport.close()
    whole = np.concatenate(heard)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(whole) == 16_000
    assert np.abs(whole - tone)[400:-400].max() < 0.02
    assert len(said) == 8_000
    assert retrieved == [spoken, said]
    assert usage["input_token_details"]["audio_tokens"] == 10
    assert usage["output_token_details"]["audio_tokens"] == 20


async def test_the_input_format_may_change_in_the_middle(autojump_clock: MockClock) -> None:
    """What was heard so far is heard to its end; the clock goes on."""
    total = [0]

    async def handler(commands: Commands, emit: Emit) -> None:
        async for command in commands:
            if isinstance(command, InputAudio):
                total[0] += len(command.samples)

    session = make_session(handler)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        for encoding, size in (
            ("pcm", 48_001),
            ("pcmu", 8_000),
            ("pcma", 4_000),
            ("pcm", 9_600),
        ):
            await peer.send("session.update", session=listening_by_hand(encoding))
            audio = base64.b64encode(bytes(size)).decode()
            await peer.send("input_audio_buffer.append", audio=audio)
        await peer.send("input_audio_buffer.commit")
        await peer.until("conversation.item.done")
        await trio.testing.wait_all_tasks_blocked()
        await peer.transport.close()
    assert total == [16_000 * (1 + 1 + 0.5 + 0.2)]


async def test_a_session_ends_when_its_time_is_up(autojump_clock: MockClock) -> None:
    """With the response that is under way, an error that says so, and close 1001."""
    session = make_session(speaking(1e6), max_seconds=120.0)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        began = trio.current_time()
        await peer.ask()
        assert (await peer.until("response.done"))["response"]["status"] == "failed"
        error = (await peer.until("error"))["error"]
        code, reason = await closed(peer.transport)
    assert trio.current_time() - began == pytest.approx(120.0)
    assert error["code"] == "session_expired"
    assert (code, reason) == (1001, "Your session hit the maximum duration of 2 minutes.")


async def test_audio_that_is_let_go_is_said_so_once(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the log; the item keeps its text and has no audio."""
    session = make_session(idle, audio_limit=10_000)
    peer = Peer(session)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await peer.send("session.update", session=listening_by_hand("pcm"))
        for _ in range(3):
            audio = base64.b64encode(bytes(9_600)).decode()
            await peer.send("input_audio_buffer.append", audio=audio)
            await peer.send("input_audio_buffer.commit")
        items = [(await peer.until("conversation.item.done"))["item"]["id"] for _ in range(3)]
        kept = []
        for item_id in items:
            await peer.send("conversation.item.retrieve", item_id=item_id)
            content = (await peer.until("conversation.item.retrieved"))["item"]["content"][0]
            assert "transcript" in content
            kept.append("audio" in content)
        await peer.transport.close()
    assert kept == [False, False, True]
    assert capsys.readouterr().out.count("the oldest audio") == 1
