"""A recogniser in a process of its own; see `worker_process.worker_command`.

It reads orders from its standard input and writes replies, one JSON object a line, to its
standard output. An order is a header of one letter and a length, then that many bytes:

| letter | payload                          | reply                                           |
|--------|----------------------------------|-------------------------------------------------|
| `B`    | JSON: the utterance's `settings` |                                                 |
| `A`    | PCM16, 16 kHz                    | perhaps `{"partial": text}`                     |
| `E`    |                                  | `{"final": text}`, perhaps with `"logprobs"`     |
| `D`    |                                  | `{"dropped": true}`                             |

Its first line is `{"ready": true}`, or `{"failed": why}` if the engine does not start. It ends
when its input ends, and with its parent.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from typing import Any, BinaryIO, Final

from trio_bridge.dora.runtimes.parent_death import die_with_parent
from trio_bridge.nodes.recognition import Recogniser, open_recogniser

HEADER: Final = struct.Struct("<cI")

BEGIN, AUDIO, END, DROP = b"B", b"A", b"E", b"D"

PARTIAL_EVERY: Final = 0.3
"""Seconds between partial transcripts: reading them costs a walk through the search."""

REASON_MOST: Final = 500
"""Characters of a `reason`."""


def order(letter: bytes, payload: bytes = b"") -> bytes:
    """An order as it travels."""
    return HEADER.pack(letter, len(payload)) + payload


def serve(recogniser: Recogniser, orders: BinaryIO, replies: BinaryIO) -> None:
    """Carry out orders until they end."""

    def reply(**fields: Any) -> None:
        _reply(replies, **fields)

    reply(ready=True)
    said, due = "", 0.0
    while header := orders.read(HEADER.size):
        letter, length = HEADER.unpack(header)
        payload = orders.read(length)
        match letter:
            case b"B":
                recogniser.begin(json.loads(payload))
                said, due = "", time.monotonic() + PARTIAL_EVERY
            case b"A":
                recogniser.feed(payload)
                if time.monotonic() >= due:
                    due = time.monotonic() + PARTIAL_EVERY
                    text = recogniser.partial()
                    if text != said:
                        said = text
                        reply(partial=text)
            case b"E":
                heard = recogniser.finish()
                told = {} if heard.logprobs is None else {"logprobs": heard.logprobs}
                reply(final=heard.text, **told)
            case _:
                recogniser.drop()
                reply(dropped=True)


def reason(exc: Exception) -> str:
    """Why an engine does not start, in the one line that a user is shown: some libraries write
    a page."""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}"[:REASON_MOST]


def _reply(replies: BinaryIO, **fields: Any) -> None:
    replies.write(json.dumps(fields).encode() + b"\n")
    replies.flush()


def main() -> None:
    """Load the engine named on the command line and serve it on the standard streams."""
    die_with_parent()
    orders = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not be taken for a reply.
    os.dup2(2, 1)
    try:
        recogniser = open_recogniser(sys.argv[1], os.environ)
    except Exception as exc:  # noqa: BLE001  whatever a library raises at a model it cannot take
        _reply(replies, failed=reason(exc))
        raise SystemExit(1) from None
    serve(recogniser, orders, replies)
