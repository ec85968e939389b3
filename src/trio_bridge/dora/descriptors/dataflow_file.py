"""A dataflow's YAML, read with care: what goes to Dora is complete, what is wrong has a name.

`dora validate` accepts missing files, and says what is wrong one thing at a time, so that it
is looked for here. Wherever the contract is spoken, queues are made so that they lose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trio_bridge.dora.descriptors.checks import (
    check_bridge,
    check_built,
    check_kind,
    check_variables,
)
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.document import read_document
from trio_bridge.dora.descriptors.node_entry import (
    CONTRACT_KEY,
    Entry,
    env_in,
    known_keys,
    read_node,
)
from trio_bridge.dora.descriptors.node_keys import check_env
from trio_bridge.dora.descriptors.ports import CONTRACTS, NATIVE, Contract
from trio_bridge.dora.descriptors.queues import check_queue, complete_queue
from trio_bridge.dora.descriptors.template import find_values
from trio_bridge.dora.descriptors.wiring import (
    entry_of,
    links_among,
    links_of,
    nodes_of_contract,
)
from trio_bridge.errors import DataflowError
from trio_bridge.nodes.variables import Variable

_TOP_KEYS = frozenset(
    {
        "nodes",
        "env",
        "deploy",
        "debug",
        "strict_types",
        "type_rules",
        "health_check_interval",
        "exit_when_nodes_finish",
    }
)

_AS_NODE = "as_node"
"""It ships, but no server can serve it: the bridge is one of its nodes."""


def find_dataflow(name: str | Path) -> Path:
    """The file of a dataflow: a path as it is, a bare name among those that ship.

    Raises:
        DataflowError: There is no such file or name.
    """
    path = Path(name)
    if path.suffix in {".yml", ".yaml"} or len(path.parts) > 1:
        if not path.is_file():
            raise DataflowError(f"there is no dataflow file {path}")
        return path
    package = Path(__file__).resolve().parents[2]
    # In the wheel the dataflows are inside the package, in a source checkout beside `src`.
    folders = [package / "dataflows", package.parent.parent / "dataflows"]
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    found = {file.stem for folder in folders for file in folder.glob("*.yml")}
    known = sorted(found - {_AS_NODE})
    raise DataflowError(f"there is no dataflow {str(name)!r}; there are {', '.join(known)}")


def read_descriptor(path: Path) -> Descriptor:
    """Read a dataflow for a server, and check it.

    Raises:
        DataflowError: Something is wrong with it; names the node.
    """
    descriptor, problems = examine(path)
    if descriptor is None or problems:
        raise problems[0]
    check_servable(descriptor)
    return descriptor


def check_servable(descriptor: Descriptor) -> None:
    """See that it is for a server, and not one that starts a bridge of its own.

    Raises:
        DataflowError: It does.
    """
    if descriptor.starts_bridge:
        name = descriptor.bridge
        words = "starts a bridge of its own: it is for `dora start`, see docs/as-a-node.md"
        raise DataflowError(f"node {name!r}: the dataflow {words}", node=name)


def examine(path: Path) -> tuple[Descriptor | None, list[DataflowError]]:
    """Read a dataflow and find all that is wrong with it.

    Returns:
        The dataflow, if enough of it could be read, and the problems; without any, it is sound
        as far as can be told without Dora.
    """
    problems: list[DataflowError] = []
    try:
        document = read_document(path)
    except DataflowError as exc:
        return None, [exc]
    known_keys(document, _TOP_KEYS, f"the dataflow {path}", None, problems)
    check_env(document.get("env"), "the dataflow's env", None, problems)
    entries = []
    for index, raw in enumerate(document["nodes"]):
        try:
            entries.append(read_node(raw, index, path.parent, problems))
        except DataflowError as exc:
            problems.append(exc)
    by_id = {entry.id: entry for entry in entries}
    problems += [
        DataflowError(f"two nodes are called {name!r}", node=name)
        for name in by_id
        if sum(entry.id == name for entry in entries) > 1
    ]
    if len(by_id) < len(document["nodes"]):
        # What cannot be told apart cannot be followed.
        return None, problems
    try:
        bridge = _find_bridge(entries, path)
    except DataflowError as exc:
        return None, [*problems, exc]
    shared = env_in(document)
    contract = _contract(bridge, shared, problems)
    links = [link for entry in entries for link in links_of(entry, by_id, problems)]
    nodes = nodes_of_contract(bridge.id, links)
    of_contract = links_among({bridge.id, *nodes}, links)
    for link in of_contract:
        read = entry_of(link, by_id)
        if bridge.starts_bridge:
            check_queue(link, read, problems)
        else:
            complete_queue(link, read, problems)
    if not bridge.starts_bridge:
        for entry in entries:
            check_built(entry, problems)
    full = {**document, "nodes": [entry.document for entry in entries]}
    descriptor = Descriptor(
        name=path.stem,
        contract=contract,
        nodes=tuple(entry.id for entry in entries if entry.id in nodes),
        others=tuple(e.id for e in entries if e.id not in {*nodes, bridge.id}),
        bridge=bridge.id,
        starts_bridge=bridge.starts_bridge,
        outputs=bridge.outputs,
        links=of_contract,
        session_values=find_values(full, problems),
        doubts=tuple(check_variables(entries, shared, problems)),
        document=full,
    )
    for name in descriptor.nodes:
        check_kind(by_id[name], problems)
    check_bridge(descriptor, problems)
    return descriptor, problems


def _find_bridge(entries: list[Entry], path: Path) -> Entry:
    """The bridge's node: the dynamic one, the one of them that names its contract, or one that
    Dora starts.

    Raises:
        DataflowError: There is none, or it cannot be told which it is.
    """
    dynamic = [entry for entry in entries if entry.kind == "dynamic"]
    named = [entry for entry in dynamic if CONTRACT_KEY in entry.document]
    started = [entry for entry in entries if entry.starts_bridge]
    for found in (named, dynamic, started):
        if len(found) == 1:
            return found[0]
    if dynamic:
        words = "has {} nodes with `path: dynamic`: the bridge is the one that has `contract:`"
        raise DataflowError(f"the dataflow {path} {words.format(len(dynamic))}")
    words = f"of which the dataflow {path} has {len(started)}"
    raise DataflowError(
        "the bridge is a node with `path: dynamic` (or with `args: -m trio_bridge node`, where "
        f"Dora starts it), {words}"
    )


def _contract(
    bridge: Entry, shared: Mapping[str, Any], problems: list[DataflowError]
) -> Contract:
    """Which contract a dataflow declares; Dora is not told."""
    if bridge.starts_bridge:
        name = bridge.env_of(shared).get(Variable.NODE_CONTRACT, NATIVE.name)
    else:
        name = bridge.document.pop(CONTRACT_KEY, NATIVE.name)
    contract = CONTRACTS.get(name) if isinstance(name, str) else None
    if contract is None:
        words = f"node {bridge.id!r}: there is no contract {name!r}; there are "
        problems.append(DataflowError(words + ", ".join(CONTRACTS), node=bridge.id))
    return contract or NATIVE
