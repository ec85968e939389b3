"""A dataflow's YAML, read with care: what goes to Dora is complete, what is wrong has a name.

`dora validate` accepts missing files and misspelt keys, so that they are looked for here. What
comes out has one dynamic node with an id of its own (ids of dynamic nodes are unique in a
daemon, across all of its dataflows), a second one to probe with, and queues that lose nothing.
"""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from trio_bridge.dora.commands import program_path
from trio_bridge.dora.contract import port_of
from trio_bridge.dora.ports import CONTRACTS, NATIVE, Contract
from trio_bridge.errors import DataflowError
from trio_bridge.messages import Capabilities

QUEUE_SIZE = 10_000
"""Messages an input holds. Dora's default is ten, and it drops the oldest without a word."""

QUEUE_POLICY = "backpressure"

CONTRACT_KEY = "contract"
"""On the bridge's node: what its dataflow speaks. Dora knows no such key."""

PROBE = "probe"
"""Prefix of the id of the node that waits, in its own process, for the others to attach."""

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
_NODE_KEYS = frozenset(
    {
        "id",
        "name",
        "description",
        "path",
        "path_sha256",
        "args",
        "env",
        "inputs",
        "outputs",
        "build",
        "git",
        "branch",
        "tag",
        "rev",
        "hub",
        "output_types",
        "input_types",
        "output_framing",
        "output_metadata",
        "pattern",
        "params",
        "cpu_affinity",
        "deploy",
        "send_stdout_as",
        "send_logs_as",
        "min_log_level",
        "max_log_size",
        "max_rotated_files",
        "restart_policy",
        "max_restarts",
        "restart_delay",
        "max_restart_delay",
        "restart_window",
        "health_check_timeout",
        "finish_grace_secs",
        "shared_memory_pool_size",
        "startup_timeout",
    }
)
_INPUT_KEYS = frozenset({"source", "queue_size", "queue_policy", "input_timeout"})


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
    """

    name: str
    contract: Contract
    nodes: tuple[str, ...]
    bridge: str
    outputs: tuple[str, ...]
    links: tuple[Link, ...]
    _document: dict[str, Any]

    @property
    def inputs(self) -> dict[str, str]:
        """The bridge's inputs → the nodes that feed them."""
        return {link.input_id: link.source for link in self.links if link.node == self.bridge}

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
        placed: dict[str, Any] = {"id": probe, "path": "dynamic"}
        for node in self._document["nodes"]:
            inputs = {
                input_id: {**entry, "source": _rewired(entry["source"], self.bridge, bridge)}
                for input_id, entry in node["inputs"].items()
            }
            own_id = bridge if node["id"] == self.bridge else node["id"]
            nodes.append({**node, "id": own_id, "inputs": inputs})
            if own_id == bridge and "deploy" in node:
                placed["deploy"] = node["deploy"]
        nodes.append(placed)
        document = {**self._document, "nodes": nodes}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True), bridge, probe


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
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yml")})
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
    _known_keys(document, _TOP_KEYS, f"the dataflow {path}", None, problems)
    nodes = []
    for index, raw in enumerate(document["nodes"]):
        try:
            nodes.append(_read_node(raw, index, path.parent, problems))
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


def _read_node(
    node: Any, index: int, folder: Path, problems: list[DataflowError]
) -> dict[str, Any]:
    """What Dora is given of a node.

    Raises:
        DataflowError: It cannot be told what node this is.
    """
    if not isinstance(node, dict) or not isinstance(node.get("id"), str) or not node["id"]:
        raise DataflowError(f"node {index + 1} has no id")
    name = node["id"]
    if "/" in name or name.startswith(f"{PROBE}-"):
        raise DataflowError(f"{name!r} is no name for a node", node=name)
    dynamic = node.get("path") == "dynamic"
    known = _NODE_KEYS | {CONTRACT_KEY} if dynamic else _NODE_KEYS
    _known_keys(node, known, f"node {name!r}", name, problems)
    inputs = node.get("inputs") or {}
    outputs = node.get("outputs") or []
    if not isinstance(inputs, dict):
        problems.append(DataflowError(f"node {name!r}: inputs must be a mapping", node=name))
        inputs = {}
    if not isinstance(outputs, list) or not all(isinstance(o, str) for o in outputs):
        words = f"node {name!r}: outputs must be a list of names"
        problems.append(DataflowError(words, node=name))
        outputs = []
    try:
        program = _program(node, name, folder)
    except DataflowError as exc:
        problems.append(exc)
        program = {"path": ""}
    read = {}
    for key, entry in inputs.items():
        try:
            read[str(key)] = _read_input(name, key, entry, problems)
        except DataflowError as exc:
            problems.append(exc)
    return {**node, **program, "inputs": read, "outputs": outputs}


