"""What Dora tells a node that it starts, read from the bridge's side."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import yaml

from trio_bridge.dora.descriptors.node_config import read_node_config
from trio_bridge.errors import DataflowError

QUEUE = {"queue_size": 10000, "queue_policy": "backpressure"}
NODES: list[dict[str, Any]] = [
    {
        "id": "ear",
        "inputs": {
            "answer": {"source": "echo/answer", **QUEUE},
            "ack-echo": {"source": "echo/ack", **QUEUE},
        },
        "outputs": ["cancel", "listen"],
        "env": {"A": "b"},
        "deploy": None,
    },
    {
        "id": "echo",
        "inputs": {
            "listen": {"source": "ear/listen", **QUEUE},
            "cancel": {"source": "ear/cancel", **QUEUE},
            "tick": "dora/timer/millis/500",
        },
        "outputs": ["ack", "answer"],
    },
    # Somebody's own, which has nothing to do with the bridge.
    {"id": "recorder", "inputs": {"sound": "echo/answer"}, "outputs": None},
    {"id": "clock", "inputs": None, "outputs": ["time"]},
    {"id": "eye", "operator": {"inputs": {"at": "clock/time"}, "outputs": ["seen"]}},
    {
        "id": "mind",
        "operators": [{"id": "a", "inputs": {"seen": "eye/seen"}, "outputs": ["x"]}],
    },
    {"id": "diary", "inputs": {"thought": "mind/a/x"}, "outputs": []},
]


def environment(nodes: list[dict[str, Any]] = NODES, **more: str) -> dict[str, str]:
    config = {"node_id": "ear", "dataflow_descriptor": {"nodes": nodes}}
    text = yaml.safe_dump(config) + "daemon_communication: !Tcp\n  socket_addr: 127.0.0.1:1\n"
    return {"DORA_NODE_CONFIG": text, **more}


def test_the_bridge_sees_the_nodes_it_has_to_do_with():
    descriptor = read_node_config(environment())
    assert descriptor.bridge == "ear"
    assert descriptor.nodes == ("echo",)
    assert descriptor.others == ("recorder", "clock", "eye", "mind", "diary")
    assert descriptor.ports == {"answer", "ack", "listen", "cancel"}
    assert not descriptor.capabilities.responses
    assert descriptor.reached() == {
        ("echo", "listen"),
        ("echo", "cancel"),
        ("ear", "answer"),
    }


def test_inputs_that_dora_writes_in_the_short_form_can_be_read():
    """Those of nodes that are somebody's own, and nodes without any, too."""
    text, bridge, _ = read_node_config(environment()).instance("x")
    nodes = {node["id"]: node for node in yaml.safe_load(text)["nodes"]}
    assert nodes["echo"]["inputs"]["listen"]["source"] == f"{bridge}/listen"
    assert nodes["echo"]["inputs"]["tick"] == {"source": "dora/timer/millis/500"}
    assert nodes["clock"]["inputs"] == {}


def test_the_environment_tells_the_contract():
    with pytest.raises(DataflowError, match="the hub contract"):
        read_node_config(environment(TRIO_BRIDGE_NODE_CONTRACT="hub"))
    with pytest.raises(DataflowError, match="there are the contracts native, hub"):
        read_node_config(environment(TRIO_BRIDGE_NODE_CONTRACT="hob"))


@pytest.mark.parametrize(
    ("node", "key", "value", "words"),
    [
        (0, "outputs", ["cancel"], "has no output 'listen'"),
        (0, "inputs", {"ack-echo": {"source": "echo/ack"}}, "'ack-echo'.*queue_size: 10000"),
        (0, "inputs", {"answer": {"source": "echo/answer", **QUEUE}}, "its output 'ack' must"),
        (1, "inputs", {"listen": {"source": "ear/listen"}}, "nobody reads its output 'cancel'"),
    ],
)
def test_what_is_wrong_has_a_name(node, key, value, words):
    nodes = deepcopy(NODES)
    nodes[node][key] = value
    with pytest.raises(DataflowError, match=words):
        read_node_config(environment(nodes))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "this is for Dora to start"),
        ("", "this is for Dora to start"),
        ("a: [", "not what dora"),
        ("node_id: ear", "not what dora"),
        ("[]", "not what dora"),
        ("{node_id: x, dataflow_descriptor: {nodes: [{id: y}]}}", "not in its own dataflow"),
    ],
)
def test_a_process_that_dora_has_not_started(config, words):
    with pytest.raises(DataflowError, match=words):
        read_node_config({} if config is None else {"DORA_NODE_CONFIG": config})
