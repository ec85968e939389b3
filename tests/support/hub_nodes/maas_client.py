"""Answers by the words of the question. Deaf while it streams: a cancel is read afterwards.
Its numbers of segments are texts, and it tells of no question."""

import time

import pyarrow as pa
from dora import Node

ANSWERS = {
    "hello": ["Hello", " there. How", " are you?"],
    "skip": ["One. ", "--. ", "Two."],
    "error": ["Boom."],
    "half": ["Fine. ", "Boom."],
    "nothing": [],
    "stream": [f"Sentence {number}. " for number in range(30)],
    "unfinished": ["That is all."],
    "dots": ["--."],
}

node = Node()
for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT" or event["id"] != "text":
        continue
    question = event["value"][0].as_py().lower()
    kind = next((kind for kind in ANSWERS if kind in question), "hello")
    own = {"session_id": event["metadata"]["session_id"]}
    plain = kind == "unfinished"
    for index, piece in enumerate(ANSWERS[kind]):
        status = {} if plain else {"session_status": "started" if index == 0 else "ongoing"}
        node.send_output(
            "text", pa.array([piece]), {**own, **status, "segment_index": str(index)}
        )
        time.sleep(0.02)
    if not plain:
        node.send_output(
            "text",
            pa.array([""]),
            {**own, "session_status": "ended", "segment_index": str(len(ANSWERS[kind]))},
        )
