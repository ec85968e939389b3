"""Values of a session in a dataflow: in the environment of nodes, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.descriptors.dataflow_file import examine, find_dataflow, read_descriptor
from trio_bridge.dora.descriptors.template import fill, find_values
from trio_bridge.dora.settings import SESSION_VALUES, VALUE
from trio_bridge.errors import DataflowError

PLACEHOLDER = "{{ session.language }}"


def echo(**changed: Any) -> dict[str, Any]:
    """The dataflow `echo`, with more keys on its node."""
    document: dict[str, Any] = yaml.safe_load(find_dataflow("echo").read_text())
    for node in document["nodes"]:
        if node["id"] == "echo":
            node.update(changed)
    return document


def written(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "flow.yml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_values_get_into_the_environment(tmp_path: Path) -> None:
    env = {"LANGUAGE": PLACEHOLDER, "BOTH": "{{session.voice}}-{{ session.language }}", "N": 1}
    descriptor = read_descriptor(written(tmp_path, echo(env=env)))
    assert descriptor.session_values == {"language", "voice"}
    text, _, _ = descriptor.filled({"language": "de", "voice": "anna"}).instance("1")
    (node,) = (node for node in yaml.safe_load(text)["nodes"] if node["id"] == "echo")
    assert node["env"] == {"LANGUAGE": "de", "BOTH": "anna-de", "N": 1}


def test_a_value_that_is_missing_is_not_left_out(tmp_path: Path) -> None:
    descriptor = read_descriptor(written(tmp_path, echo(env={"LANGUAGE": PLACEHOLDER})))
    with pytest.raises(KeyError):
        descriptor.filled({})


@pytest.mark.parametrize(
    "changed",
    [
        {"args": f"-m trio_bridge.nodes.echo {PLACEHOLDER}"},
        {"build": f"pip install {PLACEHOLDER}"},
        {"env": {PLACEHOLDER: "x"}},
        {"deploy": {"machine": PLACEHOLDER}},
        {"outputs": ["answer", "ack", PLACEHOLDER]},
        {"git": PLACEHOLDER},
    ],
)
def test_nowhere_else(tmp_path: Path, changed: dict[str, Any]) -> None:
    _, problems = examine(written(tmp_path, echo(**changed)))
    assert any("only stand in values of a node's env" in str(problem) for problem in problems)


def test_not_for_the_dataflow_as_a_whole(tmp_path: Path) -> None:
    """Dora gives that environment to the steps that build as well."""
    _, problems = examine(written(tmp_path, {**echo(), "env": {"A": PLACEHOLDER}}))
    assert any("only stand in values of a node's env" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ session.langauge }}", "did you mean 'language'?"),
        ("{{ language }}", "(did you mean {{ session.language }}?)"),
        ("{{ sesion.voice }}", "(did you mean {{ session.voice }}?)"),
        ("{{Session.langauge}}", "(did you mean {{ session.language }}?)"),
        ("{{ session.voice }} {{ sessions.voice", "(did you mean {{ session.voice }}?)"),
        ("{{ session.language", "is not of the form"),
        ("{{ session['language'] }}", "is not of the form"),
        ("{{ session.language }}{{ session }}", "is not of the form"),
    ],
)
def test_what_is_misspelt_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataflowError, match="node 'echo', env") as caught:
        read_descriptor(written(tmp_path, echo(env={"A": text})))
    assert said in str(caught.value)
    assert caught.value.node == "echo"


@pytest.mark.parametrize("text", ["{{ name }}", "{{", "{{ user.voice }}", "{% if language %}"])
def test_other_braces_are_somebody_elses(tmp_path: Path, text: str) -> None:
    document = echo(env={"A": text})
    assert not read_descriptor(written(tmp_path, document)).session_values
    assert fill(document, {}) == document


@given(
    st.dictionaries(
        st.sampled_from(SESSION_VALUES), st.from_regex(VALUE, fullmatch=True), min_size=1
    )
)
def test_a_value_stays_data(values: dict[str, str]) -> None:
    """Whatever it holds, the YAML that Dora reads has it in that variable alone."""
    env = {name.upper(): f"<{{{{ session.{name} }}}}>" for name in values}
    document = echo(env=env)
    problems: list[DataflowError] = []
    assert find_values(document, problems) == set(values)
    assert not problems
    again = yaml.safe_load(yaml.safe_dump(fill(document, values), allow_unicode=True))
    expected = echo(env={name.upper(): f"<{value}>" for name, value in values.items()})
    assert again == expected
