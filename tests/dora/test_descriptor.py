"""A dataflow's mistakes are found before Dora sees it, and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from trio_bridge.dora.descriptors.dataflow_file import examine, find_dataflow, read_descriptor
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
            "path: python\n    args: -m .x",
            "own",
            "module .x",
        ),
        (
            "path: node.py\n    args: --fast",
            "path: python\n    args: gone.py",
            "own",
            "no file",
        ),
        ("path: node.py", "path: dynamic", None, "has 2 nodes with `path: dynamic`"),
        ("path: dynamic", "path: node.py", None, "has 0"),
        ("path: node.py", "hub: echo", "own", "'hub' is not supported: install the package"),
        ("path: node.py", "module: m.yml", "own", "'module' is not supported: put its nodes"),
        ("path: node.py", "path: x\n    git: y", "own", "'git' is not supported: clone it"),
        ("path: node.py", "custom: {}", "own", "'custom' is not supported: Dora 1.1 has no"),
        ("id: own\n    path", "id: 5\n    path", None, "must be a text, in quotes: '5'"),
        ("id: own\n    path", "id: o wn\n    path", "o wn", "'o wn' is no id for a node"),
        ("id: own\n    path", "id: dora\n    path", "dora", "is no id for a node: it is taken"),
        ("id: own\n    path", "id: own\n    id: own\n    path", None, "line 10: the key 'id'"),
        ("args: --fast", "restart_policy: allways", "own", "one of never, on-failure, always"),
        ("args: --fast", "max_restarts: x", "own", "max_restarts must be a whole number"),
        ("args: --fast", "health_check_timeout: soon", "own", "a number of seconds"),
        ("args: --fast", "env: {A: null}", "own", "env: A must be a text, a number"),
        ("args: --fast", "env: {A: !!set {a}}", "own", "env: A must be a text, a number"),
        ("args: --fast", "env: {A: !!binary aGk=}", "own", "env: A must be a text, a number"),
        ("args: --fast", "env: [A]", "own", "env must be a mapping"),
        ("nodes:", "env: {A: [1]}\nnodes:", None, "the dataflow's env: A must be a text"),
        ("args: --fast", "env: {TRIO_BRIDGE_LLM_ULR: x}", "own", "mean TRIO_BRIDGE_LLM_URL"),
        ("args: --fast", "env: {TRIO_BRIDGE_SERVER_PORT: 1}", "own", "sets nothing"),
        (
            "timer/millis/100",
            "timer/millis/soon",
            "own",
            "'dora/timer/millis/soon' is no source",
        ),
        ("timer/millis/100", "timer/millis/0", "own", "'dora/timer/millis/0' is no source"),
        ("own/answer", "own", "bridge", "'own' is no source: it must be NODE/OUTPUT"),
        ("own/answer", "bridge/listen", "bridge", "it comes from the bridge itself"),
        ("id: own\n    path", "id: bridge\n    path", "bridge", "two nodes"),
        ("id: own\n    path", "name: own\n    path", None, "node 2 has no id"),
        ("queue_size: 20000", "queue_sise: 20000", "own", "did you mean 'queue_size'"),
        ("queue_size: 20000", "queue_size: 10", "own", "queue_size must be 10000"),
        ("queue_size: 20000", "queue_size: many", "own", "queue_size must be a whole number"),
        ("queue_size: 20000", "queue_policy: drop_oldest", "own", "must be backpressure"),
        ("queue_size: 20000", "queue_policy: drop", "own", "one of backpressure, drop_oldest"),
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


BESIDE = """
  - id: camera
    path: node.py
    inputs: {tick: {source: dora/timer/millis/20, queue_size: 1}}
    outputs: [image]
  - id: plot
    path: node.py
    inputs:
      image: {source: camera/image, queue_size: 1, queue_policy: drop_oldest}
      sound: {source: own/answer, queue_size: 1}
  - id: eye
    operator: {python: node.py, inputs: {image: camera/image}, outputs: [seen]}
  - id: mind
    operators:
      - {id: a, python: {source: node.py}, inputs: {seen: eye/seen}, outputs: [thought]}
      - {id: b, shared-library: mind, inputs: {thought: mind/a/thought}}
  - {id: ros, ros2: {topic: /x, message_type: a/B, direction: subscribe}, outputs: [x]}
