"""One sentence at a time, waiting until it is spoken; trims; may end with an empty one."""

import re
from collections import deque
from typing import Any

import pyarrow as pa
from dora import Node

node = Node()
queue: deque[tuple[str, dict[str, Any]]] = deque()
buffer = ""
busy = False


def give() -> None:
    global busy  # noqa: PLW0603
    if queue and not busy:
        text, metadata = queue.popleft()
        busy = bool(text)
        node.send_output("text_segment", pa.array([text]), metadata)


for event in node:
    if event["type"] == "STOP":
        break
    if event["type"] != "INPUT":
        continue
    if event["id"] == "reset":
        queue.clear()
        buffer, busy = "", False
    elif event["id"] == "tts_complete":
        busy = False
    elif event["id"] == "text":
        passed = {
            k: v for k, v in event["metadata"].items() if k in {"question_id", "session_status"}
        }
        buffer += event["value"][0].as_py()
        while (match := re.search(r"[.?!]+\s*", buffer)) is not None:
            sentence, buffer = buffer[: match.end()].strip(), buffer[match.end() :]
            queue.append((sentence, {**passed, "session_status": "ongoing"}))
        if passed.get("session_status") == "ended":
            queue.append((buffer.strip(), passed))
            buffer = ""
    give()
