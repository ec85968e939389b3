"""A client that believes nothing: it reads every event and objects to what does not fit.

What it holds to: each response, item and transcript is told in the order of the grammar; an id
means one thing; nothing is said of a response that is over or of an item that was not added;
an item comes after the one that it says it does; what was told piece by piece is what is told
as a whole; at most one response of the conversation is active.
"""

from __future__ import annotations

import base64
from typing import Any

from attrs import define, field
from tests.conformance.grammar import Reading
from tests.conformance.phrasebook import ga_name

from trio_bridge.realtime.events import Json
from trio_bridge.realtime.wire import Dialect


@define
class Output:
    """An output item of a response."""

    item: Json
    response_id: str
    index: int
    reading: Reading
    kept: bool
    said: str = ""
    arguments: str | None = None
    over: bool = False


@define
class Answer:
    """A response."""

    created: Json
    reading: Reading
    outputs: list[Output] = field(factory=list)

    @property
    def kept(self) -> bool:
        """It belongs to the conversation."""
        return self.created["conversation_id"] is not None


@define
class Heard:
    """A transcript of the user's speech."""

    reading: Reading
    text: str = ""


@define
class Witness:
    """Reads one session, event by event.

    Args:
        dialect: What is spoken.
        confused: The backend may tell something else piece by piece than as a whole, where
            pieces cannot be taken back.

    Attributes:
        items: The conversation's items, in order.
        open: The responses that are not done.
    """

    dialect: Dialect = "ga"
    confused: bool = False
    items: list[str] = field(factory=list, init=False)
    open: dict[str, Answer] = field(factory=dict, init=False)
    _event_ids: set[str] = field(factory=set, init=False)
    _answers: set[str] = field(factory=set, init=False)
    _outputs: dict[str, Output] = field(factory=dict, init=False)
    _turns: dict[str, Reading] = field(factory=dict, init=False)
    _heard: dict[str, Heard] = field(factory=dict, init=False)
    _cut: set[str] = field(factory=set, init=False)
    _kind: str = field(default="", init=False)
    _session: Json | None = field(default=None, init=False)
    _ending: Reading | None = field(default=None, init=False)

    def read(self, event: Json) -> None:
        """Take the next event."""
        assert event["event_id"] not in self._event_ids, "an event id was given twice"
        self._event_ids.add(event["event_id"])
        kind = ga_name(event["type"])
        assert (kind == "session.created") == (self._session is None), "not the first event"
        if self._ending is not None:
            self._ending.read(event["type"])
            assert self._ending.complete
            self._ending = None
        elif kind.startswith("session."):
            self._read_session(event["type"], event["session"])
        elif kind.startswith("input_audio_buffer."):
            self._read_input(kind, event)
        elif kind.startswith("conversation.item.input_audio_transcription."):
            self._read_transcript(kind, event)
        elif kind.startswith("conversation.item."):
            self._read_item(kind, event)
        elif kind in ("response.created", "response.done"):
            self._read_response(kind, event)
        elif kind.startswith("response."):
            self._read_output(kind, event)
        else:
            assert kind == "error", f"{kind} belongs to nothing"

    def leave(self) -> None:
        """The session is over: nothing may be left open."""
        assert not self.open, f"responses without an end: {sorted(self.open)}"
        assert self._ending is None, "no rate limits after a response"
        for item_id, reading in self._turns.items():
            # What was being said, and never became an item, need not end.
            assert reading.complete or item_id not in self.items, f"{item_id} is not done"

    # --- session and input -----------------------------------------------------------------

    def _read_session(self, event_type: str, session: Json) -> None:
        # Beta tells the kinds of session apart by the event alone.
        kind = session.get("type", event_type.split(".", maxsplit=1)[0])
        if kind == self._kind and self._session is not None:
            lost = self._session.keys() - session.keys()
            assert not lost, f"the session does not show {sorted(lost)} any more"
            assert session["id"] == self._session["id"]
        self._kind, self._session = kind, session

    def _read_input(self, kind: str, event: Json) -> None:
        if kind == "input_audio_buffer.cleared":
            return
        item_id = event["item_id"]
        assert item_id not in self.items, "a turn of an item that is there already"
        if item_id not in self._turns:
            self._turns[item_id] = Reading("turn", self.dialect)
        self._turns[item_id].read(event["type"])
        if kind == "input_audio_buffer.committed":
            last = self.items[-1] if self.items else None
            assert event["previous_item_id"] == last

    def _read_transcript(self, kind: str, event: Json) -> None:
        item_id = event["item_id"]
        assert item_id in self.items, "a transcript of an item that is not there"
        if item_id not in self._heard:
            self._heard[item_id] = Heard(Reading("transcript", self.dialect))
        heard = self._heard[item_id]
        heard.reading.read(event["type"])
        if kind.endswith(".delta"):
            heard.text += event["delta"]
        elif kind.endswith(".completed"):
            self._compare(heard.text, event["transcript"])

    # --- the conversation ------------------------------------------------------------------

    def _read_item(self, kind: str, event: Json) -> None:
        match kind.removeprefix("conversation.item."):
            case "added":
                item_id = event["item"]["id"]
                assert item_id not in self.items, "an item was added twice"
                self._insert(item_id, event["previous_item_id"])
                self._thread_of(item_id).read(event["type"])
            case "done":
                item_id = event["item"]["id"]
                index = self.items.index(item_id)
                before = self.items[index - 1] if index else None
                assert event["previous_item_id"] == before
                self._thread_of(item_id).read(event["type"])
            case "retrieved":
                assert event["item"]["id"] in self.items
            case "truncated":
                assert event["item_id"] in self.items
                self._cut.add(event["item_id"])
            case "deleted":
                self.items.remove(event["item_id"])
                self._turns.pop(event["item_id"], None)
                self._heard.pop(event["item_id"], None)
                self._cut.discard(event["item_id"])
            case other:
                raise AssertionError(f"nothing known of an item that is {other}")

    def _insert(self, item_id: str, previous: str | None) -> None:
        self.items.insert(0 if previous is None else self.items.index(previous) + 1, item_id)

    def _thread_of(self, item_id: str) -> Reading:
        if item_id in self._outputs:
            return self._outputs[item_id].reading
        if item_id not in self._turns:
            self._turns[item_id] = Reading("given", self.dialect)
        return self._turns[item_id]

    # --- responses -------------------------------------------------------------------------

    def _read_response(self, kind: str, event: Json) -> None:
        response = event["response"]
        if kind == "response.created":
            assert response["id"] not in self._answers, "a response was created twice"
            assert (response["status"], response["output"]) == ("in_progress", [])
            self._answers.add(response["id"])
            self.open[response["id"]] = Answer(response, Reading("response", self.dialect))
            assert sum(each.kept for each in self.open.values()) <= 1, "two active responses"
            self.open[response["id"]].reading.read(event["type"])
            return
        answer = self._answer(response["id"])
        answer.reading.read(event["type"])
        self._ending = answer.reading
        del self.open[response["id"]]
        for key in ("conversation_id", "metadata"):
            assert response[key] == answer.created[key]
        assert all(each.over for each in answer.outputs), "an item is left open"
        assert response["output"] == [each.item for each in answer.outputs]
        details = response["status_details"]
        assert (details and details["type"]) == (
            None if response["status"] == "completed" else response["status"]
        )
        usage = response["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    def _answer(self, response_id: str) -> Answer:
        assert response_id in self.open, f"{response_id} is over, or never began"
        return self.open[response_id]

    def _read_output(self, kind: str, event: Json) -> None:
        answer = self._answer(event["response_id"])
        if kind == "response.output_item.added":
            answer.reading.read(event["type"])
            self._open_output(answer, event)
            return
        output = self._outputs[event.get("item_id") or event["item"]["id"]]
        assert output.response_id == event["response_id"]
        assert output.index == event["output_index"]
        assert event.get("content_index", 0) == 0
        if kind == "response.output_item.done":
            answer.reading.read(event["type"])
            self._close_output(output, event)
            return
        output.reading.read(event["type"])
        self._read_content(kind, output, event)

    def _open_output(self, answer: Answer, event: Json) -> None:
        item = event["item"]
        assert item["id"] not in self._outputs
        assert item["id"] not in self.items
        assert event["output_index"] == len(answer.outputs)
        if item["type"] == "message":
            rule = "message"
            assert item["content"] == []
        else:
            rule = "call"
            assert item["arguments"] == ""
        assert item["status"] == "in_progress"
        reading = Reading(rule if answer.kept else f"{rule}_aside", self.dialect)
        output = Output(item, event["response_id"], event["output_index"], reading, answer.kept)
        reading.read(event["type"])
        answer.outputs.append(output)
        self._outputs[item["id"]] = output

    def _close_output(self, output: Output, event: Json) -> None:
        item = event["item"]
        if output.kept and item["id"] not in self.items and self.dialect == "ga":
            # The client has deleted it: the conversation has nothing more to say of it.
            output.reading.read("conversation.item.done")
        output.reading.read(event["type"])
        assert output.reading.complete
        output.over, output.item = True, item
        if item["type"] == "function_call":
            assert item["arguments"] == output.said
            assert (item["status"] == "completed") == (output.arguments is not None)
        else:
            said = _spoken(item["content"][0])
            assert output.said == said or (
                item["id"] in self._cut and output.said.startswith(said)
            ), "an item does not say what was told of it"

    def _read_content(self, kind: str, output: Output, event: Json) -> None:
        match kind.removeprefix("response."):
            case "content_part.added":
                assert _spoken(event["part"]) == ""
            case "content_part.done":
                assert _spoken(event["part"]) == output.said
            case "output_audio.delta":
                assert base64.b64decode(event["delta"], validate=True), "no audio in it"
            case "output_text.delta" | "output_audio_transcript.delta":
                output.said += event["delta"]
            case "output_text.done":
                assert event["text"] == output.said
            case "output_audio_transcript.done":
                assert event["transcript"] == output.said
            case "function_call_arguments.delta":
                output.said += event["delta"]
                assert event["call_id"] == output.item["call_id"]
            case "function_call_arguments.done":
                assert event["call_id"] == output.item["call_id"]
                self._compare(output.said, event["arguments"])
                output.said = output.arguments = event["arguments"]

    def _compare(self, told: str, whole: str) -> None:
        if not self.confused or whole.startswith(told):
            assert told == whole


def _spoken(part: dict[str, Any]) -> str:
    said: str = part["transcript"] if "transcript" in part else part["text"]
    return said
