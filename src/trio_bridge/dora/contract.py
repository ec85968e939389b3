"""The native contract between the bridge and its nodes, as tables of rows.

Every message on every port is an Arrow struct array: one row per thing said, rows in order.
Rows rather than metadata, because messages are batched (many sessions in one message). What
must stay in order travels on one port, since Dora does not order two inputs of a node against
each other. `docs/dora-contract.md` explains each field to somebody who writes a node.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import field, frozen

# Not `NDArray[np.float32]`: columns are read off these types when the program runs, and what
# `NDArray` is then depends on numpy's version.
Float32 = np.ndarray[tuple[Any, ...], np.dtype[np.float32]]

SAMPLE_RATE = 16_000
"""Rate of the audio on `listen` and `segment`, in Hz."""


@frozen
class Listen:
    """bridge → speech monitor. `op`: open, configure, audio, commit, clear, close."""

    session_id: str
    seq: int
    op: str
    samples: Float32 | None = field(default=None, eq=False)
    data: str | None = None


@frozen
class Request:
    """bridge → language node: make a response. `data`: a `ResponseRequest` as JSON."""

    session_id: str
    response_id: str
    data: str


@frozen
class Cancel:
    """bridge → language and synthesis nodes: stop a response (it may not have come yet)."""

    session_id: str
    response_id: str


@frozen
class Credit:
    """bridge → synthesis node: `seconds` of the response's audio may have been sent in all."""

    session_id: str
    response_id: str
    seconds: float


@frozen
class Speech:
    """speech monitor → bridge. `event`: started, stopped."""

    session_id: str
    event: str
    utterance_id: str
    audio_ms: int


@frozen
class Segment:
    """speech monitor → recogniser. `event`: start, audio, end, drop, close.

    `item_id` on `end` when the client's commit ended the utterance. `data` on `start`: the
    session's transcription settings as JSON.
    """

    session_id: str
    utterance_id: str
    event: str
    samples: Float32 | None = field(default=None, eq=False)
    item_id: str | None = None
    data: str | None = None


@frozen
class Transcript:
    """recogniser → bridge, and → speech monitor if it is to know what is being said.

    `event`: partial, final, failed. `logprobs`: JSON, `[[token, logprob], …]`.
    """

    session_id: str
    utterance_id: str
    event: str
    text: str = ""
    item_id: str | None = None
    wait_ms: float = 0.0
    error_code: str | None = None
    error: str | None = None
    logprobs: str | None = None


@frozen
class Answer:
    """language node → synthesis node (`speak`), and the last of them → bridge (`answer`).

    `event`: open (unasked responses only), text, audio, tool_delta, tool_done, done.
    `seq` counts a response's rows from 0, on each hop anew. `speech` settings (voice, speed)
    and whether to speak at all travel in `data` of the first row on `speak`.
    """

    session_id: str
    response_id: str
    seq: int
    event: str
    text: str | None = None
    samples: Float32 | None = field(default=None, eq=False)
    sample_rate: int | None = None
    words: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    status: str | None = None
    reason: str | None = None
    usage: str | None = None
    error_code: str | None = None
    error: str | None = None
    data: str | None = None


@frozen
class Ack:
    """any node → bridge: alive, and so far along.

    `received` is the highest message number seen on `port` (of those that come from the
    bridge), `lost` how many numbers were missing. A heartbeat has an empty `port`.
    `sessions` is how many sessions the node holds state for. `note` is news for the server's
    log, on a row with an empty `port`: whatever it is, the node goes on.
    """

    node: str
    port: str
    received: int
    lost: int
    sessions: int
    pid: int
    note: str | None = None


Row = Listen | Request | Cancel | Credit | Speech | Segment | Transcript | Answer | Ack

ROWS: dict[str, type[Any]] = {
    "listen": Listen,
    "request": Request,
    "cancel": Cancel,
    "credit": Credit,
    "speech": Speech,
    "segment": Segment,
    "transcript": Transcript,
    "speak": Answer,
    "answer": Answer,
    "ack": Ack,
}
"""Port → its row. An input may carry a suffix after a hyphen: `ack-asr` is the port `ack`."""


def port_of(name: str) -> str:
    """The port that an input or output id stands for: `ack-asr` → `ack`."""
    return name.split("-", 1)[0]
