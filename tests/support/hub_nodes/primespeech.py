"""Speaks 0.1 s a word at 32 kHz, as a list in a list. Sentences without a letter are skipped,
which it tells twice. It never stops before it is through."""

import time

import numpy as np
import pyarrow as pa
from dora import Node

RATE = 32_000

node = Node()
for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT" or event["id"] != "text":
        continue
    text = event["value"][0].as_py()
    passed = {
        k: v for k, v in event["metadata"].items() if k in {"question_id", "session_status"}
    }
    if not any(character.isalpha() for character in text):
        node.send_output("segment_complete", pa.array(["skipped"]), passed)
        node.send_output("segment_complete", pa.array(["empty"]), passed)
        continue
    if "Boom" in text:
        error = {"error": "CUDA out of memory", "error_stage": "synthesis"}
        node.send_output("segment_complete", pa.array(["error"]), {**passed, **error})
        continue
    time.sleep(0.05)
    seconds = 0.1 * len(text.split())
    samples = (np.sin(np.arange(int(seconds * RATE)) / 10) / 4).astype(np.float32)
    node.send_output(
        "audio",
        pa.array([samples], type=pa.list_(pa.float32())),
        {**passed, "sample_rate": RATE, "duration": seconds},
    )
    node.send_output("segment_complete", pa.array(["completed"]), passed)
