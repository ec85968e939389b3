"""Whatever client and backend do, in whatever order: what always holds."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.conformance.witness import Witness
from tests.support.stage import LISTEN_BY_HAND, TRANSCRIBE, Stage, silence, speech, user_says

from trio_bridge.messages import (
    AudioDelta,
    BackendLost,
    Cancel,
    Capabilities,
    Commit,
    Credit,
    Failure,
    Logprob,
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
from trio_bridge.realtime import events as ev
from trio_bridge.realtime import problems
from trio_bridge.realtime.config import LOGPROBS, Kind, initial
from trio_bridge.realtime.recordings import KEPT_LIMIT
from trio_bridge.realtime.wire import Dialect

UTTERANCES = st.sampled_from([1, 0, 0, -1, -2])
"""Which utterance it is about: one to come, the one that began last, or one before it."""

CALLS = st.sampled_from(["c1", "c2"])
TEXTS = st.sampled_from(["", "a", "one two", "one two three"])
HOUR = 3600.0


def realtime(**fields: Any) -> dict[str, Any]:
    return {"type": "realtime", **fields}


def hearing(**fields: Any) -> dict[str, Any]:
    return realtime(audio={"input": fields})


def detecting(**turn_detection: Any) -> dict[str, Any]:
    return hearing(turn_detection=turn_detection)


def given(role: str, **content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [content]}


TRANSCRIBE_ONLY = {"type": "transcription"}
LOOK = {"type": "function", "name": "look"}
UPDATES = [
    LISTEN_BY_HAND,
    TRANSCRIBE,
    hearing(transcription=None),
    realtime(include=[LOGPROBS]),
    detecting(type="server_vad"),
    detecting(type="server_vad", create_response=False),
    detecting(type="server_vad", idle_timeout_ms=5_000),
    detecting(type="semantic_vad"),
    detecting(type="semantic_vad", interrupt_response=False),
    realtime(output_modalities=["text"]),
    realtime(output_modalities=["audio"]),
    realtime(tools=[LOOK], tool_choice="required", max_output_tokens=5),
    realtime(audio={"output": {"voice": "ash", "speed": 1.5}}),
    realtime(
        truncation={
            "type": "retention_ratio",
            "retention_ratio": 0.5,
            "token_limits": {"post_instructions": 4},
        }
    ),
    *(
        realtime(audio={way: {"format": {"type": f"audio/{encoding}"}}})
        for way in ("input", "output")
        for encoding in ("pcm", "pcmu", "pcma")
    ),
    TRANSCRIBE_ONLY,
    {"type": "wrong"},
    realtime(max_output_tokens=0, instructions="never"),
]
SOUND = b64encode(bytes(4_800)).decode()
ITEMS = [
    user_says("x").item,
    given("system", type="input_text", text="be kind"),
    given("assistant", type="output_text", text="yes"),
    given("assistant", type="output_audio", transcript="yes"),
    given("user", type="input_audio", transcript="heard", audio=SOUND),
    given("user", type="input_audio", audio=SOUND),
    {"type": "function_call", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "sky"},
    {"type": "song"},
]
ITEMS_OF_TODAY = [
    given("user", type="input_image", image_url="data:image/png;base64,AAAA"),
    {"type": "mcp_approval_response", "approval_request_id": "a1", "approve": True},
]
"""What beta clients have no word for."""

RESPONSES: list[ev.Json | None] = [
    None,
    None,
    {"conversation": "none"},
    {"conversation": "none", "output_modalities": ["text"], "metadata": {"a": "b"}},
    {"input": []},
    {"input": [user_says("aside").item], "conversation": "none"},
    {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
    {"output_modalities": ["text"], "tools": [LOOK], "tool_choice": "none"},
    {"metadata": {"n": 1}},
]


class Session(RuleBasedStateMachine):
    """A client and a backend that do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.asked: set[str] = set()
        self.committed: list[str] = []
        self.own = 0
        self.utterance = 0

    @initialize(
        lead=st.sampled_from([0.0, 0.5, 2.0, float("inf")]),
        hears=st.booleans(),
        answers=st.sampled_from([True] * 7 + [False]),
        kind=st.sampled_from(["realtime"] * 7 + ["transcription"]),
        limit=st.sampled_from([KEPT_LIMIT, 30_000]),
        seconds=st.sampled_from([HOUR, HOUR, HOUR, 60.0]),
        dialect=st.sampled_from(["ga", "beta"]),
    )
    def begin(
        self,
        lead: float,
        hears: bool,
        answers: bool,
        kind: Kind,
        limit: int,
        seconds: float,
        dialect: Dialect,
    ) -> None:
        self.witness = Witness(dialect, confused=True)
        self.stage = Stage(
            Capabilities(transcripts=hears, responses=answers),
            lead=lead,
            config=initial(kind),
            audio_limit=limit,
            max_seconds=seconds,
            dialect=dialect,
        )

    def response_of(self, data: st.DataObject) -> str:
        """A response that the backend is making, most of the time; one that it has made or
        refused; or one that never was."""
        making = list(self.stage.engine._responses._under_way)
        made = ["nobody", *sorted(self.asked)][-4:]
        return str(data.draw(st.sampled_from([*making, *making, *making, *made])))

    def item_of(self, data: st.DataObject) -> str:
        items = [item.id for item in self.stage.engine.conversation]
        return str(data.draw(st.sampled_from(["none", *items][-6:])))

    # --- the client ---

    @rule(update=st.sampled_from(UPDATES))
    def update(self, update: dict[str, Any]) -> None:
        if self.stage.engine.config.type == "transcription":
            update = {**update, "type": "transcription"}
        elif update == TRANSCRIBE_ONLY and len(self.stage.engine.conversation) < 5:
            return  # most of a session comes to nothing after it
        self.stage.client(ev.SessionUpdate(update))

    @rule(seconds=st.sampled_from([0.02, 0.5, 1.0]))
    def append(self, seconds: float) -> None:
        self.stage.client(silence(seconds))

    @rule(event=st.sampled_from([ev.InputAudioBufferCommit(), ev.InputAudioBufferClear()]))
    def end_input(self, event: ev.ClientEvent) -> None:
        self.stage.client(event)

    @rule(
        data=st.data(),
        item=st.sampled_from([*ITEMS, *ITEMS_OF_TODAY]),
        place=st.sampled_from([None, None, "root", "after"]),
        item_id=st.sampled_from([{}, {}, {"id": "mine"}]),
    )
    def create_item(
        self, data: st.DataObject, item: ev.Json, place: str | None, item_id: dict[str, str]
    ) -> None:
        if item in ITEMS_OF_TODAY and self.stage.dialect == "beta":
            return
        previous = self.item_of(data) if place == "after" else place
        self.stage.client(ev.ConversationItemCreate({**item, **item_id}, previous))

    @rule(data=st.data(), ms=st.integers(-5, 1500), index=st.sampled_from([0, 0, 0, 1]))
    def truncate(self, data: st.DataObject, ms: int, index: int) -> None:
        self.stage.client(ev.ConversationItemTruncate(self.item_of(data), index, ms))

    @rule(data=st.data(), gone=st.booleans())
    def retrieve_or_delete(self, data: st.DataObject, gone: bool) -> None:
        item_id = self.item_of(data)
        if gone:
            self.stage.client(ev.ConversationItemDelete(item_id))
            return
        self.stage.client(ev.ConversationItemRetrieve(item_id))
        event = self.stage.said[-1]
        if isinstance(event, ev.ConversationItemRetrieved):
            recordings = self.stage.engine.conversation.recordings
            assert recordings.shown(event.item)["id"] == event.item["id"]

    @rule(response=st.sampled_from(RESPONSES))
    def ask(self, response: ev.Json | None) -> None:
        self.stage.client(user_says("x"), ev.ResponseCreate(response))

    @rule(response=st.sampled_from(RESPONSES))
    def respond(self, response: ev.Json | None) -> None:
        self.stage.client(ev.ResponseCreate(response))

    @rule(data=st.data(), aside=st.booleans())
    def respond_to_an_item(self, data: st.DataObject, aside: bool) -> None:
        reference = {"type": "item_reference", "id": self.item_of(data)}
        conversation = "none" if aside else "auto"
        self.stage.client(
            ev.ResponseCreate({"input": [reference], "conversation": conversation})
        )

    @rule(data=st.data(), named=st.booleans())
    def cancel(self, data: st.DataObject, named: bool) -> None:
        ids = ["resp_none", *self.witness.open]
        name = str(data.draw(st.sampled_from(ids))) if named else None
        self.stage.client(ev.ResponseCancel(name))

    # --- the backend ---

    @rule(which=UTTERANCES, ms=st.integers(0, 3000))
    def speech_starts(self, which: int, ms: int) -> None:
        self.stage.backend(SpeechStarted(f"u{self.utterance + which}", ms))
        self.utterance += which == 1

    @rule(which=UTTERANCES, ms=st.integers(0, 3000))
    def speech_stops(self, which: int, ms: int) -> None:
        self.stage.backend(SpeechStopped(f"u{self.utterance + which}", ms))

    @rule(
        data=st.data(), which=UTTERANCES, text=TEXTS, final=st.booleans(), named=st.booleans()
    )
    def hears(
        self, data: st.DataObject, which: int, text: str, final: bool, named: bool
    ) -> None:
        name = f"u{self.utterance + which}"
        item_id = self.item_of(data) if named else None
        failure = Failure("asr", "no") if final and not text else None
        logprobs = (Logprob(text, -0.5),) if final else None
        self.stage.backend(
            Transcript(name, text, final, item_id, failure=failure, logprobs=logprobs)
        )

    @rule(text=TEXTS)
    def hears_what_was_committed(self, text: str) -> None:
        if self.committed:
            item_id = self.committed.pop(0)
            self.stage.backend(Transcript(f"x_{item_id}", text, final=True, item_id=item_id))

    @rule(again=st.booleans())
    def opens(self, again: bool) -> None:
        self.own += not (again and self.own)
        self.asked.add(f"own{self.own}")
        self.stage.backend(ResponseOpened(f"own{self.own}"))

    @rule(data=st.data(), text=TEXTS)
    def says(self, data: st.DataObject, text: str) -> None:
        self.stage.backend(TextDelta(self.response_of(data), text))

    @rule(data=st.data(), text=TEXTS, seconds=st.sampled_from([0.0, 0.02, 0.3, 4.0, 70.0]))
    def speaks(self, data: st.DataObject, text: str, seconds: float) -> None:
        words = (Word("one", 0, 200), Word("two", 300, 500))
        self.stage.backend(speech(self.response_of(data), seconds, text, words))

    @rule(data=st.data(), call=CALLS, done=st.booleans(), arguments=st.sampled_from(["", "{}"]))
    def calls(self, data: st.DataObject, call: str, done: bool, arguments: str) -> None:
        kind = ToolCallDone if done else ToolCallDelta
        self.stage.backend(kind(self.response_of(data), call, "look", arguments))

    @rule(
        data=st.data(),
        status=st.sampled_from(["completed", "completed", "failed", "incomplete", "cancelled"]),
        reason=st.sampled_from([None, "max_output_tokens", "bored"]),
    )
    def finishes(self, data: st.DataObject, status: Any, reason: str | None) -> None:
        name = self.response_of(data)
        self.stage.backend(ResponseFinished(name, status, reason, Usage(5, 3, 2)))

    # --- both ---

    @rule(ms=st.integers(300, 900), understood=st.booleans())
    def take_a_turn(self, ms: int, understood: bool) -> None:
        self.utterance += 1
        name = f"u{self.utterance}"
        began = round(self.stage.engine._turns.ledger.clock_ms)
        self.stage.client(silence(1.0))
        self.stage.backend(SpeechStarted(name, began), SpeechStopped(name, began + ms))
        if understood:
            self.stage.backend(Transcript(name, "one two", final=True))

    @rule(data=st.data(), what=st.sampled_from([*["json", "scrap", "rate"] * 3, "lost"]))
    def go_wrong(self, data: st.DataObject, what: str) -> None:
        if what == "json":
            self.stage.reject(problems.invalid_json())
        elif what == "scrap":
            size = data.draw(st.sampled_from([0, 1, 3]))
            self.stage.client(ev.InputAudioBufferAppend(bytes(size)))
        elif what == "rate":
            delta = speech(self.response_of(data), 0.1)
            self.stage.backend(AudioDelta(delta.response_id, delta.samples, 1))
        else:
            self.stage.backend(BackendLost(Failure("gone", "It is gone.")))

    # --- time ---

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 2.0, 6.0, 12.0]))
    def waits(self, seconds: float) -> None:
        self.stage.at(self.stage.now + seconds)

    # --- what always holds ---

    @invariant()
    def a_strict_client_follows(self) -> None:
        if not hasattr(self, "stage"):
            return
        new, self.read = self.stage.shown[self.read :], len(self.stage.shown)
        for event in new:
            self.witness.read(event)
        assert self.witness.items == [item.id for item in self.stage.engine.conversation]

    @invariant()
    def what_is_kept_is_bounded_and_belongs_to_an_item(self) -> None:
        if not hasattr(self, "stage"):
            return
        conversation = self.stage.engine.conversation
        recordings = conversation.recordings
        assert recordings._size <= recordings.limit
        assert {item_id for item_id, _ in recordings._kept} <= set(self.witness.items)
        if self.stage.engine.config.type == "transcription":
            assert self.witness.open == {}

    @invariant()
    def the_backend_is_asked_sensibly(self) -> None:
        if not hasattr(self, "stage"):
            return
        for command in self.stage.asked:
            if isinstance(command, Respond):
                assert command.response_id not in self.asked, "asked twice"
                self.asked.add(command.response_id)
            elif isinstance(command, Cancel | Credit):
                assert command.response_id in self.asked, "about a response it knows nothing of"
            elif isinstance(command, Commit):
                self.committed.append(command.item_id)
        self.stage.asked.clear()

    @invariant()
    def an_end_is_the_end(self) -> None:
        if not hasattr(self, "stage"):
            return
        engine = self.stage.engine
        if engine._closed:
            assert self.witness.open == {}
            assert engine.deadline == float("inf")
            assert self.stage.shown[-1]["type"] == "error"
        self.a_step_is_over()

    def a_step_is_over(self) -> None:
        """For those who want to look."""

    def teardown(self) -> None:
        """All that is under way comes to its end, once nobody waits for the user any more."""
        if not hasattr(self, "stage"):
            return
        kind = self.stage.engine.config.type
        self.stage.client(ev.SessionUpdate({**LISTEN_BY_HAND, "type": kind}))
        for _ in range(3):
            self.stage.at(self.stage.now + 100)
            self.the_backend_is_asked_sensibly()
            self.stage.backend(*(ResponseFinished(name) for name in sorted(self.asked)))
        self.stage.at(self.stage.now + 100)
        self.a_strict_client_follows()
        self.witness.leave()
        # Only its own end is left to come.
        self.stage.at(self.stage.now + HOUR)
        self.a_strict_client_follows()
        assert self.stage.engine.deadline == float("inf")
        assert self.stage.shown[-1]["error"]["code"] in ("session_expired", "gone")


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=80, stateful_step_count=50)
