"""A dataflow's YAML, read with care: what goes to Dora is complete, what is wrong has a name.

`dora validate` accepts missing files and misspelt keys, so that they are looked for here. What
comes out has one dynamic node with an id of its own (ids of dynamic nodes are unique in a
daemon, across all of its dataflows), a second one to probe with, and queues that lose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, frozen

from trio_bridge.dora.contract import port_of
from trio_bridge.dora.node_entry import CONTRACT_KEY, PROBE, hint, known_keys, read_node
from trio_bridge.dora.ports import CONTRACTS, NATIVE, Contract
from trio_bridge.dora.template import Values, fill, find_values
from trio_bridge.errors import DataflowError
from trio_bridge.messages import Capabilities

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
        "communication",
    }
)

_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Where PyYAML comes with the C library, ten times as fast: an instance is written while others
serve sessions."""


@frozen
class Link:
    """An input of a node, and the output of another that feeds it."""

    node: str
    input_id: str
    source: str
    output: str


@frozen
class Descriptor:
    """A dataflow that has passed.

    Attributes:
        name: The name of its file.
        nodes: The nodes that Dora starts.
        bridge: The dynamic node's id in the file.
        inputs: Inputs of the bridge → the nodes that feed them.
        outputs: Outputs of the bridge.
        links: All links between nodes, the bridge's included.
        contract: What its nodes speak.
        session_values: What of a session its nodes are started with; see `template`.
    """

    name: str
    contract: Contract
    nodes: tuple[str, ...]
    bridge: str
    outputs: tuple[str, ...]
    links: tuple[Link, ...]
    session_values: frozenset[str]
    _document: dict[str, Any]

    @cached_property
    def inputs(self) -> dict[str, str]:
        """The bridge's inputs → the nodes that feed them."""
        return {link.input_id: link.source for link in self.links if link.node == self.bridge}

    def feeder(self, input_id: str) -> str:
        """The node that feeds an input of the bridge; empty if it has no such input."""
        return self.inputs.get(input_id, "")

    @property
    def capabilities(self) -> Capabilities:
        """What it offers, told from the ports the bridge has."""
        return self.contract.capabilities(self.ports)

    @property
    def ports(self) -> frozenset[str]:
        """The ports that the bridge has."""
        return frozenset(port_of(name) for name in (*self.inputs, *self.outputs))

    def readers(self, output: str) -> tuple[Link, ...]:
        """The links on which an output of the bridge is read."""
        return tuple(
            link for link in self.links if (link.source, link.output) == (self.bridge, output)
        )

    def reached(self) -> frozenset[tuple[str, str]]:
        """Node and input of every link that a ping from the bridge travels."""
        nodes, reached = {self.bridge}, set[Link]()
        while (
            new := {x for x in self.links if x.source in nodes and x.output != "ack"} - reached
        ):
            reached |= new
            nodes |= {link.node for link in new} - {self.bridge}
        return frozenset((link.node, link.input_id) for link in reached)

    def filled(self, values: Values) -> Descriptor:
        """The dataflow for sessions of these values.

        Raises:
            KeyError: One of its `session_values` is missing.
        """
        document = fill(self._document, values)
        return evolve(self, session_values=frozenset(), document=document)

    def instance(self, unique: str) -> tuple[str, str, str]:
        """The YAML of one instance.

        Args:
            unique: Told from all other instances by it.

        Returns:
            The text, the id of the bridge's node and the id of the probe's.
        """
        bridge, probe = f"{self.bridge}-{unique}", f"{PROBE}-{unique}"
        nodes = []
        # Where the bridge is: a process reaches only the daemon of its own machine.
        probe_node: dict[str, Any] = {"id": probe, "path": "dynamic"}
        for node in self._document["nodes"]:
            inputs = {
                input_id: {**entry, "source": _rewired(entry["source"], self.bridge, bridge)}
                for input_id, entry in node["inputs"].items()
            }
            own_id = bridge if node["id"] == self.bridge else node["id"]
            nodes.append({**node, "id": own_id, "inputs": inputs})
            if own_id == bridge and "deploy" in node:
                probe_node["deploy"] = node["deploy"]
        nodes.append(probe_node)
        document = {**self._document, "nodes": nodes}
        text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        return text, bridge, probe


