"""Whatever client and backend do, in whatever order: what always holds."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.stage import LISTEN_BY_HAND, TRANSCRIBE, Stage, silence, speech, user_says

from trio_bridge.messages import (
    Cancel,
    Capabilities,
    Credit,
    Failure,
    Respond,
    ResponseFinished,
    ResponseOpened,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Transcript,
    Word,
)
from trio_bridge.realtime import events as ev

UTTERANCES = st.sampled_from(["u1", "u2", "u3", "u4"])
CALLS = st.sampled_from(["c1", "c2"])
TEXTS = st.sampled_from(["", "a", "one two", "one two three"])


def detecting(**turn_detection: Any) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}


UPDATES = [
    LISTEN_BY_HAND,
    TRANSCRIBE,
    detecting(type="server_vad"),
    detecting(type="semantic_vad", interrupt_response=False),
    {"type": "realtime", "output_modalities": ["text"]},
    {"type": "realtime", "output_modalities": ["audio"]},
    {"type": "wrong"},
]
PARTS = (
    ev.ResponseContentPartDone
    | ev.ResponseOutputTextDelta
    | ev.ResponseOutputTextDone
    | ev.ResponseOutputAudioTranscriptDelta
    | ev.ResponseOutputAudioTranscriptDone
    | ev.ResponseOutputAudioSamples
    | ev.ResponseOutputAudioDone
)
CALL_PARTS = ev.ResponseFunctionCallArgumentsDelta | ev.ResponseFunctionCallArgumentsDone
INPUT_DONE = (
    ev.ConversationItemInputAudioTranscriptionDelta
    | ev.ConversationItemInputAudioTranscriptionCompleted
    | ev.ConversationItemInputAudioTranscriptionFailed
)


class Witness:
    """Reads the events as a strict client would, and objects."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.open_responses: dict[str, bool] = {}
        self.all_responses: set[str] = set()
        self.open_items: dict[str, str] = {}
        self.open_parts: set[str] = set()
        self.told: dict[str, str] = {}

    def read(self, event: ev.ServerEvent) -> None:
        match event:
            case ev.ResponseCreated(response=response):
                assert response["id"] not in self.all_responses
                self.all_responses.add(response["id"])
                self.open_responses[response["id"]] = response["conversation_id"] is not None
                assert sum(self.open_responses.values()) <= 1, "two active responses"
            case ev.ResponseDone(response=response):
                assert response["id"] in self.open_responses, "done twice, or never created"
                del self.open_responses[response["id"]]
                assert response["id"] not in self.open_items.values(), "an item is left open"
                for item in response["output"]:
                    assert item["status"] in ("completed", "incomplete")
            case ev.ConversationItemAdded(item=item, previous_item_id=previous):
                assert item["id"] not in self.known, "added twice"
                assert previous is None or previous in self.known
                self.known.add(item["id"])
            case ev.ConversationItemDone(item=item):
                assert item["id"] in self.known
            case ev.ConversationItemDeleted(item_id=item_id):
                self.known.remove(item_id)
            case ev.ConversationItemTruncated(item_id=item_id):
                assert item_id in self.known
            case ev.ResponseOutputItemAdded():
                assert event.response_id in self.open_responses
                self.open_items[event.item["id"]] = event.response_id
            case ev.ResponseOutputItemDone():
                assert self.open_items.pop(event.item["id"]) == event.response_id
                assert event.item["id"] not in self.open_parts, "a part is left open"
            case ev.ResponseContentPartAdded():
                assert self.open_items[event.item_id] == event.response_id
                self.open_parts.add(event.item_id)
                self.told[event.item_id] = ""
            case _:
                self.read_content(event)

    def read_content(self, event: ev.ServerEvent) -> None:
        if isinstance(event, INPUT_DONE):
            assert event.item_id in self.known
        if isinstance(event, PARTS):
            assert self.open_items[event.item_id] == event.response_id
            assert event.item_id in self.open_parts
        if isinstance(event, CALL_PARTS):
            assert self.open_items[event.item_id] == event.response_id
        match event:
            case ev.ResponseOutputTextDelta() | ev.ResponseOutputAudioTranscriptDelta():
                self.told[event.item_id] += event.delta
            case ev.ResponseOutputTextDone():
                assert event.text == self.told[event.item_id]
            case ev.ResponseOutputAudioTranscriptDone():
                assert event.transcript == self.told[event.item_id]
            case ev.ResponseContentPartDone():
                self.open_parts.remove(event.item_id)


