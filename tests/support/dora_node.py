"""A node as programs see it, without Dora: what it is sent, and what it is made to hear."""

from __future__ import annotations

import queue
from typing import Any

import pyarrow as pa
from attrs import define, field

from trio_bridge.dora.codec import decode, encode
from trio_bridge.dora.contract import Cancel, Speech


@define
class FakeNode:
    """Stands in for `dora.Node`: gives what the test puts in, keeps what is sent."""

    sent: list[tuple[str, pa.Array, dict[str, Any]]] = field(factory=list)
    incoming: queue.Queue[dict[str, Any] | None] = field(factory=queue.Queue)

    def next(self) -> dict[str, Any] | None:
        return self.incoming.get()

    def send_output(
        self, output_id: str, data: pa.Array, metadata: dict[str, Any] | None = None
    ) -> None:
        self.sent.append((output_id, data, metadata or {}))

    def rows(self) -> list[list[str]]:
        return [[r.response_id for r in decode(data, Cancel)] for _, data, _ in self.sent]


def message(rows: list[Any], input_id: str = "speech", **metadata: Any) -> dict[str, Any]:
    value = encode(rows, Speech)
    return {"type": "INPUT", "id": input_id, "value": value, "metadata": metadata}
