"""Nodes and the links between them, and which of them the contract is about.

A dataflow is somebody's own: beside the nodes that the bridge speaks with it may have any
others. The contract is about the nodes that are linked with the bridge, and those on a way that
leads from it back to it: what it says to one of its nodes may reach it again through them. It
is about the links among these, and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from trio_bridge.dora.descriptors.node_entry import Entry, hint
from trio_bridge.errors import DataflowError


@frozen
class Link:
    """An input of a node, and the output of another that feeds it."""

    node: str
    input_id: str
    source: str
    output: str


def links_of(
    entry: Entry, by_id: Mapping[str, Entry], problems: list[DataflowError]
) -> Iterator[Link]:
    """The links that feed a node; finds those that lead nowhere."""
    for input_id, read in entry.inputs.items():
        source, _, output = read["source"].partition("/")
        if source == "dora":
            continue
        where = f"node {entry.id!r}, input {input_id!r}"
        if source not in by_id:
            words = f"{where}: there is no node {source!r}{hint(source, by_id)}"
            problems.append(DataflowError(words, node=entry.id))
        elif output not in by_id[source].outputs:
            close = hint(output, by_id[source].outputs)
            words = f"{where}: node {source!r} has no output {output!r}{close}"
            problems.append(DataflowError(words, node=entry.id))
        else:
            yield Link(entry.id, input_id, source, output)


def nodes_of_contract(bridge: str, links: Collection[Link]) -> frozenset[str]:
    """The nodes that the contract is about; see the module."""
    linked = {end for x in links for end in (x.node, x.source) if bridge in {x.node, x.source}}
    after = _reached(bridge, [(x.source, x.node) for x in links])
    before = _reached(bridge, [(x.node, x.source) for x in links])
    return frozenset((linked | (after & before)) - {bridge})


def _reached(start: str, ways: Iterable[tuple[str, str]]) -> set[str]:
    following: dict[str, set[str]] = {}
    for one, other in ways:
        following.setdefault(one, set()).add(other)
    reached, new = set[str](), {start}
    while new:
        reached |= new
        new = set[str]().union(*(following.get(each, ()) for each in new)) - reached
    return reached


def links_among(ends: Collection[str], links: Iterable[Link]) -> tuple[Link, ...]:
    """The links that both lead from and to one of certain nodes."""
    return tuple(x for x in links if x.node in ends and x.source in ends)


def entry_of(link: Link, by_id: Mapping[str, Entry]) -> dict[str, Any]:
    """What the YAML says of the input of a link."""
    return by_id[link.node].inputs[link.input_id]