_AS_NODE = "as_node"
"""It ships, but no bridge can serve it: the bridge is one of its nodes."""


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
    package = Path(__file__).resolve().parent.parent
    # In the wheel the dataflows are inside the package, in a source checkout beside `src`.
    folders = [package / "dataflows", package.parent.parent / "dataflows"]
    for folder in folders:
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    found = {file.stem for folder in folders for file in folder.glob("*.yml")}
    known = sorted(found - {_AS_NODE})
    raise DataflowError(f"there is no dataflow {str(name)!r}; there are {', '.join(known)}")


def read_descriptor(path: Path) -> Descriptor:
    """Read a dataflow and check it.

    Raises:
        DataflowError: Something is wrong with it; names the node.
    """
    descriptor, problems = examine(path)
    if descriptor is None or problems:
        raise problems[0]
    return descriptor


def examine(path: Path) -> tuple[Descriptor | None, list[DataflowError]]:
    """Read a dataflow and find all that is wrong with it.

    Returns:
        The dataflow, if enough of it could be read, and the problems; without any, it is sound.
    """
    problems: list[DataflowError] = []
    try:
        document = _read_document(path)
    except DataflowError as exc:
        return None, [exc]
    known_keys(document, _TOP_KEYS, f"the dataflow {path}", None, problems)
    nodes = []
    for index, raw in enumerate(document["nodes"]):
        try:
            nodes.append(read_node(raw, index, path.parent, problems))
        except DataflowError as exc:
            problems.append(exc)
    by_id = {node["id"]: node for node in nodes}
    problems += [
        DataflowError(f"two nodes are called {name!r}", node=name)
        for name in by_id
        if sum(node["id"] == name for node in nodes) > 1
    ]
    dynamic = [node["id"] for node in nodes if node["path"] == "dynamic"]
    if len(nodes) < len(document["nodes"]) or len(by_id) < len(nodes):
        # What cannot be told apart cannot be followed.
        return None, problems
    if len(dynamic) != 1:
        words = f"the bridge is the one node with `path: dynamic`; {path} has {len(dynamic)}"
        return None, [*problems, DataflowError(words)]
    bridge = by_id[dynamic[0]]
    descriptor = Descriptor(
        name=path.stem,
        contract=_contract(bridge, problems),
        nodes=tuple(node["id"] for node in nodes if node["path"] != "dynamic"),
        bridge=dynamic[0],
        outputs=tuple(bridge["outputs"]),
        links=tuple(link for node in nodes for link in links_of(node, by_id, problems)),
        session_values=find_values({**document, "nodes": nodes}, problems),
        document={**document, "nodes": nodes},
    )
    check_bridge(descriptor, problems)
    return descriptor, problems


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise DataflowError(f"the dataflow {path} cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        words = " ".join(str(exc).split())
        raise DataflowError(f"the dataflow {path} is not YAML: {words}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise DataflowError(f"the dataflow {path} has no list of nodes")
    return document


def _contract(bridge: dict[str, Any], problems: list[DataflowError]) -> Contract:
    """Which contract a dataflow declares; Dora is not told."""
    name = bridge.pop(CONTRACT_KEY, NATIVE.name)
    contract = CONTRACTS.get(name) if isinstance(name, str) else None
    if contract is None:
        words = f"node {bridge['id']!r}: there is no contract {name!r}; there are "
        problems.append(DataflowError(words + ", ".join(CONTRACTS), node=bridge["id"]))
    return contract or NATIVE


def links_of(
    node: Mapping[str, Any], by_id: Mapping[str, Any], problems: list[DataflowError]
) -> Iterable[Link]:
    """The links that feed a node; finds those that lead nowhere."""
    for input_id, entry in node["inputs"].items():
        source, _, output = entry["source"].partition("/")
        if source == "dora":
            continue
        where = f"node {node['id']!r}, input {input_id!r}"
        if source not in by_id:
            words = f"{where}: there is no node {source!r}{hint(source, by_id)}"
            problems.append(DataflowError(words, node=node["id"]))
        elif output not in by_id[source]["outputs"]:
            close = hint(output, by_id[source]["outputs"])
            words = f"{where}: node {source!r} has no output {output!r}{close}"
            problems.append(DataflowError(words, node=node["id"]))
        else:
            yield Link(node["id"], input_id, source, output)


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


def _rewired(source: str, old: str, new: str) -> str:
    node, _, output = source.partition("/")
    return f"{new}/{output}" if node == old else source
