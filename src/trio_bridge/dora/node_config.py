"""What Dora tells a node that it starts: who it is, and the dataflow around it.

Dora has read the dataflow by then, and forgets keys that it does not know, so that the contract
is told by the node's environment. The dataflow is somebody's own: beside the nodes that speak
the contract it may have any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from trio_bridge.dora.contract import port_of
from trio_bridge.dora.descriptor import Descriptor, Link, check_bridge, links_of
from trio_bridge.dora.node_entry import QUEUE_POLICY, QUEUE_SIZE
from trio_bridge.dora.ports import CONTRACTS, NATIVE
from trio_bridge.errors import DataflowError
from trio_bridge.nodes.variables import Variable

CONFIG_VARIABLE = "DORA_NODE_CONFIG"
"""In the node's `env`: what its dataflow speaks, as `contract` says elsewhere."""


class _Loader(yaml.SafeLoader):
    """Passes over values of Dora's own types, such as where its daemon is."""


_Loader.add_multi_constructor("!", lambda *_: None)


def read_node_config(environ: Mapping[str, str]) -> Descriptor:
    """The dataflow that has started this process, seen from the bridge's node.

    Raises:
        DataflowError: Dora has not started this process, or the bridge cannot work there.
    """
    config = _config(environ)
    name = config["node_id"]
    contract = CONTRACTS.get(environ.get(Variable.NODE_CONTRACT, NATIVE.name))
    if contract is None:
        known = ", ".join(CONTRACTS)
        raise DataflowError(
            f"{Variable.NODE_CONTRACT}: there are the contracts {known}", node=name
        )
    document = config["dataflow_descriptor"]
    entries = {entry["id"]: _sound(entry) for entry in document["nodes"]}
    problems: list[DataflowError] = []
    links = [x for entry in entries.values() for x in links_of(entry, entries, problems)]
    nodes = _neighbours(name, links)
    descriptor = Descriptor(
        name=name,
        contract=contract,
        nodes=tuple(each for each in entries if each in nodes),
        bridge=name,
        outputs=tuple(entries[name]["outputs"]),
        session_values=frozenset(),
        links=tuple(x for x in links if {x.node, x.source} <= {*nodes, name}),
        document={**document, "nodes": list(entries.values())},
    )
    check_bridge(descriptor, problems)
    for link in descriptor.links:
        _check_queue(link, entries[link.node]["inputs"][link.input_id], problems)
    if problems:
        raise problems[0]
    return descriptor


def _config(environ: Mapping[str, str]) -> dict[str, Any]:
    text = environ.get(CONFIG_VARIABLE)
    if not text:
        words = "this is for Dora to start, as a node of a dataflow: see docs/as-a-node.md"
        raise DataflowError(words)
    try:
        config: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506  a safe loader
        nodes = {entry["id"] for entry in config["dataflow_descriptor"]["nodes"]}
        known = config["node_id"] in nodes
    except (yaml.YAMLError, TypeError, KeyError) as exc:
        raise DataflowError(f"{CONFIG_VARIABLE} is not what dora 1.1 writes: {exc!r}") from exc
    if not known:
        raise DataflowError(f"{CONFIG_VARIABLE}: the node is not in its own dataflow")
    return config


def _sound(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A node with its inputs in the long form; what has none gets empty ones."""
    inputs = {
        input_id: {"source": source} if isinstance(source, str) else source
        for input_id, source in (entry.get("inputs") or {}).items()
    }
    return {"id": entry["id"], "inputs": inputs, "outputs": entry.get("outputs") or []}


def _neighbours(bridge: str, links: list[Link]) -> frozenset[str]:
    """The nodes that the bridge has to do with: directly, or by their acknowledgements."""
    linked = (x for x in links if bridge in {x.node, x.source})
    return frozenset(end for x in linked for end in (x.node, x.source)) - {bridge}


def _check_queue(link: Link, entry: Mapping[str, Any], problems: list[DataflowError]) -> None:
    if (entry.get("queue_size") or 0) >= QUEUE_SIZE and (
        str(entry.get("queue_policy")).lower() == QUEUE_POLICY
    ):
        return
    words = (
        f"node {link.node!r}, input {link.input_id!r} ({port_of(link.output)} of "
        f"{link.source!r}) needs queue_size: {QUEUE_SIZE} and queue_policy: {QUEUE_POLICY}, "
        "or dora drops messages"
    )
    problems.append(DataflowError(words, node=link.node))
