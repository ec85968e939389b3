"""What is wrong with a dataflow whose nodes and links are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trio_bridge.dora.contract import port_of
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.node_entry import Entry
from trio_bridge.errors import DataflowError
from trio_bridge.nodes.variables import doubtful, nobodys

_OUR_NODES: Final = "trio_bridge.nodes."


def check_bridge(descriptor: Descriptor, problems: list[DataflowError]) -> None:
    """Find what the bridge's node lacks, or has and should not."""
    name, contract = descriptor.bridge, descriptor.contract

    def wrong(words: str, node: str = name) -> None:
        problems.append(DataflowError(f"node {node!r}{words}", node=node))

    for kind, ids, ports in (
        ("input", descriptor.inputs, contract.inputs),
        ("output", descriptor.outputs, contract.outputs),
    ):
        for each in ids:
            if port_of(each) not in ports:
                wrong(
                    f": the bridge has no port {each!r}; as {kind}s of the {contract.name} "
                    f"contract it has {', '.join(ports)}"
                )
    if not descriptor.nodes:
        wrong(": no node speaks with the bridge")
    for link in descriptor.links:
        if link.node == link.source == name:
            wrong(f", input {link.input_id!r}: it comes from the bridge itself")
    for output in descriptor.outputs:
        if port_of(output) in contract.outputs and output not in contract.outputs:
            wrong(f": output {output!r}: no suffix here")
        elif not descriptor.readers(output):
            wrong(f": nobody reads its output {output!r}")
    for words in contract.missing(descriptor.ports):
        wrong(f" {words}")
    heard = {s for i, s in descriptor.inputs.items() if port_of(i) == "ack"}
    for node in descriptor.nodes:
        if contract.acknowledged and node not in heard:
            wrong(f": its output 'ack' must be an input 'ack-{node}' of the bridge", node)


def check_variables(
    entries: Sequence[Entry], shared: Mapping[str, Any], problems: list[DataflowError]
) -> list[str]:
    """Find misspelt variables of our own nodes; gives those that may be.

    Args:
        entries: All nodes.
        shared: The environment that the dataflow gives to all of them.
        problems: Where what is wrong is noted.
    """
    doubts = _misspelt(shared, shared, entries, "the dataflow's env", None, problems)
    for entry in entries:
        where = f"node {entry.id!r}, env"
        doubts += _misspelt(entry.env, entry.env_of(shared), [entry], where, entry.id, problems)
    return doubts


def _misspelt(
    env: Mapping[str, Any],
    beside: Mapping[str, Any],
    readers: Sequence[Entry],
    where: str,
    node: str | None,
    problems: list[DataflowError],
) -> list[str]:
    if not any(entry.starts_bridge for entry in readers):
        # One that Dora starts as a bridge reads all the settings of a server there as well.
        for name, meant in nobodys(env).items():
            problems.append(DataflowError(f"{where}: {name} sets nothing ({meant})", node=node))
    if not any(entry.module.startswith(_OUR_NODES) for entry in readers):
        return []
    said = doubtful({str(name): "" for name in beside}).items()
    return [
        f"{where}: {name} may be misspelt (did you mean {meant}?)"
        for name, meant in said
        if name in env
    ]


def check_built(entry: Entry, problems: list[DataflowError]) -> None:
    """Find a node that Dora has to build anew for every start, which a server does not."""
    if "git" in entry.document:
        words = (
            f"node {entry.id!r}: 'git' is not supported: clone it, and name its program as path"
        )
        problems.append(DataflowError(words, node=entry.id))


def check_kind(entry: Entry, problems: list[DataflowError]) -> None:
    """Find nodes that cannot speak a contract."""
    why = {
        "dynamic": "it is dynamic, and nobody starts it",
        "operator": "operators share a process of Dora's; give it a path",
        "operators": "operators share a process of Dora's; give each a node with a path",
        "ros2": "it is a bridge to ROS 2",
    }.get(entry.kind)
    if why is not None:
        words = f"node {entry.id!r} cannot stand on a way from or to the bridge: {why}"
        problems.append(DataflowError(words, node=entry.id))
