"""What it understands depends on how loud it is: nothing, an exception, or words. Where it
understands nothing it sends nothing."""

import numpy as np
import pyarrow as pa
from dora import Node

node = Node()
for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT" or event["id"] != "audio":
        continue
    loudness = float(np.abs(event["value"].to_numpy()).max(initial=0))
    metadata = {
        k: v for k, v in event["metadata"].items() if k in {"question_id", "sample_rate"}
    }
    if loudness < 0.15:
        continue
    if loudness < 0.25:
        node.send_output(
            "transcription", pa.array([""]), {**metadata, "error": "out of memory"}
        )
        continue
    node.send_output(
        "transcription", pa.array(["Say hello."]), {**metadata, "session_status": "ended"}
    )
