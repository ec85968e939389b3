"""One node of a dataflow's YAML, checked by itself: its keys, its program, its inputs."""

from __future__ import annotations

import difflib
import importlib.util
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from trio_bridge.dora.commands import program_path
from trio_bridge.errors import DataflowError

QUEUE_SIZE = 10_000
"""Messages an input holds. Dora's default is ten, and it drops the oldest without a word."""

QUEUE_POLICY = "backpressure"

CONTRACT_KEY = "contract"
"""On the bridge's node: what its dataflow speaks. Dora knows no such key."""

PROBE = "probe"
"""Prefix of the id of the node that waits, in its own process, for the others to attach."""

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


def read_node(
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
    known_keys(node, known, f"node {name!r}", name, problems)
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
    known_keys(entry, _INPUT_KEYS, where, name, problems)
    if entry["source"].startswith("dora/"):
        return entry
    if entry.setdefault("queue_policy", QUEUE_POLICY) != QUEUE_POLICY:
        raise DataflowError(f"{where}: queue_policy must be {QUEUE_POLICY}", node=name)
    size = entry.setdefault("queue_size", QUEUE_SIZE)
    if not isinstance(size, int) or size < QUEUE_SIZE:
        raise DataflowError(f"{where}: queue_size must be {QUEUE_SIZE} or more", node=name)
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
