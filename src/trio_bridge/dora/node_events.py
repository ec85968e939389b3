"""What a node receives, and what it means: messages of rows, pings, and news of Dora's.

What others send is not trusted: each message is looked at before it is taken apart.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa
from attrs import field, frozen

from trio_bridge.dora.codec import ContractError, decode
from trio_bridge.dora.contract import ROWS, port_of
from trio_bridge.dora.dora_node import Raw

BYTES_OF_WEIGHT = 2**18
ROWS_OF_WEIGHT = 64
"""Bytes and rows of a message that count as one message more: 200 sessions of 20 ms frames make
200 messages a second with half as much in each."""

MESSAGE_BYTES = 16 * 2**20
"""The largest message that is looked at: two minutes of speech at 32 kHz. A larger one is too
much by itself: its way through Dora alone holds everybody up."""

TOO_MUCH = 2**20
"""The weight of a message that is too much by itself."""

FATAL = "fatal event stream error"
"""How Dora's words begin when the connection to the daemon has ended."""

MOST_ROWS = 4096
"""Rows in a message. Taking so many apart costs less than a tenth of a second."""


@frozen
class Batch:
    """A message that arrived: `rows` are instances of the port's row class, in order.

    `number` is the sender's count for its output, from 0 (-1: it does not count).
    `weight` is what it costs to take it, in small messages.
    """

    input_id: str
    rows: list[Any]
    number: int = -1
    from_bridge: bool = False
    weight: int = field(default=1, eq=False)

    @property
    def port(self) -> str:
        """The port the input stands for: `ack-asr` → `ack`."""
        return port_of(self.input_id)


@frozen
class Ping:
    """A ping came through on `input_id`, carrying `token`."""

    input_id: str
    token: str
    number: int = -1
    from_bridge: bool = False


@frozen
class Notice:
    """Anything else Dora has to say, such as NODE_FAILED, INPUT_CLOSED or ERROR.

    A message that does not keep the contract is a notice of kind `BAD_MESSAGE`.
    """

    kind: str
    subject: str
    detail: str = ""
    weight: int = field(default=1, eq=False)


@frozen
class Stopped:
    """The dataflow stops, or the connection to the daemon has ended."""


NodeEvent: TypeAlias = Batch | Ping | Notice | Stopped


def read_notice(event: Raw | None) -> Notice | Stopped | None:
    """What a `dora` event means that is no message; None for one that is."""
    if event is None:
        return Stopped()
    kind = str(event["type"])
    # The second is what there is of a daemon that has died: `next()` would never come back.
    if kind == "STOP" or (kind == "ERROR" and str(event.get("error")).startswith(FATAL)):
        return Stopped()
    if kind != "INPUT":
        detail = str(event.get("error") or event.get("reason") or "").partition("\n")[0]
        return Notice(kind, str(event.get("id", "")), detail)
    return None


def weight_of(value: pa.Array) -> int:
    """What it costs to take a message, in small messages: 1, and more for bytes and rows."""
    size: int = value.get_total_buffer_size()
    if size > MESSAGE_BYTES:
        return TOO_MUCH
    return 1 + size // BYTES_OF_WEIGHT + len(value) // ROWS_OF_WEIGHT


def check(value: pa.Array) -> None:
    """See that an array is what it says it is.

    Raises:
        ValueError: It is too large, or its parts do not fit each other.
    """
    if value.get_total_buffer_size() > MESSAGE_BYTES:
        raise ValueError(f"a message of {value.get_total_buffer_size()} bytes")
    value.validate(full=True)


def read_event(event: Raw | None) -> NodeEvent:
    """What a `dora` event means under the native contract."""
    other = read_notice(event)
    if other is not None:
        return other
    assert event is not None  # noqa: S101  `read_notice` says what that means
    input_id = str(event["id"])
    metadata = event["metadata"]
    from_bridge = metadata.get("from") == "bridge"
    token = metadata.get("ping")
    row_class = ROWS.get(port_of(input_id))
    if row_class is None:
        return Notice("BAD_MESSAGE", input_id, "an input that the contract does not know")
    value = event["value"]
    weight = weight_of(value)
    try:
        number = int(metadata.get("n", -1))
        if token is not None:
            return Ping(input_id, str(token), number, from_bridge)
        check(value)
        if len(value) > MOST_ROWS:
            raise ValueError(f"a message of {len(value)} rows")
        return Batch(input_id, decode(value, row_class), number, from_bridge, weight)
    except (ContractError, OverflowError, TypeError, ValueError) as exc:
        # Arrow's own errors are ValueErrors or TypeErrors; so is text that is not UTF-8.
        return Notice("BAD_MESSAGE", input_id, str(exc), weight)
