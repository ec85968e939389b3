"""A dataflow that has passed, and the YAML of its instances.

An instance has the bridge's node under an id of its own (ids of dynamic nodes are unique in a
daemon, across all of its dataflows), and another to probe with. What a dataflow has beside the
contract is passed on as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import yaml
from attrs import evolve, frozen

from trio_bridge.dora.contract import port_of
from trio_bridge.dora.descriptors.node_entry import PROBE, env_in
from trio_bridge.dora.descriptors.ports import Contract
from trio_bridge.dora.descriptors.template import Values, fill
from trio_bridge.dora.descriptors.wiring import Link
from trio_bridge.messages import Capabilities

_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Where PyYAML comes with the C library, ten times as fast: an instance is written while others
serve sessions."""


StandInFor = Callable[[str], dict[str, str]]
"""See `Ground.stand_in`."""


@frozen
class Descriptor:
    """A dataflow that has passed.

    Attributes:
        name: The name of its file.
        contract: What its nodes speak.
        nodes: The nodes that the contract is about; see `wiring`.
        others: The nodes beside these; nobody's business of ours.
        bridge: The id of the bridge's node in the file.
        starts_bridge: Whether Dora starts the bridge, as it does the other nodes. No server can
            serve such a dataflow.
        outputs: Outputs of the bridge.
        links: The links that the contract is about, the bridge's included.
        session_values: What of a session its nodes are started with; see `template`.
        doubts: What may be wrong with it, in words.
    """

    name: str
    contract: Contract
    nodes: tuple[str, ...]
    others: tuple[str, ...]
    bridge: str
    starts_bridge: bool
    outputs: tuple[str, ...]
    links: tuple[Link, ...]
    session_values: frozenset[str]
    doubts: tuple[str, ...]
    _document: dict[str, Any]

    @property
    def ids(self) -> tuple[str, ...]:
        """All nodes, as they come in the file."""
        return tuple(node["id"] for node in self._document["nodes"])

    def nodes_with(self, key: str) -> tuple[str, ...]:
        """The nodes for which a key is set."""
        return tuple(node["id"] for node in self._document["nodes"] if key in node)

    @property
    def attaching(self) -> tuple[str, ...]:
        """The nodes that Dora waits for before it lets any of them begin."""
        nodes = self._document["nodes"]
        return tuple(node["id"] for node in nodes if node.get("path") != "dynamic")

    @property
    def bridge_env(self) -> Mapping[str, Any]:
        """The environment that the bridge is given here, where Dora starts it."""
        nodes = self._document["nodes"]
        own = next(env_in(node) for node in nodes if node["id"] == self.bridge)
        return {**env_in(self._document), **own}

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

    def instance(
        self, unique: str, stand_in: StandInFor = lambda _: {}
    ) -> tuple[str, str, str]:
        """The YAML of one instance.

        Args:
            unique: Told from all other instances by it.
            stand_in: See `Ground.stand_in`.

        Returns:
            The text, the id of the bridge's node and the id of the probe's.
        """
        bridge, probe = f"{self.bridge}-{unique}", f"{PROBE}-{unique}"
        nodes = []
        # Where the bridge is: a process reaches only the daemon of its own machine.
        probe_node: dict[str, Any] = {"id": probe, "path": "dynamic"}
        for node in self._document["nodes"]:
            if node["id"] in self.others:
                # Nothing of the bridge's leads to it.
                nodes.append(node)
                continue
            inputs = {
                input_id: {**entry, "source": _rewired(entry["source"], self.bridge, bridge)}
                for input_id, entry in node["inputs"].items()
            }
            own_id = bridge if node["id"] == self.bridge else node["id"]
            start = stand_in(_module(node)) if "deploy" not in node else {}
            nodes.append({**node, **start, "id": own_id, "inputs": inputs})
            if own_id == bridge and "deploy" in node:
                probe_node["deploy"] = node["deploy"]
        nodes.append(probe_node)
        document = {**self._document, "nodes": nodes}
        text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
        return text, bridge, probe


def _module(node: Mapping[str, Any]) -> str:
    """The module that a node runs with this interpreter; empty if it is another program, or
    takes arguments."""
    words = node.get("args", "").split() if node.get("path") == sys.executable else []
    return words[1] if len(words) == 2 and words[0] == "-m" else ""


def _rewired(source: str, old: str, new: str) -> str:
    node, _, output = source.partition("/")
    return f"{new}/{output}" if node == old else source
