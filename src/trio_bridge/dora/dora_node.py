"""The part of `dora.Node` that is used.

Dora's Python node is not made for an event loop: every way of reading it but `next()` in a
thread of its own either freezes the interpreter or raises. `inbox.py` reads so. Sending takes
about 0.1 ms and happens on the Trio thread (`outbox.py`), so that it keeps the order in which
the program spoke.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import pyarrow as pa

Raw: TypeAlias = dict[str, Any]
"""An event as Dora gives it."""


class DoraNode(Protocol):
    """The part of `dora.Node` that is used."""

    def next(self) -> Raw | None:
        """Wait for the next event, without the interpreter lock."""

    def send_output(
        self, output_id: str, data: pa.Array, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send one message. Blocks, interpreter lock in hand, when a receiver is stuck."""