"""


def test_nodes_beside_the_bridge_are_nobodys_business(flow: Path) -> None:
    """Their queues, and whatever Dora can run, are passed on; files are found from anywhere."""
    flow.write_text(GOOD + BESIDE)
    descriptor = read_descriptor(flow)
    assert descriptor.nodes == ("own",)
    assert descriptor.others == ("camera", "plot", "eye", "mind", "ros")
    assert descriptor.reached() == {("own", "listen"), ("own", "cancel"), ("bridge", "answer")}
    # Dora lets none begin before all have attached.
    assert descriptor.attaching == ("own", *descriptor.others)
    nodes = {node["id"]: node for node in yaml.safe_load(descriptor.instance("7")[0])["nodes"]}
    sources = yaml.safe_load(BESIDE)
    inputs = {each["id"]: each["inputs"] for each in sources if "inputs" in each}
    assert nodes["camera"]["inputs"] == inputs["camera"]
    assert nodes["plot"]["inputs"] == inputs["plot"]
    script = str(flow.parent / "node.py")
    assert nodes["eye"]["operator"]["python"] == script
    assert nodes["mind"]["operators"][0]["python"] == {"source": script}
    assert nodes["mind"]["operators"][1]["shared-library"] == str(flow.parent / "mind")
    assert nodes["ros"] == sources[-1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("eye/seen", "eye/sene", "node 'eye' has no output 'sene' (did you mean 'seen'?)"),
        ("mind/a/thought", "mind/thought", "has no output 'thought'"),
        ("drop_oldest", "drop_newest", "queue_policy must be one of"),
        ("python: node.py", "python: gone.py", "node 'eye': there is no file"),
        ("operators:\n      -", "operators:\n      - x\n      -", "must be a list of mappings"),
        ("operator: {", "operator: []\n    env: {", "operator must be a mapping"),
        ("image: camera/image}", "image: bridge/listen}", "'eye' cannot stand on a way"),
    ],
)
def test_mistakes_beside_the_bridge_are_named(
    flow: Path, old: str, new: str, words: str
) -> None:
    assert old in BESIDE
    flow.write_text(GOOD + BESIDE.replace(old, new, 1))
    _, problems = examine(flow)
    assert any(words in str(problem) for problem in problems), problems


def test_of_several_dynamic_nodes_the_bridge_names_its_contract(flow: Path) -> None:
    """The other is for somebody to attach, and is passed on."""
    guest = "\n  - {id: guest, path: dynamic, inputs: {sound: own/answer}}\n"
    flow.write_text(
        GOOD.replace("path: dynamic", "path: dynamic\n    contract: native") + guest
    )
    descriptor = read_descriptor(flow)
    assert (descriptor.bridge, descriptor.others) == ("bridge", ("guest",))
    assert descriptor.attaching == ("own",)
    on_the_way = guest.replace("own/answer", "bridge/listen")
    flow.write_text(flow.read_text().replace(guest, on_the_way))
    with pytest.raises(DataflowError, match=r"'guest' cannot stand on a way.*nobody"):
        read_descriptor(flow)


def test_a_bridge_that_dora_starts_is_a_bridge() -> None:
    """It can be examined, and no server can serve it."""
    path = find_dataflow("as_node")
    descriptor, problems = examine(path)
    assert not problems
    assert descriptor is not None
    assert (descriptor.bridge, descriptor.starts_bridge) == ("bridge", True)
    assert descriptor.capabilities == read_descriptor(find_dataflow("voice")).capabilities
    with pytest.raises(DataflowError, match="starts a bridge of its own"):
        read_descriptor(path)


def test_where_dora_starts_the_bridge_nodes_may_have_to_be_built(tmp_path: Path) -> None:
    flow = tmp_path / "flow.yml"
    node = "  - {id: camera, git: https://example.com/x.git, path: camera.py}\n"
    flow.write_text(find_dataflow("as_node").read_text() + node)
    assert not examine(flow)[1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{source: tts/answer, queue_size: 10000,", "{source: tts/answer,", "dora drops"),
        (
            "--port 8080",
            "--port 8080\n    env: {TRIO_BRIDGE_NODE_CONTRACT: hob}",
            "no contract",
        ),
        ("--port 8080", "--port 8080\n    contract: native", "'contract' is not known"),
    ],
)
def test_mistakes_where_dora_starts_the_bridge(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    text = find_dataflow("as_node").read_text()
    assert old in text
    flow = tmp_path / "flow.yml"
    flow.write_text(text.replace(old, new, 1))
    _, problems = examine(flow)
    assert any(words in str(problem) for problem in problems), problems


def test_variables_that_may_be_misspelt_are_doubts(flow: Path) -> None:
    """Of our own nodes only: others may have any."""
    ours = GOOD.replace("path: node.py", "path: python").replace(
        "args: --fast", "args: -m trio_bridge.nodes.asr\n    env: {ASR_MODLE: x}"
    )
    flow.write_text(ours)
    assert read_descriptor(flow).doubts == (
        "node 'own', env: ASR_MODLE may be misspelt (did you mean ASR_MODEL?)",
    )
    flow.write_text(GOOD.replace("args: --fast", "env: {ASR_MODLE: x}"))
    assert not read_descriptor(flow).doubts


def test_what_the_dataflow_gives_to_all_nodes_is_looked_at_once(flow: Path) -> None:
    """Dora puts its `env` into the environment of each; a node's own has the last word."""
    top = "env: {TRIO_BRIDGE_LLM_ULR: x, ASR_MODLE: x, ASR_ENGIN: x, OTHER: x}\n"
    node = "args: -m trio_bridge.nodes.asr\n    env: {ASR_MODEL: x, ASR_DEVIC: x}"
    ours = GOOD.replace("path: node.py", "path: python").replace("args: --fast", node)
    flow.write_text(top + ours)
    descriptor, problems = examine(flow)
    assert [str(problem) for problem in problems] == [
        "the dataflow's env: TRIO_BRIDGE_LLM_ULR sets nothing "
        "(did you mean TRIO_BRIDGE_LLM_URL?)"
    ]
    assert descriptor is not None
    assert descriptor.doubts == (
        "the dataflow's env: ASR_MODLE may be misspelt (did you mean ASR_MODEL?)",
        "the dataflow's env: ASR_ENGIN may be misspelt (did you mean ASR_ENGINE?)",
        "node 'own', env: ASR_DEVIC may be misspelt (did you mean ASR_DEVICE?)",
    )
    flow.write_text(top.replace("TRIO_BRIDGE_LLM_ULR: x,", "") + GOOD)
    assert not read_descriptor(flow).doubts


