"""A session's line, and rows from nodes that are not as they must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.contract import Answer, Cancel, Row, Speech, Transcript
from trio_bridge.dora.instances.link import MOST_MISSING, SessionLink
from trio_bridge.messages import (
    BackendEvent,
    BackendLost,
    Respond,
    ResponseFinished,
    ResponseRequest,
    TextDelta,
)
from trio_bridge.messages import Transcript as TranscriptEvent


class Line:
    """A link, what it sent to the nodes, and what it told the session."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Row]] = []
        ports = ("listen", "request", "cancel")
        self.link = SessionLink("s", ports, lambda port, row: self.rows.append((port, row)))
        self.link.send(Respond("r", ResponseRequest(())))
        self.rows.clear()

    def told(self) -> list[BackendEvent]:
        events: list[BackendEvent] = []
        try:
            while True:
                events.append(self.link.events.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return events


def text(seq: int) -> Answer:
    return Answer("s", "r", seq, "text", text="x")


SAMPLES = np.zeros(10, np.float32)
NAN = np.full(10, math.nan, np.float32)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "audio"},
        {"event": "audio", "samples": SAMPLES, "sample_rate": 0},
        {"event": "audio", "samples": SAMPLES, "sample_rate": -1},
        {"event": "audio", "samples": NAN, "sample_rate": 16_000},
        {"event": "audio", "samples": SAMPLES, "sample_rate": 16_000, "words": "{"},
        {"event": "tool_done", "call_id": "c"},
        {"event": "done", "status": "splendid"},
        {"event": "done", "usage": "[]"},
        {"event": "done", "usage": '{"input_tokens": []}'},
    ],
)
async def test_a_bad_answer_fails_its_response(wrong: dict[str, Any]) -> None:
    """At once, in words, and the nodes need not go on."""
    line = Line()
    with pytest.raises(ValueError, match="Answer"):
        line.link.receive(Answer("s", "r", 0, **wrong))
    (event,) = line.told()
    assert isinstance(event, ResponseFinished)
    assert event.status == "failed"
    assert event.failure is not None
    assert event.failure.code == "node_broke_contract"
    assert line.rows == [("cancel", Cancel("s", "r"))]
    # Once: what still comes for it is nobody's.
    line.link.fail_responses("it was lost")
    assert line.told() == []


async def test_a_bad_transcript_fails_its_utterance() -> None:
    line = Line()
    with pytest.raises(ValueError, match="Transcript"):
        line.link.receive(Transcript("s", "u", "final", "hello", wait_ms=math.nan))
    (event,) = line.told()
    assert isinstance(event, TranscriptEvent)
    assert event.final
    assert event.failure is not None


@pytest.mark.parametrize("audio_ms", [-1, 2**62])
async def test_a_monitor_that_is_out_of_its_mind_ends_the_session(audio_ms: int) -> None:
    line = Line()
    with pytest.raises(ValueError, match="Speech"):
        line.link.receive(Speech("s", "started", "u", audio_ms))
    (event,) = line.told()
    assert isinstance(event, BackendLost)


async def test_a_row_of_unknown_kind_is_dropped() -> None:
    line = Line()
    with pytest.raises(ValueError, match="no event"):
        line.link.receive(Answer("s", "r", 0, "sing"))
    assert line.told() == []


async def test_rows_that_are_missing_are_told() -> None:
    line = Line()
    assert [line.link.receive(text(seq)) for seq in (0, 1, 4, 5, 5, 6)] == [0, 0, 2, 0, 0, 0]
    assert len(line.told()) == 6
    line.link.receive(Answer("s", "elsewhere", 9, "text", text="x"))


async def test_a_number_that_cannot_be_is_no_loss() -> None:
    line = Line()
    with pytest.raises(ValueError, match="seq"):
        line.link.receive(text(MOST_MISSING + 1))
    line.link.receive(text(MOST_MISSING + 2))
    assert line.told() == [TextDelta("r", "x")]


ANYTHING: dict[str, st.SearchStrategy[Any]] = {
    "event": st.sampled_from(["open", "text", "audio", "tool_delta", "tool_done", "done", "?"]),
    "seq": st.integers(-(2**63), 2**63 - 1),
    "samples": st.sampled_from([None, SAMPLES, NAN]),
    "sample_rate": st.none() | st.integers(-(2**63), 2**63 - 1),
    "text": st.none() | st.text(),
    "words": st.none() | st.text() | st.sampled_from(["[[1]]", "{}", "[null]", "1e999"]),
    "call_id": st.none() | st.text(),
    "name": st.none() | st.text(),
    "arguments": st.none() | st.text(),
    "status": st.none() | st.text() | st.just("failed"),
    "usage": st.none()
    | st.sampled_from(['{"input_tokens": null}', '{"output_tokens": 1e999}']),
}


@given(rows=st.lists(st.fixed_dictionaries(ANYTHING), max_size=10))
async def test_no_row_does_more_than_be_refused(rows: list[dict[str, Any]]) -> None:
    line = Line()
    for row in rows:
        try:
            assert line.link.receive(Answer("s", "r", **row)) >= 0
        except ValueError:
            continue
