"""A dataflow's file as YAML, read more strictly than YAML is: nothing in it is lost or taken
for something else without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from trio_bridge.errors import DataflowError

MOST_LEVELS: Final = 50
"""How deep a dataflow may be nested; Dora's own keys go six levels deep."""

MOST_VALUES: Final = 100_000
"""Values that a dataflow may have, those that aliases repeat counted each time."""


class _Refused(yaml.MarkedYAMLError):
    """It is YAML, and does not do as a dataflow."""

    def __init__(self, words: str, mark: Any) -> None:
        super().__init__(None, None, words, mark)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands there twice, and what is nested without end. Dates are texts,
    as Dora has them."""

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._level += 1
        if self._level > MOST_LEVELS:
            words = f"it is nested more than {MOST_LEVELS} levels deep"
            event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _Refused(words, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and "\0" in node.value:
            raise _Refused("there is a text with a null character", node.start_mark)
        self._level -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _values(node, {}) > MOST_VALUES:
            raise _Refused(f"it has more than {MOST_VALUES} values", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: Any = None) -> dict[Any, Any]:
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _Refused(f"the key {key.value!r} is there twice", key.start_mark)
                seen.add((key.tag, key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, bool(deep))
        return mapping


_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0] != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(path: Path) -> dict[str, Any]:
    """The dataflow in a file; its nodes are a list.

    Raises:
        DataflowError: It is none; names the line.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)  # noqa: S506  safe
    except (OSError, UnicodeDecodeError) as exc:
        raise DataflowError(f"the dataflow {path} cannot be read: {exc}") from exc
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        said = "; ".join(filter(None, (exc.problem, exc.context)))
        kind = "" if isinstance(exc, _Refused) else " is not YAML"
        raise DataflowError(f"the dataflow {path}{kind}{line}: {said}") from exc
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        # Numbers and the like that YAML's own rules take for one, and Python does not.
        words = " ".join(str(exc).split())
        raise DataflowError(f"the dataflow {path} is not YAML: {words}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise DataflowError(f"the dataflow {path} has no list of nodes")
    return document


def _values(node: yaml.Node, known: dict[int, int | None]) -> int:
    """How many values a node stands for, aliases followed."""
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise _Refused("an alias stands in what it is an alias of", node.start_mark)
        return count
    known[id(node)] = None
    count = 1 + sum(_values(child, known) for child in _children(node))
    known[id(node)] = count
    return count


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
