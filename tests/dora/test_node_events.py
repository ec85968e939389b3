"""What Dora says, and what it means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.support.dora_node import message

from trio_bridge.dora.contract import Speech
from trio_bridge.dora.node_events import (
    MESSAGE_BYTES,
    Notice,
    Ping,
    Stopped,
    read_event,
)
from trio_bridge.dora.outbox import ROWS_WAITING


def test_a_message_too_large_is_not_looked_at() -> None:
    large = pa.array(np.zeros(MESSAGE_BYTES // 8 + 1))
    notice = read_event({"type": "INPUT", "id": "speech", "value": large, "metadata": {}})
    assert isinstance(notice, Notice)
    assert "bytes" in notice.detail
    many = [Speech("s", "started", "u", 0)] * (ROWS_WAITING + 1)
    notice = read_event(message(many))
    assert isinstance(notice, Notice)
    assert "rows" in notice.detail


def test_text_that_is_not_utf_8_is_a_bad_message() -> None:
    offsets, text = pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")
    whose = pa.Array.from_buffers(pa.string(), 1, [None, offsets, text])
    rows = pa.StructArray.from_arrays([whose], ["session_id"])
    event = {"type": "INPUT", "id": "speech", "value": rows, "metadata": {}}
    assert isinstance(read_event(event), Notice)


@pytest.mark.parametrize(
    ("event", "meaning"),
    [
        (None, Stopped()),
        ({"type": "STOP", "id": "MANUAL"}, Stopped()),
        (
            {"type": "ERROR", "error": "fatal event stream error: daemon channel broken"},
            Stopped(),
        ),
        (
            message([], n="many"),
            Notice("BAD_MESSAGE", "speech", "invalid literal for int() with base 10: 'many'"),
        ),
        ({"type": "INPUT_CLOSED", "id": "speech"}, Notice("INPUT_CLOSED", "speech")),
        (
            {"type": "ERROR", "error": "it broke\n\nLocation: somewhere"},
            Notice("ERROR", "", "it broke"),
        ),
        (message([], "speech-2", n=4, ping="t"), Ping("speech-2", "t", 4)),
        (
            {**message([], "nonsense"), "value": pa.array([1])},
            Notice("BAD_MESSAGE", "nonsense", "an input that the contract does not know"),
        ),
        (
            {**message([]), "value": pa.array([1])},
            Notice("BAD_MESSAGE", "speech", "Speech: a struct array is expected, not int64"),
        ),
    ],
)
def test_dora_events_get_a_meaning(event: dict[str, Any] | None, meaning: object) -> None:
    assert read_event(event) == meaning
