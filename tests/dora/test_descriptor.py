"""A dataflow's mistakes are found before Dora sees it, and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from trio_bridge.dora.descriptor import examine, find_dataflow, read_descriptor
from trio_bridge.errors import DataflowError
from trio_bridge.messages import Capabilities

GOOD = """
nodes:
  - id: bridge
    path: dynamic
    inputs:
      answer: own/answer
      ack-own: own/ack
    outputs: [listen, cancel]
  - id: own
    path: node.py
    args: --fast
    inputs:
      listen: bridge/listen
      cancel: {source: bridge/cancel, queue_size: 20000}
      tick: dora/timer/millis/100
    outputs: [answer, ack]
"""


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    (tmp_path / "node.py").touch()
    (tmp_path / "flow.yml").write_text(GOOD)
    return tmp_path / "flow.yml"


def test_queues_are_completed_and_ids_rewired(flow: Path) -> None:
    descriptor = read_descriptor(flow)
    text, bridge, probe = descriptor.instance("7")
    nodes = {node["id"]: node for node in yaml.safe_load(text)["nodes"]}
    assert set(nodes) == {bridge, probe, "own"}
    own = nodes["own"]
    assert own["inputs"]["listen"] == {
        "source": f"{bridge}/listen",
        "queue_size": 10_000,
        "queue_policy": "backpressure",
    }
    assert own["inputs"]["cancel"]["queue_size"] == 20_000
    assert own["inputs"]["tick"] == {"source": "dora/timer/millis/100"}
    assert nodes[bridge]["inputs"]["answer"]["source"] == "own/answer"
    assert own["path"] == sys.executable
    assert own["args"] == f"{flow.parent / 'node.py'} --fast"


def test_two_instances_share_nothing_that_must_be_unique(flow: Path) -> None:
    descriptor = read_descriptor(flow)
    assert set(descriptor.instance("a")[1:]).isdisjoint(descriptor.instance("b")[1:])


def test_capabilities_are_told_from_the_ports() -> None:
    assert read_descriptor(find_dataflow("echo")).capabilities == Capabilities(
        speech=False, transcripts=False, responses=False
    )


def test_a_ping_must_travel_every_link(flow: Path) -> None:
    assert read_descriptor(flow).reached() == {
        ("own", "listen"),
        ("own", "cancel"),
        ("bridge", "answer"),
    }


@pytest.mark.parametrize(
    ("old", "new", "node", "words"),
    [
        ("path: node.py", "path: nodee.py", "own", "there is no file"),
        ("path: node.py", "paht: node.py", "own", "'paht' is not known.*'path'"),
        ("path: node.py", "path: shell", "own", "not supported"),
        ("path: node.py", "path: https://example.com/node.py", "own", "not supported"),
        (
            "path: node.py\n    args: --fast",
            "path: python\n    args: -m nowhere.at",
            "own",
            "mod",
        ),
        (
            "path: node.py\n    args: --fast",
            "path: python\n    args: gone.py",
            "own",
            "no file",
        ),
        ("path: node.py", "path: dynamic", None, "has 2"),
        ("path: dynamic", "path: node.py", None, "has 0"),
        ("id: own\n    path", "id: bridge\n    path", "bridge", "two nodes"),
        ("id: own\n    path", "name: own\n    path", None, "node 2 has no id"),
        ("queue_size: 20000", "queue_sise: 20000", "own", "did you mean 'queue_size'"),
        ("queue_size: 20000", "queue_size: 10", "own", "queue_size must be 10000"),
        ("queue_size: 20000", "queue_policy: drop_oldest", "own", "must be backpressure"),
        ("{source: bridge/cancel, queue", "{queue", "own", "has no source"),
        ("bridge/listen", "brigde/listen", "own", "no node 'brigde'.*'bridge'"),
        ("bridge/listen", "bridge/listem", "own", "no output 'listem'.*'listen'"),
        ("answer: own/answer", "answers: own/answer", "bridge", "no port 'answers'"),
        ("[listen, cancel]", "[listen, cancel, shout]", "bridge", "no port 'shout'"),
        ("[listen, cancel]", "[listen, cancel, credit]", "bridge", "nobody reads"),
        ("      ack-own: own/ack\n", "", "own", "'ack' must be an input 'ack-own'"),
        ("[answer, ack]", "answer", "own", "outputs must be a list"),
        ("nodes:", "nodez:", None, "no list of nodes"),
        ("nodes:", "deplyo: {}\nnodes:", None, "'deplyo' is not known"),
        ("nodes:", "nodes: [", None, "is not YAML"),
    ],
)
def test_mistakes_are_named(
    flow: Path, old: str, new: str, node: str | None, words: str
) -> None:
    assert old in GOOD
    flow.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(DataflowError, match=words) as caught:
        read_descriptor(flow)
    assert caught.value.node == node
    assert "\n" not in str(caught.value)


def test_dataflows_are_found_by_name_or_path(flow: Path) -> None:
    assert find_dataflow("voice").name == "voice.yml"
    assert find_dataflow(str(flow)) == flow
    with pytest.raises(DataflowError, match=r"'vioce'; there are echo, primespeech, voice$"):
        find_dataflow("vioce")
    with pytest.raises(DataflowError, match="no dataflow file"):
        find_dataflow("./nowhere.yml")


HUB = """
nodes:
  - id: bridge
    path: dynamic
    contract: hub
    inputs:
      speech_probability: ears/speech_probability
      speech_started: ears/speech_started
      question_ended: ears/question_ended
      audio_segment: ears/audio_segment
      transcription: ears/transcription
      text: mind/text
    outputs: [audio, segment, question]
  - id: ears
    path: node.py
    inputs: {audio: bridge/audio, segment: bridge/segment}
    outputs: [speech_probability, speech_started, question_ended, audio_segment, transcription]
  - id: mind
    path: node.py
    inputs: {text: bridge/question}
    outputs: [text]
