"""The variants of a dataflow: as many as the settings allow, started with what was allowed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server import children_of

from trio_bridge.backend import Backend
from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.descriptors.dataflow_file import find_dataflow
from trio_bridge.dora.runtimes.processes import ProcessId
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.dora.variants import allowed_for, choose
from trio_bridge.errors import DataflowError

ALLOWED = {"language": ("en", "de"), "voice": ("anna", "bob", "carl")}

WISHES = st.dictionaries(
    st.sampled_from([*ALLOWED, "model"]),
    st.one_of(st.text(), st.sampled_from(["en", "de", "anna", "bob", "carl"])),
)


@given(st.lists(WISHES))
def test_no_wish_leads_beyond_the_lists(wishes: list[dict[str, str]]) -> None:
    choices = set()
    for wish in wishes:
        choice = choose(ALLOWED, wish)
        for name, value in choice:
            wanted = wish.get(name, "")
            assert value == (wanted if wanted in ALLOWED[name] else ALLOWED[name][0])
        assert [name for name, _ in choice] == list(ALLOWED)
        choices.add(choice)
    assert len(choices) <= 6


def test_what_makes_no_difference_is_one_variant() -> None:
    assert choose({}, {"voice": "anna"}) == choose({}, {"voice": "bob"}) == ()


def test_a_value_that_is_not_listed_is_named() -> None:
    assert allowed_for(["voice"], ALLOWED) == {"voice": ALLOWED["voice"]}
    with pytest.raises(DataflowError, match=r"asks for session\.model: its values must be"):
        allowed_for(["model", "voice"], ALLOWED)


def languages() -> list[str]:
    """What the nodes that run were started with."""
    found = (
        ProcessId(pid, 0).environment("SPOKEN_LANGUAGE") for pid in children_of(os.getpid())
    )
    return sorted(filter(None, found))


def flow(folder: Path) -> Path:
    document: dict[str, Any] = yaml.safe_load(find_dataflow("echo").read_text())
    for node in document["nodes"]:
        if node["id"] == "echo":
            node["env"] = {"SPOKEN_LANGUAGE": "{{ session.language }}"}
    path = folder / "flow.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.e2e
async def test_nodes_are_started_with_what_the_session_wishes_for(tmp_path: Path) -> None:
    """The default from the start; another when it is asked for; nothing that is not listed."""
    settings = DoraSettings(str(flow(tmp_path)), wait_timeout=20)
    async with open_dora_backend(settings, session_values=ALLOWED) as backend:
        assert languages() == ["en"]
        german = backend.chosen({"language": "de", "voice": "bob"})
        assert german == backend.chosen({"language": "de"})
        assert backend == backend.chosen({"language": "$(reboot)"})
        with trio.fail_after(20):
            async with german.session("one"), backend.session("two"):
                assert languages() == ["de", "en"]
        (pool,) = german.status()["pools"]
        variants = [(each["values"], each["instances"]) for each in pool["variants"]]
        assert variants == [({"language": "en"}, 1), ({"language": "de"}, 1)]
        assert (pool["instances"], pool["maxInstances"]) == (2, 4)


@pytest.mark.e2e
async def test_one_budget_holds_for_all_of_them(tmp_path: Path) -> None:
    """One that nobody uses makes room at once; one with a session when that has ended, and
    nobody else joins it meanwhile."""
    settings = DoraSettings(str(flow(tmp_path)), max_instances=1, wait_timeout=20)
    served: list[str] = []

    async def visit(backend: Backend, name: str) -> None:
        async with backend.session(name):
            served.append(name)
            assert languages() == [name]

    async with open_dora_backend(settings, session_values=ALLOWED) as backend:
        german = backend.chosen({"language": "de"})
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery, german.session("one"):
                for name, wanted in (("en", backend), ("de", german)):
                    nursery.start_soon(visit, wanted, name)
                    await trio.testing.wait_all_tasks_blocked()
                assert languages() == ["de"]
                assert not served
            assert served == ["en", "de"]


@pytest.mark.e2e
async def test_a_dataflow_without_its_list_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(DataflowError, match="under session_values"):
        async with open_dora_backend(DoraSettings(str(flow(tmp_path)))):
            pass
