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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from trio_bridge.dora.contract import ROWS, port_of
from trio_bridge.errors import DataflowError
from trio_bridge.messages import Capabilities

QUEUE_SIZE = 10_000
"""Messages an input holds. Dora's default is ten, and it drops the oldest without a word."""

QUEUE_POLICY = "backpressure"

TO_NODES = ("listen", "request", "cancel", "credit")
"""Ports on which the bridge speaks."""

FROM_NODES = ("speech", "transcript", "answer", "ack")
"""Ports on which the bridge listens."""

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
    """

    name: str
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
        ports = {port_of(input_id) for input_id in self.inputs}
        return Capabilities(
            speech="speech" in ports,
            transcripts="transcript" in ports,
            responses="request" in {port_of(output) for output in self.outputs},
        )

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
        for node in self._document["nodes"]:
            inputs = {
                input_id: {**entry, "source": _rewired(entry["source"], self.bridge, bridge)}
                for input_id, entry in node["inputs"].items()
            }
            own_id = bridge if node["id"] == self.bridge else node["id"]
            nodes.append({**node, "id": own_id, "inputs": inputs})
        nodes.append({"id": probe, "path": "dynamic"})
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
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise DataflowError(f"the dataflow {path} cannot be read: {exc}") from exc
    except yaml.YAMLError as exc:
        words = " ".join(str(exc).split())
        raise DataflowError(f"the dataflow {path} is not YAML: {words}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise DataflowError(f"the dataflow {path} has no list of nodes")
    _known_keys(document, _TOP_KEYS, f"the dataflow {path}", None)
    nodes = [
        _read_node(node, index, path.parent) for index, node in enumerate(document["nodes"])
    ]
    by_id = {node["id"]: node for node in nodes}
    if len(by_id) < len(nodes):
        twice = next(n["id"] for n in nodes if sum(m["id"] == n["id"] for m in nodes) > 1)
        raise DataflowError(f"two nodes are called {twice!r}", node=twice)
    dynamic = [node["id"] for node in nodes if node["path"] == "dynamic"]
    if len(dynamic) != 1:
        raise DataflowError(
            f"the bridge is the one node with `path: dynamic`; {path} has {len(dynamic)}"
        )
    links = tuple(link for node in nodes for link in _links(node, by_id))
    descriptor = Descriptor(
        name=path.stem,
        nodes=tuple(node["id"] for node in nodes if node["path"] != "dynamic"),
        bridge=dynamic[0],
        outputs=tuple(by_id[dynamic[0]]["outputs"]),
        links=links,
        document={**document, "nodes": nodes},
    )
    _check_bridge(descriptor)
    return descriptor


def _read_node(node: Any, index: int, folder: Path) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("id"), str) or not node["id"]:
        raise DataflowError(f"node {index + 1} has no id")
    name = node["id"]
    if "/" in name or name.startswith(f"{PROBE}-"):
        raise DataflowError(f"{name!r} is no name for a node", node=name)
    _known_keys(node, _NODE_KEYS, f"node {name!r}", name)
    inputs = node.get("inputs") or {}
    outputs = node.get("outputs") or []
    if not isinstance(inputs, dict):
        raise DataflowError(f"node {name!r}: inputs must be a mapping", node=name)
    if not isinstance(outputs, list) or not all(isinstance(o, str) for o in outputs):
        raise DataflowError(f"node {name!r}: outputs must be a list of names", node=name)
    return {
        **node,
        **_program(node, name, folder),
        "inputs": {str(key): _read_input(name, key, entry) for key, entry in inputs.items()},
        "outputs": outputs,
    }


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
        # Not a file of the dataflow's: a program on PATH, as Dora itself would look for it.
        if len(Path(path).parts) > 1 or shutil.which(path) is None:
            raise DataflowError(f"node {name!r}: there is no file {file}", node=name)
        return {"path": path, "args": args}
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


def _read_input(name: str, input_id: str, entry: Any) -> dict[str, Any]:
    where = f"node {name!r}, input {input_id!r}"
    if isinstance(entry, str):
        entry = {"source": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
        raise DataflowError(f"{where} has no source", node=name)
    _known_keys(entry, _INPUT_KEYS, where, name)
    if entry["source"].startswith("dora/"):
        return entry
    if entry.setdefault("queue_policy", QUEUE_POLICY) != QUEUE_POLICY:
        raise DataflowError(f"{where}: queue_policy must be {QUEUE_POLICY}", node=name)
    size = entry.setdefault("queue_size", QUEUE_SIZE)
    if not isinstance(size, int) or size < QUEUE_SIZE:
        raise DataflowError(f"{where}: queue_size must be {QUEUE_SIZE} or more", node=name)
    return entry


def _links(node: Mapping[str, Any], by_id: Mapping[str, Any]) -> Iterable[Link]:
    for input_id, entry in node["inputs"].items():
        source, _, output = entry["source"].partition("/")
        if source == "dora":
            continue
        where = f"node {node['id']!r}, input {input_id!r}"
        if source not in by_id:
            hint = _hint(source, by_id)
            raise DataflowError(f"{where}: there is no node {source!r}{hint}", node=node["id"])
        if output not in by_id[source]["outputs"]:
            hint = _hint(output, by_id[source]["outputs"])
            raise DataflowError(
                f"{where}: node {source!r} has no output {output!r}{hint}", node=node["id"]
            )
        yield Link(node["id"], input_id, source, output)


def _check_bridge(descriptor: Descriptor) -> None:
    name = descriptor.bridge
    for ids, ports in ((descriptor.inputs, FROM_NODES), (descriptor.outputs, TO_NODES)):
        for port in ids:
            if port_of(port) not in ports:
                raise DataflowError(
                    f"node {name!r}: the bridge has no port {port!r}; "
                    f"here it has {', '.join(ports)}",
                    node=name,
                )
    for output in descriptor.outputs:
        if output not in ROWS:
            raise DataflowError(f"node {name!r}: output {output!r}: no suffix here", node=name)
        if not descriptor.readers(output):
            raise DataflowError(f"node {name!r}: nobody reads its output {output!r}", node=name)
    if "listen" not in descriptor.outputs:
        raise DataflowError(f"node {name!r} needs the output 'listen'", node=name)
    heard = {s for i, s in descriptor.inputs.items() if port_of(i) == "ack"}
    for node in descriptor.nodes:
        if node not in heard:
            raise DataflowError(
                f"node {node!r}: its output 'ack' must be an input 'ack-{node}' of the bridge",
                node=node,
            )


def _known_keys(
    mapping: Mapping[Any, Any], known: frozenset[str], where: str, node: str | None
) -> None:
    for key in mapping:
        if key not in known:
            hint = _hint(str(key), known)
            raise DataflowError(f"{where}: {str(key)!r} is not known{hint}", node=node)


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _rewired(source: str, old: str, new: str) -> str:
    node, _, output = source.partition("/")
    return f"{new}/{output}" if node == old else source
