"""Dora's own check of a dataflow, in terms of the user's file: Dora reads a copy of it, with
more in it, and names what it does not take by the place in that."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.runtimes.commands import Commands, find_program, inherited_environment
from trio_bridge.errors import DataflowError

_PLACE = re.compile(r"nodes\[(?P<index>\d+)\](?:\.(?P<key>[^:\s]+))?(?=: )")
_KEY = re.compile(r"Could not resolve `(?P<key>\w+)` configuration(?=: )")


async def validate(
    descriptor: Descriptor, folder: Path, dora: Callable[[Path], Awaitable[Any]]
) -> None:
    """Have Dora check what instances of a dataflow will be.

    Args:
        descriptor: Filled with the values of a session, where it asks for any.
        folder: Where its file may be written.
        dora: Has Dora check a file.

    Raises:
        DataflowError: It does not pass; names the node, where it is one's fault.
    """
    text, bridge, _ = descriptor.instance("check")
    file = folder / f"{descriptor.name}.yml"
    file.write_text(text)
    try:
        await dora(file)
    except DataflowError as exc:
        words = str(exc).replace(bridge, descriptor.bridge)
        raise _in_users_terms(words, descriptor) from exc


async def validate_alone(descriptor: Descriptor, folder: Path) -> None:
    """The same where there is no Dora that runs.

    Raises:
        DataflowError: See `validate`.
        RuntimeFailed: There is no `dora` program, or it cannot be run.
    """
    env = inherited_environment("DORA_", "ZENOH_") | {"RUST_BACKTRACE": "0"}
    await validate(descriptor, folder, Commands(find_program(), folder, env).validate)


def _in_users_terms(words: str, descriptor: Descriptor) -> DataflowError:
    """Dora's words, with nodes' names for what it counts or leaves out."""
    nodes: tuple[str, ...] = ()
    if match := _PLACE.search(words):
        nodes = descriptor.ids[int(match["index"]) :][:1]
    elif match := _KEY.search(words):
        nodes = descriptor.nodes_with(match["key"])
    if match is None or not nodes:
        return DataflowError(words)
    where = f"node {' or '.join(map(repr, nodes))}"
    where += f", {match['key']}" if match["key"] else ""
    said = words[: match.start()] + where + words[match.end() :]
    return DataflowError(said, node=nodes[0] if len(nodes) == 1 else None)
