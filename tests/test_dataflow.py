import pytest

from tests.support.hub_nodes import write_dataflow
from trio_bridge.__main__ import main
from trio_bridge.dora.descriptor import find_dataflow


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("TRIO_BRIDGE_DORA_DATAFLOW", raising=False)
    monkeypatch.delenv("TRIO_BRIDGE_MODELS", raising=False)


def test_what_a_sound_dataflow_offers(capsys, tmp_path):
    """Its contract, nodes and ports; status 0."""
    assert main(["dataflow", "check", "echo"]) == 0
    out = capsys.readouterr().out
    assert "contract   native" in out
    assert "offers     answers of its own accord only" in out
    assert "output   listen -> echo/listen" in out
    assert "input    answer <- echo/answer" in out
    assert "no problem was found" in out
    assert main(["dataflow", "check", str(write_dataflow(tmp_path))]) == 0
    assert "contract   hub, 1 session an instance" in capsys.readouterr().out


def test_every_problem_is_a_line(capsys, tmp_path):
    """All of them at once, not the first; status 1."""
    path = tmp_path / "flow.yml"
    path.write_text(
        """
nodes:
  - id: bridge
    path: dynamic
    inputs: {answer: own/answers}
    outputs: [listen, shout]
  - id: own
    path: gone.py
    inptus: {}
    inputs: {listen: {source: bridge/listen, queue_size: 1}, text: nobody/text}
    outputs: [answer]
"""
    )
    assert main(["dataflow", "check", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith("problem")]
    for words in (
        "'inptus' is not known (did you mean 'inputs'?)",
        "there is no file",
        "queue_size must be 10000 or more",
        "there is no node 'nobody'",
        "no output 'answers' (did you mean 'answer'?)",
        "no port 'shout'",
        "must be an input 'ack-own'",
    ):
        assert sum(words in line for line in problems) == 1, words
    assert "no problem was found" not in lines


def test_a_node_of_the_hub_that_is_not_installed_is_a_problem(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["dataflow", "check", "primespeech"]) == 1
    out = capsys.readouterr().out
    assert "node 'maas-client': there is no file" in out
    assert "and no such program is installed" in out


def test_a_dataflow_that_is_not_there_is_one_line(capsys):
    assert main(["dataflow", "check", "ehco"]) == 1
    assert "there is no dataflow 'ehco'" in capsys.readouterr().err


def test_what_is_configured_is_listed(capsys, tmp_path):
    """A dataflow for each model, and what is wrong with it in short."""
    config = tmp_path / "bridge.toml"
    config.write_text('[dora]\ndataflow = "echo"\n[models]\n"loop-*" = "ehco"\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model loop-*: there is no dataflow 'ehco'")
    assert lines[1].startswith("model (every other): echo (")
    assert "native contract): sound; sessions 200, warm 1, max_instances 4," in lines[1]
    assert len(lines) == 2


def test_values_of_the_session_are_told_and_must_be_listed(capsys, tmp_path):
    text = find_dataflow("echo").read_text()
    flow = tmp_path / "flow.yml"
    flow.write_text(text + '\n    env: {SPOKEN: "{{ session.language }}"}\n')
    assert main(["dataflow", "check", str(flow)]) == 0
    assert "started by the session's language" in capsys.readouterr().out
    config = tmp_path / "bridge.toml"
    config.write_text(f'[dora]\ndataflow = "{flow}"\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 1
    assert "1 problems" in capsys.readouterr().out
    config.write_text(f'[dora]\ndataflow = "{flow}"\n[session_values]\nlanguage = ["en"]\n')
    assert main(["dataflow", "list", "--config", str(config)]) == 0


def test_what_holds_for_each_dataflow_is_listed(capsys, tmp_path):
    """Its own numbers, the general ones, and what its contract has to say."""
    config = tmp_path / "bridge.toml"
    config.write_text(
        "[dora]\nwarm = 2\n"
        '[models]\n"loop" = "echo"\n'
        "[dataflows.voice]\nsessions = 20\nidle_stop = 5\n"
        "[dataflows.echo]\nwarm = 6\n"
    )
    assert main(["dataflow", "list", "--config", str(config)]) == 0
    loop, every_other = capsys.readouterr().out.splitlines()
    assert loop.endswith("sound; sessions 200, warm 6, max_instances 6, idle_stop 60")
    assert every_other.endswith("sound; sessions 20, warm 2, max_instances 4, idle_stop 5")


def test_a_server_that_does_not_answer_is_one_line(capsys):
    assert main(["dataflow", "list", "--url", "http://127.0.0.1:1"]) == 1
    assert "no server answers at http://127.0.0.1:1" in capsys.readouterr().err
