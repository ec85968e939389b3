"""Keeps the contract until the text it is asked about is the name of a misdeed below. A misdeed
that nobody need notice is followed by a proper answer."""

import json
import math
import os
from collections.abc import Callable
from threading import Thread
from typing import Any

import pyarrow as pa
from dora import Node

HUGE = 6 * 2**20
"""Samples, as doubles: 48 MB. Dora carries no more than 64."""

node = Node()
received: dict[str, int] = {}
sent: dict[str, int] = {}
sessions: set[str] = set()


def send(output: str, rows: Any, **metadata: Any) -> None:
    sent[output] = sent.get(output, -1) + 1
    value = rows if isinstance(rows, pa.Array) else pa.array(rows)
    node.send_output(output, value, {"n": sent[output], **metadata})


def ack(port: str, **wrong: Any) -> None:
    row = {
        "node": "bad",
        "port": port,
        "received": received.get(port, -1),
        "lost": 0,
        "sessions": len(sessions),
        "pid": os.getpid(),
    }
    send("ack", [{**row, **wrong}])


Whose = dict[str, Any]
Misdeed = Callable[[Whose], None]


def audio(whose: Whose, **wrong: Any) -> None:
    row = {**whose, "seq": 0, "event": "audio", "samples": [0.1] * 320, "sample_rate": 16_000}
    send("answer", [{**row, **wrong}])


def pour(rows: pa.Array) -> None:
    """Send the same again and again, and go on reading meanwhile."""

    def run() -> None:
        while True:
            send("answer", rows)

    Thread(target=run, daemon=True).start()


def flood(whose: Whose) -> None:
    pour(pa.array([{**whose, "seq": 0, "event": "text", "text": "x"}]))


def huge(whose: Whose) -> None:
    samples = pa.ListArray.from_arrays([0, HUGE], pa.array([0.0]).take(pa.array([0] * HUGE)))
    names = ["session_id", "response_id", "seq", "event", "samples", "sample_rate"]
    values = [[whose["session_id"]], [whose["response_id"]], [0], ["audio"]]
    rows = pa.StructArray.from_arrays(
        [*map(pa.array, values), samples, pa.array([16_000])], names
    )
    pour(rows)


def endless_rows(whose: Whose) -> None:
    rows = [{**whose, "seq": seq, "event": "text", "text": "x"} for seq in range(10_000)]
    send("answer", rows)


def not_utf8(whose: Whose) -> None:
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
    )
    names = ["session_id", "response_id", "seq", "event", "text"]
    values = [[whose["session_id"]], [whose["response_id"]], [0], ["text"]]
    send("answer", pa.StructArray.from_arrays([*map(pa.array, values), text], names))


def speech(whose: Whose, **row: Any) -> None:
    send("speech", [{"session_id": whose["session_id"], "utterance_id": "u", **row}])


def many(whose: Whose) -> None:
    for _ in range(200):
        audio(whose, event="sing")


MISDEEDS: dict[str, Misdeed] = {
    "flood": flood,
    "huge": huge,
    "rows": endless_rows,
    "not utf-8": not_utf8,
    "unknown kind": lambda whose: audio(whose, event="sing"),
    "unknown kinds": many,
    "wrong type": lambda whose: audio(whose, samples="la la la"),
    "no struct": lambda _: send("answer", [1, 2, 3]),
    "nan": lambda whose: audio(whose, samples=[0.1, math.nan, 0.1]),
    "no rate": lambda whose: audio(whose, sample_rate=0),
    "giant rate": lambda whose: audio(whose, sample_rate=10**9),
    "bad usage": lambda whose: send(
        "answer",
        [{**whose, "seq": 0, "event": "done", "usage": '{"input_tokens": []}'}],
    ),
    "seq": lambda whose: audio(whose, seq=2**40),
    "gap": lambda whose: audio(whose, seq=7),
    "numbers": lambda _: sent.update(answer=2**40),
    "no number": lambda _: send("answer", [], n="many"),
    "session": lambda whose: audio({**whose, "session_id": "somebody"}),
    "ack": lambda _: ack("listen", pid=os.getppid(), received=2**60, lost=2**60, sessions=-1),
    "moment": lambda whose: speech(whose, event="started", audio_ms=-(2**60)),
    "speech type": lambda whose: send("speech", [{"session_id": 1}]),
}


def answer(whose: Whose) -> None:
    spoken = {"text": "Well.", "samples": [0.1] * 1600, "sample_rate": 16_000}
    send("answer", [{**whose, "seq": 0, "event": "audio", **spoken}])
    send("answer", [{**whose, "seq": 1, "event": "done", "status": "completed"}])


for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT":
        continue
    if event["id"] == "tick":
        ack("")
        continue
    received[event["id"]] = event["metadata"]["n"]
    ack(event["id"])
    if "ping" in event["metadata"]:
        for output in ("answer", "speech", "transcript"):
            send(output, [], ping=event["metadata"]["ping"])
        continue
    for row in event["value"].to_pylist():
        if event["id"] == "listen":
            if row["op"] == "open":
                sessions.add(row["session_id"])
            elif row["op"] == "close":
                sessions.discard(row["session_id"])
        elif event["id"] == "request":
            whose = {"session_id": row["session_id"], "response_id": row["response_id"]}
            asked = json.loads(row["data"])["items"][-1]["content"][0].get("text", "")
            if asked in MISDEEDS:
                MISDEEDS[asked](whose)
            answer(whose)
