"""Values of a session in a dataflow's YAML: `{{ session.language }}` in a node's `env`.

A value gets into an environment variable and nowhere else, as one of those that the settings
list. What a client sends only chooses among them: no word of it reaches a path, a command, a
build step or a file name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from trio_bridge.dora.descriptors.node_entry import hint
from trio_bridge.dora.settings import SESSION_VALUES
from trio_bridge.errors import DataflowError

Values: TypeAlias = Mapping[str, str]
"""Names of `SESSION_VALUES` → their values."""

_PLACEHOLDER = re.compile(r"\{\{\s*session\.(\w+)\s*\}\}")
_OPENING = re.compile(r"\{\{\s*(\w+)(?:\.(\w+))?")
_NEAR = 0.8
"""How alike a word is at least (see `difflib`) to one of ours that it may stand for. Braces
with other words are somebody else's."""


def find_values(document: Mapping[str, Any], problems: list[DataflowError]) -> frozenset[str]:
    """The names that the nodes' environments ask for; notes placeholders that cannot be.

    Args:
        document: A dataflow, as it was read from YAML.
        problems: Where what is wrong is noted.
    """
    found = set[str]()
    for node, key, text in _texts(document):
        named = _PLACEHOLDER.findall(text)
        where = key if node is None else f"node {node!r}, {key}"
        opened = _OPENING.findall(text)
        for meant in (_meant(*words) for words in opened):
            if meant is not None:
                words = f"{where}: {text!r} is no placeholder (did you mean {{{{ {meant} }}}}?)"
                problems.append(DataflowError(words, node=node))
        if len(named) < sum(word == "session" for word, _ in opened):
            words = f"{where}: {text!r} is not of the form {{{{ session.NAME }}}}"
            problems.append(DataflowError(words, node=node))
        elif named and key != "env":
            words = f"{where}: {named[0]!r} may only stand in values of a node's env"
            problems.append(DataflowError(words, node=node))
        for name in named:
            if name not in SESSION_VALUES:
                close = hint(name, SESSION_VALUES)
                words = f"{where}: a session has no value {name!r}{close}"
                problems.append(DataflowError(words, node=node))
        found.update(named)
    return frozenset(found)


def fill(document: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The dataflow with the values of a session in its nodes' environments.

    Raises:
        KeyError: A value that it asks for is not there.
    """

    def filled(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return _PLACEHOLDER.sub(lambda match: values[match[1]], value)

    nodes = []
    for node in document["nodes"]:
        env = node.get("env")
        if isinstance(env, dict):
            node = {**node, "env": {name: filled(value) for name, value in env.items()}}
        nodes.append(node)
    return {**document, "nodes": nodes}


def _meant(word: str, name: str) -> str | None:
    """What the words in braces may stand for, if that is not what they say."""
    if word == "session":
        return None
    if not name:
        near = difflib.get_close_matches(word.lower(), SESSION_VALUES, n=1, cutoff=_NEAR)
        return f"session.{near[0]}" if near else None
    if difflib.get_close_matches(word.lower(), ["session"], cutoff=_NEAR):
        near = difflib.get_close_matches(name.lower(), SESSION_VALUES, n=1)
        return f"session.{near[0] if near else name}"
    return None


def _texts(document: Mapping[str, Any]) -> Iterator[tuple[str | None, str, str]]:
    """Every text with a placeholder, its node if it is of one, and the key it stands under.
    Names of variables count as `env name`."""
    for key, value in document.items():
        if key != "nodes":
            # Of the dataflow as a whole: its `env` is also that of the steps that build.
            yield from ((None, f"the dataflow's {key}", text) for text in _inside({key: value}))
    for node in document["nodes"]:
        for key, value in node.items():
            if key == "env" and isinstance(value, dict):
                yield from ((node["id"], "env name", str(name)) for name in value)
                yield from ((node["id"], "env", str(each)) for each in value.values())
            else:
                yield from ((node["id"], str(key), text) for text in _inside({key: value}))


def _inside(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _inside(key)
            yield from _inside(each)
    elif isinstance(value, list):
        for each in value:
            yield from _inside(each)
