"""Speech by loudness; segments as Float64; the times it tells are unix times."""

import random
import time

import numpy as np
import pyarrow as pa
from dora import Node

RATE = 16_000
SPEECH_END = 0.3
QUESTION_END = 0.6

node = Node()
segment: list[np.ndarray] = []
quiet = 0.0
asking = False
question = random.randint(100_000, 999_999)  # noqa: S311

for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT" or event["id"] != "audio":
        continue
    samples = event["value"].to_numpy()
    loud = float(np.abs(samples).max(initial=0)) > 0.01
    node.send_output("speech_probability", pa.array([0.9 if loud else 0.1]), {})
    if loud:
        if not segment:
            node.send_output(
                "speech_started", pa.array([time.time()]), {"question_id": question}
            )
        segment.append(samples)
        quiet, asking = 0.0, True
        continue
    quiet += len(samples) / RATE
    metadata = {"question_id": question, "sample_rate": RATE}
    if segment and quiet >= SPEECH_END:
        whole = np.concatenate(segment).astype(np.float64)
        segment.clear()
        node.send_output("audio_segment", pa.array(whole), metadata)
        node.send_output("speech_ended", pa.array([time.time()]), {"question_id": question})
    if asking and quiet >= QUESTION_END:
        asking = False
        node.send_output("question_ended", pa.array([time.time()]), metadata)
        question = random.randint(100_000, 999_999)  # noqa: S311