"""


def test_a_dataflow_may_speak_the_hub_contract(flow: Path) -> None:
    """Its nodes acknowledge nothing, an instance holds one session, and Dora is not told."""
    flow.write_text(HUB)
    descriptor = read_descriptor(flow)
    assert descriptor.contract.name == "hub"
    assert descriptor.contract.sessions == 1
    assert descriptor.capabilities == Capabilities()
    assert "contract" not in descriptor.instance("7")[0]
    deaf = HUB.replace(", question]", "]").replace("      text: mind/text\n", "")
    flow.write_text(deaf.replace("bridge/question", "ears/transcription"))
    assert read_descriptor(flow).capabilities == Capabilities(responses=False)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("contract: hub", "contract: hubb", "no contract 'hubb'; there are native, hub"),
        ("contract: hub", "contract: [hub]", "no contract"),
        ("contract: hub", "contract: native", "no port 'speech_probability'"),
        ("contract: hub", "", "no port 'speech_probability'"),
        ("path: node.py", "path: node.py\n    contract: hub", "'contract' is not known"),
        ("      question_ended: ears/question_ended\n", "", "needs the input 'question_ended'"),
        ("      text: mind/text\n", "", "has 'question' and so needs the input 'text'"),
        ("[audio, segment, question]", "[audio, segment, question, sentence]", "nobody reads"),
        ("segment: bridge/segment}", "}", "nobody reads its output 'segment'"),
    ],
)
def test_mistakes_about_the_contract_are_named(
    flow: Path, old: str, new: str, words: str
) -> None:
    assert old in HUB
    flow.write_text(HUB.replace(old, new, 1))
    with pytest.raises(DataflowError, match=words):
        read_descriptor(flow)


def test_all_problems_are_found(flow: Path) -> None:
    """One of each node, and none twice."""
    flow.write_text(GOOD.replace("node.py", "gone.py").replace("nodes:", "x: 1\nnodes:"))
    descriptor, problems = examine(flow)
    assert descriptor is not None
    assert [str(problem).partition(":")[0] for problem in problems] == [
        f"the dataflow {flow}",
        "node 'own'",
    ]
