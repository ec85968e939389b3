"""The queues of the links that the contract is about: whatever is sent there arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trio_bridge.dora.contract import port_of
from trio_bridge.dora.descriptors.node_entry import QUEUE_POLICY, QUEUE_SIZE
from trio_bridge.dora.descriptors.wiring import Link
from trio_bridge.errors import DataflowError


def complete_queue(link: Link, entry: dict[str, Any], problems: list[DataflowError]) -> None:
    """Give an input the queue that it needs; finds one that says otherwise."""
    where = f"node {link.node!r}, input {link.input_id!r}"
    if entry.setdefault("queue_policy", QUEUE_POLICY) != QUEUE_POLICY:
        words = f"{where}: queue_policy must be {QUEUE_POLICY}"
        problems.append(DataflowError(words, node=link.node))
    elif entry.setdefault("queue_size", QUEUE_SIZE) < QUEUE_SIZE:
        words = f"{where}: queue_size must be {QUEUE_SIZE} or more"
        problems.append(DataflowError(words, node=link.node))


def check_queue(link: Link, entry: Mapping[str, Any], problems: list[DataflowError]) -> None:
    """Find an input without the queue that it needs, where nobody can give it one."""
    size, policy = entry.get("queue_size", 0), entry.get("queue_policy")
    if size >= QUEUE_SIZE and policy == QUEUE_POLICY:
        return
    words = (
        f"node {link.node!r}, input {link.input_id!r} ({port_of(link.output)} of "
        f"{link.source!r}) needs queue_size: {QUEUE_SIZE} and queue_policy: {QUEUE_POLICY}, "
        "or dora drops messages"
    )
    problems.append(DataflowError(words, node=link.node))