def _contract(bridge: dict[str, Any], problems: list[DataflowError]) -> Contract:
    """Which contract a dataflow declares; Dora is not told."""
    name = bridge.pop(CONTRACT_KEY, NATIVE.name)
    contract = CONTRACTS.get(name) if isinstance(name, str) else None
    if contract is None:
        words = f"node {bridge['id']!r}: there is no contract {name!r}; there are "
        problems.append(DataflowError(words + ", ".join(CONTRACTS), node=bridge["id"]))
    return contract or NATIVE


def _program(node: Mapping[str, Any], name: str, folder: Path) -> dict[str, str]:
    path, args = node.get("path"), node.get("args") or ""
    if not isinstance(path, str) or not isinstance(args, str):
        raise DataflowError(f"node {name!r} needs a path, and args as one text", node=name)
    if path == "dynamic":
        return {"path": path}
    if path in {"python", "python3"}:
        _check_module(name, args, folder)
        return {"path": sys.executable, "args": args}
    if path == "shell" or "://" in path:
        raise DataflowError(f"node {name!r}: path {path!r} is not supported", node=name)
    file = folder / path
    if not file.is_file():
        # Not a file of the dataflow's: a program on PATH, as the daemon has it, with the
        # programs of the running interpreter first.
        program = shutil.which(path, path=program_path()) if "/" not in path else None
        if program is None:
            words = f"node {name!r}: there is no file {file}"
            if "/" not in path:
                words += ", and no such program is installed"
            raise DataflowError(words, node=name)
        return {"path": program, "args": args}
    if file.suffix == ".py":
        # Dora would run it with whatever `python` it finds, perhaps one without dora.
        return {"path": sys.executable, "args": f"{file.resolve()} {args}".strip()}
    return {"path": str(file.resolve()), "args": args}


def _check_module(name: str, args: str, folder: Path) -> None:
    words = args.split()
    if words[:1] == ["-m"] and len(words) > 1:
        try:
            found = importlib.util.find_spec(words[1]) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise DataflowError(f"node {name!r}: there is no module {words[1]}", node=name)
        return
    script = next((word for word in words if word.endswith(".py")), None)
    if script is not None and not (folder / script).is_file():
        raise DataflowError(f"node {name!r}: there is no file {folder / script}", node=name)


def _read_input(
    name: str, input_id: str, entry: Any, problems: list[DataflowError]
) -> dict[str, Any]:
    where = f"node {name!r}, input {input_id!r}"
    if isinstance(entry, str):
        entry = {"source": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise DataflowError(f"{where} has no source", node=name)
    _known_keys(entry, _INPUT_KEYS, where, name, problems)
    if entry["source"].startswith("dora/"):
        return entry
    if entry.setdefault("queue_policy", QUEUE_POLICY) != QUEUE_POLICY:
        raise DataflowError(f"{where}: queue_policy must be {QUEUE_POLICY}", node=name)
    size = entry.setdefault("queue_size", QUEUE_SIZE)
    if not isinstance(size, int) or size < QUEUE_SIZE:
        raise DataflowError(f"{where}: queue_size must be {QUEUE_SIZE} or more", node=name)
    return entry


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
            words = f"{where}: there is no node {source!r}{_hint(source, by_id)}"
            problems.append(DataflowError(words, node=node["id"]))
        elif output not in by_id[source]["outputs"]:
            hint = _hint(output, by_id[source]["outputs"])
            words = f"{where}: node {source!r} has no output {output!r}{hint}"
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


def _known_keys(
    mapping: Mapping[Any, Any],
    known: Collection[str],
    where: str,
    node: str | None,
    problems: list[DataflowError],
) -> None:
    for key in mapping:
        if key not in known:
            words = f"{where}: {str(key)!r} is not known{_hint(str(key), known)}"
            problems.append(DataflowError(words, node=node))


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _rewired(source: str, old: str, new: str) -> str:
    node, _, output = source.partition("/")
    return f"{new}/{output}" if node == old else source
