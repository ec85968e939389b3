"""What Dora tells a node that it starts: who it is, and the dataflow around it.

Dora has read the dataflow by then, and forgets keys that it does not know, so that the contract
is told by the node's environment. The dataflow is somebody's own: beside the nodes that speak
the contract it may have any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from trio_bridge.dora.descriptors.checks import check_bridge
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.node_entry import Entry
from trio_bridge.dora.descriptors.ports import CONTRACTS, NATIVE
from trio_bridge.dora.descriptors.queues import check_queue
from trio_bridge.dora.descriptors.wiring import (
    entry_of,
    links_among,
    links_of,
    nodes_of_contract,
)
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
    nodes = nodes_of_contract(name, links)
    descriptor = Descriptor(
        name=name,
        contract=contract,
        nodes=tuple(each for each in entries if each in nodes),
        others=tuple(each for each in entries if each not in {*nodes, name}),
        bridge=name,
        starts_bridge=True,
        outputs=entries[name].outputs,
        session_values=frozenset(),
        links=links_among({*nodes, name}, links),
        doubts=(),
        document={**document, "nodes": [entry.document for entry in entries.values()]},
    )
    check_bridge(descriptor, problems)
    for link in descriptor.links:
        check_queue(link, entry_of(link, entries), problems)
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


def _sound(node: Mapping[str, Any]) -> Entry:
    """A node with its inputs in the long form, and those of its operators; what has none gets
    empty ones."""
    owners = [("", node), ("", node.get("operator") or {})]
    owners += [(f"{each['id']}/", each) for each in node.get("operators") or ()]
    inputs: dict[str, Any] = {}
    outputs: list[str] = []
    for prefix, owner in owners:
        for input_id, source in (owner.get("inputs") or {}).items():
            long = {"source": source} if isinstance(source, str) else source
            inputs[f"{prefix}{input_id}"] = long
        outputs += [f"{prefix}{output}" for output in owner.get("outputs") or ()]
    document = {"id": node["id"], "inputs": inputs, "outputs": outputs}
    return Entry(node["id"], "path", inputs, tuple(outputs), document)
