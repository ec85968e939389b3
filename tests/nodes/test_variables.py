"""The one list of what nodes read from their environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import trio_bridge
from trio_bridge.nodes.variables import NAMES, Variable, doubtful, meant_by, nobodys

SOURCE = Path(trio_bridge.__file__).parent
README = Path(__file__).parents[2] / "README.md"
LIKE_ONE = re.compile(r"(TRIO_BRIDGE_)?(ASR|LLM|TTS|NODE)_[A-Z_]+")


def code() -> Iterator[tuple[str, ast.AST]]:
    """All expressions of what runs as a node."""
    for path in (
        *(SOURCE / "nodes").glob("*.py"),
        SOURCE / "dora" / "descriptors" / "node_config.py",
    ):
        if path.name != "variables.py":
            yield from ((path.name, each) for each in ast.walk(ast.parse(path.read_text())))


def test_nodes_read_what_is_in_the_list() -> None:
    """No name is written out where one is read, or it would be unknown to the server."""
    words = {
        (name, each.value)
        for name, each in code()
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    assert not {(name, word) for name, word in words if LIKE_ONE.fullmatch(word)}


def test_all_in_the_list_is_read() -> None:
    used = {
        each.attr
        for _, each in code()
        if isinstance(each, ast.Attribute)
        and isinstance(each.value, ast.Name)
        and each.value.id == "Variable"
    }
    assert used == {each.name for each in Variable}


def test_users_are_told_of_all() -> None:
    text = README.read_text()
    assert not [name for name in NAMES if name not in text]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ASR_ENGIN", "ASR_ENGINE"),
        ("ASR_LANG", "ASR_LANGUAGE"),
        ("TTS_CACHE", "TTS_CACHE_MB"),
        ("ASR_WORKERS", "TRIO_BRIDGE_ASR_WORKERS"),
        ("LLM_URL", "TRIO_BRIDGE_LLM_URL"),
    ],
)
def test_what_may_be_misspelt_is_named(name: str, meant: str) -> None:
    assert doubtful({name: "1", "PATH": "/bin"}) == {name: meant}


def test_what_is_right_beside_it_was_meant_for_others() -> None:
    """`LLM_URL` is what other programs read, too."""
    assert not doubtful({"LLM_URL": "1", "TRIO_BRIDGE_LLM_URL": "1"})


@pytest.mark.parametrize("name", [*NAMES, "ASR_MODELS_DIR", "TTS", "PORT", "VOICE_NAME"])
def test_what_is_right_or_not_ours_is_passed_over(name: str) -> None:
    assert not doubtful({name: "1"})


def test_nothing_is_made_up() -> None:
    assert meant_by("TRIO_BRIDGE_COLOUR") is None


def test_variables_with_our_prefix_that_no_node_reads():
    """Those of the server among them: nodes do not get it."""
    env = {"TRIO_BRIDGE_LLM_ULR": 1, "TRIO_BRIDGE_LLM_URL": 1, "TRIO_BRIDGE_XYZ": 1, 5: 1}
    told = nobodys(env)
    assert told.pop("TRIO_BRIDGE_LLM_ULR") == "did you mean TRIO_BRIDGE_LLM_URL?"
    assert told.pop("TRIO_BRIDGE_XYZ").startswith("nodes know TRIO_BRIDGE_LLM_URL, ")
    assert not told