class Session(RuleBasedStateMachine):
    """A client and a backend that do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.witness = Witness()
        self.read = 0
        self.asked: set[str] = set()
        self.own = 0

    @initialize(lead=st.sampled_from([0.0, 0.5, 2.0, float("inf")]), hears=st.booleans())
    def begin(self, lead: float, hears: bool) -> None:
        self.stage = Stage(Capabilities(transcripts=hears), lead=lead)

    def name_of(self, data: st.DataObject) -> str:
        return str(data.draw(st.sampled_from(["nobody", *sorted(self.asked)][-4:])))

    def item_of(self, data: st.DataObject) -> str:
        items = [item.id for item in self.stage.engine.conversation]
        return str(data.draw(st.sampled_from(["none", *items][-5:])))

    # --- the client ---

    @rule(update=st.sampled_from(UPDATES))
    def update(self, update: dict[str, Any]) -> None:
        self.stage.client(ev.SessionUpdate(update))

    @rule(seconds=st.sampled_from([0.02, 0.5, 1.0]))
    def append(self, seconds: float) -> None:
        self.stage.client(silence(seconds))

    @rule(event=st.sampled_from([ev.InputAudioBufferCommit(), ev.InputAudioBufferClear()]))
    def end_input(self, event: ev.ClientEvent) -> None:
        self.stage.client(event)

    @rule(
        after=st.sampled_from([None, "root", "mine"]),
        item_id=st.sampled_from([{}, {"id": "mine"}]),
    )
    def create_item(self, after: str | None, item_id: dict[str, str]) -> None:
        self.stage.client(ev.ConversationItemCreate(user_says("x", **item_id).item, after))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self.stage.client(ev.ConversationItemDelete(self.item_of(data)))

    @rule(data=st.data(), ms=st.integers(-5, 1500))
    def truncate(self, data: st.DataObject, ms: int) -> None:
        self.stage.client(ev.ConversationItemTruncate(self.item_of(data), 0, ms))

    @rule(response=st.sampled_from([None, None, {"conversation": "none"}, {"input": []}]))
    def respond(self, response: dict[str, Any] | None) -> None:
        self.stage.client(ev.ResponseCreate(response))

    @rule()
    def cancel(self) -> None:
        self.stage.client(ev.ResponseCancel())

    # --- the backend ---

    @rule(name=UTTERANCES, ms=st.integers(0, 3000))
    def speech_starts(self, name: str, ms: int) -> None:
        self.stage.backend(SpeechStarted(name, ms))

    @rule(name=UTTERANCES, ms=st.integers(0, 3000))
    def speech_stops(self, name: str, ms: int) -> None:
        self.stage.backend(SpeechStopped(name, ms))

    @rule(data=st.data(), name=UTTERANCES, text=TEXTS, final=st.booleans(), named=st.booleans())
    def hears(
        self, data: st.DataObject, name: str, text: str, final: bool, named: bool
    ) -> None:
        item_id = self.item_of(data) if named else None
        failure = Failure("asr", "no") if final and not text else None
        self.stage.backend(Transcript(name, text, final, item_id, failure=failure))

    @rule()
    def opens(self) -> None:
        self.own += 1
        self.asked.add(f"own{self.own}")
        self.stage.backend(ResponseOpened(f"own{self.own}"))

    @rule(data=st.data(), text=TEXTS)
    def says(self, data: st.DataObject, text: str) -> None:
        self.stage.backend(TextDelta(self.name_of(data), text))

    @rule(data=st.data(), text=TEXTS, seconds=st.sampled_from([0.0, 0.02, 0.3, 4.0, 70.0]))
    def speaks(self, data: st.DataObject, text: str, seconds: float) -> None:
        words = (Word("one", 0, 200), Word("two", 300, 500))
        self.stage.backend(speech(self.name_of(data), seconds, text, words))

    @rule(data=st.data(), call=CALLS, done=st.booleans())
    def calls(self, data: st.DataObject, call: str, done: bool) -> None:
        kind = ToolCallDone if done else ToolCallDelta
        self.stage.backend(kind(self.name_of(data), call, "look", "{}"))

    @rule(data=st.data(), status=st.sampled_from(["completed", "failed", "incomplete"]))
    def finishes(self, data: st.DataObject, status: Any) -> None:
        self.stage.backend(ResponseFinished(self.name_of(data), status))

    # --- time ---

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 2.0, 12.0]))
    def waits(self, seconds: float) -> None:
        self.stage.at(self.stage.now + seconds)

    # --- what always holds ---

    @invariant()
    def a_strict_client_follows(self) -> None:
        if not hasattr(self, "stage"):
            return
        for event in self.stage.said[self.read :]:
            self.witness.read(event)
        self.read = len(self.stage.said)
        assert self.witness.known == {item.id for item in self.stage.engine.conversation}

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
        self.stage.asked.clear()

    def teardown(self) -> None:
        """All that is under way comes to its end."""
        if not hasattr(self, "stage"):
            return
        for _ in range(3):
            self.stage.at(self.stage.now + 100)
            self.the_backend_is_asked_sensibly()
            self.stage.backend(*(ResponseFinished(name) for name in sorted(self.asked)))
        self.stage.at(self.stage.now + 100)
        self.a_strict_client_follows()
        assert self.witness.open_responses == {}
        assert self.stage.engine.deadline == float("inf")


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
