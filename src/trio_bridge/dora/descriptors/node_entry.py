"""One node of a dataflow's YAML, checked by itself: what it is, its program, its inputs."""

from __future__ import annotations

import difflib
import importlib.util
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

from trio_bridge.dora.descriptors.node_keys import (
    NODE_KEYS,
    check_env,
    check_values,
    is_number,
    is_whole,
)
from trio_bridge.dora.runtimes.commands import program_path
from trio_bridge.errors import DataflowError

QUEUE_SIZE = 10_000
"""Messages an input holds. Dora's default is ten, and it drops the oldest without a word."""

QUEUE_POLICY = "backpressure"

CONTRACT_KEY = "contract"
"""On the bridge's node: what its dataflow speaks. Dora knows no such key."""

PROBE = "probe"
"""Prefix of the id of the node that waits, in its own process, for the others to attach."""

_UNSUPPORTED = {
    "hub": "install the package, and name its program as path",
    "module": "put its nodes here",
    "custom": "Dora 1.1 has no such nodes any more; name the program as path",
}
"""Keys of nodes → what to do instead. A module is looked for beside the file that Dora reads,
which is not the user's, and what comes from the hub has to be built first."""

_INPUT_KEYS = frozenset({"source", "queue_size", "queue_policy", "input_timeout"})
_POLICIES = ("backpressure", "drop_oldest")
_ID = re.compile(r"(?!\.)[A-Za-z0-9_.-]+")
_PORT = re.compile(r"[A-Za-z0-9_./-]+")
_SOURCE = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_./-]+")
_OF_DORA = re.compile(
    r"dora/timer/(secs|millis)/0*[1-9]\d*|dora/timer/hz/(?=.*[1-9])\d+(\.\d+)?|dora/logs(/.+)?"
)
_STARTED_BRIDGE = ["-m", "trio_bridge", "node"]

Kind = Literal["path", "dynamic", "operator", "operators", "ros2"]
"""What a node is: a program, one that attaches by itself, or what Dora's own programs run."""


