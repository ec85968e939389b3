"""How any node speaks, on Trio: in rows, batched per port."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import trio
from attrs import define, field

from trio_bridge.dora.codec import encode
from trio_bridge.dora.contract import ROWS, port_of
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.node_events import MOST_ROWS

QUIET = 0.005
"""Seconds a port keeps quiet after a message; rows that come meanwhile leave as one message."""

BYTES_WAITING = 2**20
"""Samples a port may hold back, likewise: 16 s of speech at 16 kHz. No node has to take more of
them in one go, unless they are one row."""

ROWS_WAITING = MOST_ROWS
"""Rows a port may hold back during its quiet time. More leave at once: it bounds the memory,
and what the receiver takes in one go."""


@define
class _Output:
    quiet_until: float = -math.inf
    waiting: list[Any] = field(factory=list)
    size: int = 0
    sent: int = 0


@define(eq=False)
class Outbox:
    """Sends rows, batched per output port.

    A row leaves at once when its port has been quiet for 5 ms; otherwise it waits, at most
    that long, and leaves in one message with all that came meanwhile. Each message carries
    its number on that output (`n`, from 0), so that a loss shows.

    "At once" is when the sending task next lets others run: what it sends in one go, such as
    the answers to the rows of one batch, is one message. Were the first of them to leave
    alone, the others would wait for 5 ms.

    Args:
        node: The node to send from.
        metadata: Put on every message.
        on_sent: Called with the port and the message's number after each message.
    """

    _node: DoraNode | None
    _metadata: dict[str, Any] = field(factory=dict)
    _on_sent: Callable[[str, int], None] | None = None
    _outputs: dict[str, _Output] = field(factory=dict, init=False)
    _asleep: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Its deadline is when the next row is due."""

    def sent(self, port: str) -> int:
        """How many messages have left on `port`."""
        output = self._outputs.get(port)
        return output.sent if output else 0

    def send(self, port: str, row: Any) -> None:
        """Send a row; never waits."""
        output = self._outputs.get(port)
        if output is None:
            output = self._outputs[port] = _Output()
        output.waiting.append(row)
        samples = getattr(row, "samples", None)
        if samples is not None:
            output.size += samples.nbytes
        if output.size >= BYTES_WAITING:
            self._flush(port, output, trio.current_time())
        elif len(output.waiting) == 1:
            due = max(output.quiet_until, trio.current_time())
            if due < self._asleep.deadline:
                self._asleep.deadline = due
        elif len(output.waiting) >= ROWS_WAITING:
            self._flush(port, output, trio.current_time())

    def ping(self, port: str, token: str) -> None:
        """Send a ping: a message without rows, its token in the metadata."""
        output = self._outputs.setdefault(port, _Output())
        self._flush(port, output, trio.current_time())
        self._message(port, output, encode([], ROWS[port_of(port)]), {"ping": token})

    def flush(self) -> None:
        """Send all that waits."""
        now = trio.current_time()
        for port, output in self._outputs.items():
            self._flush(port, output, now)

    def forget(self) -> None:
        """Let go of the node: what waits, and what is still sent, goes nowhere."""
        self._node = None

    async def run(self) -> None:
        """Send what waits when its port's quiet time is over. Runs until cancelled."""
        while True:
            due = [o.quiet_until for o in self._outputs.values() if o.waiting]
            with trio.CancelScope(deadline=min(due, default=math.inf)) as self._asleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for port, output in self._outputs.items():
                if output.quiet_until <= now:
                    self._flush(port, output, now)

    def _flush(self, port: str, output: _Output, now: float) -> None:
        if not output.waiting:
            return
        rows, output.waiting, output.size = output.waiting, [], 0
        output.quiet_until = now + QUIET
        self._message(port, output, encode(rows, ROWS[port_of(port)]), {})

    def _message(
        self, port: str, output: _Output, array: pa.Array, extra: dict[str, Any]
    ) -> None:
        if self._node is None:
            return
        number = output.sent
        output.sent += 1
        self._node.send_output(port, array, {**self._metadata, "n": number, **extra})
        if self._on_sent is not None:
            self._on_sent(port, number)