def test_where_dora_starts_the_bridge_its_environment_may_be_the_dataflow_s(
    tmp_path: Path,
) -> None:
    text = find_dataflow("as_node").read_text()
    flow = tmp_path / "flow.yml"
    top = "env: {TRIO_BRIDGE_NODE_CONTRACT: hob, TRIO_BRIDGE_SERVER_PORT: 8081}\n"
    flow.write_text(top + text)
    descriptor, problems = examine(flow)
    assert [str(problem) for problem in problems] == [
        "node 'bridge': there is no contract 'hob'; there are native, hub"
    ]
    assert descriptor is not None
    assert descriptor.bridge_env["TRIO_BRIDGE_SERVER_PORT"] == 8081
    own = "--port 8080\n    env: {TRIO_BRIDGE_NODE_CONTRACT: native}"
    flow.write_text(top + text.replace("--port 8080", own, 1))
    assert not examine(flow)[1]


def test_dataflows_are_found_by_name_or_path(flow: Path) -> None:
    assert find_dataflow("voice").name == "voice.yml"
    assert find_dataflow(str(flow)) == flow
    with pytest.raises(DataflowError, match=r"'vioce'; there are echo, primespeech, voice$"):
        find_dataflow("vioce")
    assert find_dataflow("as_node").name == "as_node.yml"
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