@frozen
class Entry:
    """A node of a dataflow.

    Attributes:
        id: Its id.
        kind: What it is.
        inputs: Its inputs in the long form. They are also those of `document`, if it has a
            program of its own.
        outputs: Its outputs, as inputs name them.
        document: What Dora is given of it.
        module: The module that Python runs as this node; empty for anything else.
        starts_bridge: Whether Dora starts a bridge as this node.
    """

    id: str
    kind: Kind
    inputs: dict[str, dict[str, Any]]
    outputs: tuple[str, ...]
    document: dict[str, Any]
    module: str = ""
    starts_bridge: bool = False

    @property
    def env(self) -> Mapping[str, Any]:
        """What it adds to the environment, as it is written."""
        return env_in(self.document)

    def env_of(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Its environment in a dataflow that gives one to all: its own has the last word."""
        return {**shared, **self.env}


def env_in(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """The environment that a node, or a dataflow, is written to have."""
    env = owner.get("env")
    return env if isinstance(env, dict) else {}


def read_node(node: Any, index: int, folder: Path, problems: list[DataflowError]) -> Entry:
    """A node of a dataflow's YAML.

    Raises:
        DataflowError: It cannot be told what node this is.
    """
    name = _read_id(node, index)
    kind = _kind(node)
    known = NODE_KEYS | {CONTRACT_KEY} if kind == "dynamic" else NODE_KEYS
    known_keys(node, known, f"node {name!r}", name, problems)
    check_values(node, name, problems)
    check_env(node.get("env"), f"node {name!r}, env", name, problems)
    if kind == "ros2":
        return Entry(name, kind, *_ports(name, node, "", problems), node)
    if kind in {"operator", "operators"}:
        return _read_operators(node, name, kind, folder, problems)
    inputs, outputs = _ports(name, node, "", problems)
    try:
        program = _program(node, name, folder)
    except DataflowError as exc:
        problems.append(exc)
        program = {"path": ""}
    words = node["args"].split() if isinstance(node.get("args"), str) else []
    document = {**node, **program, "inputs": inputs, "outputs": list(outputs)}
    module = words[1] if words[:1] == ["-m"] and len(words) > 1 else ""
    starts_bridge = kind == "path" and words[: len(_STARTED_BRIDGE)] == _STARTED_BRIDGE
    return Entry(name, kind, inputs, outputs, document, module, starts_bridge)


def _read_id(node: Any, index: int) -> str:
    where = f"node {index + 1}"
    if not isinstance(node, dict) or node.get("id") in (None, ""):
        raise DataflowError(f"{where} has no id")
    name = node["id"]
    if not isinstance(name, str):
        raise DataflowError(f"{where}: its id must be a text, in quotes: '{name}'")
    if not _ID.fullmatch(name):
        words = "it may have letters, digits, '_', '-' and '.', and not begin with '.'"
        raise DataflowError(f"{name!r} is no id for a node: {words}", node=name)
    if name == "dora" or name.startswith(f"{PROBE}-"):
        raise DataflowError(f"{name!r} is no id for a node: it is taken", node=name)
    return name


def _kind(node: Mapping[str, Any]) -> Kind:
    kinds: tuple[Kind, ...] = ("operator", "operators", "ros2")
    for kind in kinds:
        if kind in node and "path" not in node:
            return kind
    return "dynamic" if node.get("path") == "dynamic" else "path"


def _ports(
    name: str, owner: Mapping[str, Any], prefix: str, problems: list[DataflowError]
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Inputs in the long form and outputs, of a node or of one of its operators."""
    where = f"node {name!r}"
    inputs, outputs = owner.get("inputs") or {}, owner.get("outputs") or []
    if not isinstance(inputs, dict):
        problems.append(DataflowError(f"{where}: inputs must be a mapping", node=name))
        inputs = {}
    if not isinstance(outputs, list) or not all(isinstance(o, str) for o in outputs):
        problems.append(DataflowError(f"{where}: outputs must be a list of names", node=name))
        outputs = []
    for kind, ids in (("input", inputs), ("output", outputs)):
        for each in ids:
            if not _PORT.fullmatch(str(each)):
                words = f"{where}: {str(each)!r} is no name for an {kind}"
                problems.append(DataflowError(words, node=name))
    read = {}
    for key, entry in inputs.items():
        try:
            read[f"{prefix}{key}"] = _read_input(name, key, entry, problems)
        except DataflowError as exc:
            problems.append(exc)
    return read, tuple(f"{prefix}{output}" for output in outputs)


def _read_operators(
    node: Mapping[str, Any], name: str, kind: Kind, folder: Path, problems: list[DataflowError]
) -> Entry:
    """A node that is a program of Dora's, which runs somebody's operators."""
    single = kind == "operator"
    operators = [node[kind]] if single else node[kind]
    if not isinstance(operators, list) or not all(isinstance(o, dict) for o in operators):
        words = f"node {name!r}: {kind} must be a {'mapping' if single else 'list of mappings'}"
        problems.append(DataflowError(words, node=name))
        operators = []
    inputs: dict[str, dict[str, Any]] = {}
    outputs: list[str] = []
    found = []
    for operator in operators:
        prefix = "" if single else f"{operator.get('id')}/"
        more, others = _ports(name, operator, prefix, problems)
        inputs |= more
        outputs += others
        found.append({**operator, **dict(_operator_files(operator, name, folder, problems))})
    document = {**node, kind: found[0] if single and found else found}
    return Entry(name, kind, inputs, tuple(outputs), document)


def _operator_files(
    operator: Mapping[str, Any], name: str, folder: Path, problems: list[DataflowError]
) -> Iterator[tuple[str, Any]]:
    """Where an operator's program is, whatever directory Dora reads the dataflow in."""
    for key in ("python", "shared-library", "wasm"):
        said = operator.get(key)
        source = said.get("source") if isinstance(said, dict) else said
        if not isinstance(source, str) or "://" in source:
            continue
        file = (folder / source).resolve()
        # Of a library Dora completes the name.
        if key == "python" and not file.is_file():
            problems.append(DataflowError(f"node {name!r}: there is no file {file}", node=name))
        yield key, {**said, "source": str(file)} if isinstance(said, dict) else str(file)


def _program(node: Mapping[str, Any], name: str, folder: Path) -> dict[str, str]:
    for key, why in _UNSUPPORTED.items():
        if key in node:
            raise DataflowError(f"node {name!r}: {key!r} is not supported: {why}", node=name)
    path, args = node.get("path"), node.get("args") or ""
    if not isinstance(path, str) or not isinstance(args, str):
        raise DataflowError(f"node {name!r} needs a path, and args as one text", node=name)
    if path == "dynamic":
        return {"path": path}
    if "git" in node:
        # Of a repository that Dora fetches: nothing of it is here.
        return {"path": path, "args": args}
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
        except (ImportError, ValueError):
            found = False
        if not found:
            raise DataflowError(f"node {name!r}: there is no module {words[1]}", node=name)
        return
    script = next((word for word in words if word.endswith(".py")), None)
    if script is not None and not (folder / script).is_file():
        raise DataflowError(f"node {name!r}: there is no file {folder / script}", node=name)


def _read_input(
    name: str, input_id: str, said: Any, problems: list[DataflowError]
) -> dict[str, Any]:
    where = f"node {name!r}, input {input_id!r}"

    def wrong(words: str) -> None:
        problems.append(DataflowError(f"{where}: {words}", node=name))

    if isinstance(said, str):
        said = {"source": said}
    if not isinstance(said, dict) or not isinstance(said.get("source"), str):
        raise DataflowError(f"{where} has no source", node=name)
    entry: dict[str, Any] = dict(said)
    known_keys(entry, _INPUT_KEYS, where, name, problems)
    source = entry["source"]
    if source.partition("/")[0] == "dora":
        if not _OF_DORA.fullmatch(source):
            wrong(f"{source!r} is no source; Dora has dora/timer/secs/1, millis/500 or hz/2")
    elif not _SOURCE.fullmatch(source):
        raise DataflowError(
            f"{where}: {source!r} is no source: it must be NODE/OUTPUT", node=name
        )
    if not is_whole(entry.get("queue_size", 0)):
        wrong("queue_size must be a whole number")
        del entry["queue_size"]
    if entry.get("queue_policy", QUEUE_POLICY) not in _POLICIES:
        wrong(f"queue_policy must be one of {', '.join(_POLICIES)}")
        del entry["queue_policy"]
    if not is_number(entry.get("input_timeout", 0)):
        wrong("input_timeout must be a number of seconds")
    return entry


def known_keys(
    mapping: Mapping[Any, Any],
    known: Collection[str],
    where: str,
    node: str | None,
    problems: list[DataflowError],
) -> None:
    """Note the keys that there are none of."""
    for key in mapping:
        if key not in known:
            words = f"{where}: {str(key)!r} is not known{hint(str(key), known)}"
            problems.append(DataflowError(words, node=node))


def hint(word: str, known: Iterable[str]) -> str:
    """What may have been meant, in brackets; empty if nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
