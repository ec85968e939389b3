"""Which nodes and links of a dataflow the contract is about."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.descriptors.wiring import Link, links_among, nodes_of_contract


def linked(*ways: str) -> list[Link]:
    """`a>b`: a node's output feeds another's input."""
    ends = (way.split(">") for way in ways)
    return [Link(node, f"from-{source}", source, f"to-{node}") for source, node in ends]


def test_nodes_that_are_linked_with_the_bridge_are_of_the_contract() -> None:
    """Those that it speaks to, and those that it hears."""
    assert nodes_of_contract("bridge", linked("bridge>ear", "mouth>bridge")) == {"ear", "mouth"}


def test_nodes_on_a_way_back_to_the_bridge_are_of_the_contract() -> None:
    links = linked("bridge>ear", "ear>filter", "filter>asr", "asr>bridge", "filter>filter")
    assert nodes_of_contract("bridge", links) == {"ear", "filter", "asr"}


def test_nodes_that_only_listen_in_or_have_a_say_are_not() -> None:
    """A recorder of what a node says, a camera that feeds one, and what is by itself."""
    links = linked(
        *("bridge>echo", "echo>bridge", "echo>recorder", "recorder>disk"),
        *("lens>camera", "camera>echo", "clock>display"),
    )
    nodes = nodes_of_contract("bridge", links)
    assert nodes == {"echo"}
    assert links_among({"bridge", *nodes}, links) == tuple(linked("bridge>echo", "echo>bridge"))


NAMES = st.sampled_from(["bridge", *"abcdef"])


def after(start: str, links: Iterable[Link]) -> set[str]:
    reached, new = set[str](), {start}
    while new:
        reached |= new
        new = {x.node for x in links if x.source in reached} - reached
    return reached


@given(st.lists(st.tuples(NAMES, NAMES), max_size=15))
def test_nothing_of_the_bridges_comes_back_by_way_of_others(
    ways: list[tuple[str, str]],
) -> None:
    """Of others none is both reached from the bridge and leads to it."""
    links = linked(*(f"{source}>{node}" for source, node in ways))
    nodes = nodes_of_contract("bridge", links)
    others = {end for way in ways for end in way} - nodes - {"bridge"}
    for other in others:
        comes_from_bridge = other in after("bridge", links)
        leads_to_bridge = "bridge" in after(other, links)
        assert not (comes_from_bridge and leads_to_bridge)
    assert all(x.node not in others or x.source != "bridge" for x in links)
