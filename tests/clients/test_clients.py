"""Realtime clients as they are published hold conversations with the live server.

Each runs unmodified in a process of its own; `conftest.py` runs them all, `catalogue.py` lists
them. Here is what must have come of it.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.clients.catalogue import CLIENTS, Run

pytestmark = pytest.mark.clients

SPOKEN = "go forward ten meters"


def report(runs: dict[str, Run], client: str, scenario: str) -> dict[str, Any]:
    """The facts of a scenario that went without a complaint of the client's."""
    run = runs[client]
    facts = run.reports.get(scenario)
    assert facts is not None, f"exit status {run.status}, no report:\n{run.stderr}"
    assert "failure" not in facts, f"{facts['failure']}\n{run.stderr}"
    assert facts["errors"] == []
    assert facts.get("misfits", []) == []
    return facts


def every(scenario: str) -> pytest.MarkDecorator:
    able = [name for name, client in CLIENTS.items() if scenario in client.scenarios]
    return pytest.mark.parametrize("client", able)


@pytest.mark.parametrize("client", CLIENTS)
def test_program_ends_well(runs: dict[str, Run], client: str) -> None:
    """It reported its scenarios, all of them and no other, and exited without a fault."""
    run = runs[client]
    assert run.status == 0, run.stderr
    assert run.reports.keys() == CLIENTS[client].scenarios


@every("connect")
def test_connect(runs: dict[str, Run], client: str) -> None:
    """A session is there and takes the client's settings."""
    assert report(runs, client, "connect")["session"].startswith("sess_")


@every("text_turn")
def test_text_turn(runs: dict[str, Run], client: str) -> None:
    """A typed question is answered."""
    facts = report(runs, client, "text_turn")
    assert facts["said"].startswith("One, two, three, four, five.")
    if CLIENTS[client].shows_events:
        assert facts["status"] == "completed"


@every("voice_turn")
def test_voice_turn(runs: dict[str, Run], client: str) -> None:
    """A recording is understood word for word and answered in speech."""
    facts = report(runs, client, "voice_turn")
    assert facts["heard"] == SPOKEN
    assert SPOKEN in facts["said"]
    assert facts["seconds"] > 2.0
    if CLIENTS[client].shows_events:
        assert facts["status"] == "completed"


@every("function_call")
def test_function_call(runs: dict[str, Run], client: str) -> None:
    """A declared tool is called, and what it gave is in the answer."""
    facts = report(runs, client, "function_call")
    assert facts["tool"] == "get_weather"
    assert facts["arguments"] == {"city": "Paris"}
    assert "sunny" in facts["said"]


@every("barge_in")
def test_barge_in(runs: dict[str, Run], client: str) -> None:
    """Speech cuts a long answer off; the client truncates it; what was said is answered."""
    facts = report(runs, client, "barge_in")
    cut = facts["cut"]
    # Counting to sixty takes over twenty seconds.
    assert 1.0 <= cut["seconds"] < 8.0
    assert facts["heard"] == SPOKEN
    assert SPOKEN in facts["said"]
    if CLIENTS[client].shows_events:
        assert (cut["status"], cut["reason"]) == ("cancelled", "turn_detected")
        assert 0 < facts["truncated_ms"] <= cut["seconds"] * 1000
        assert facts["status"] == "completed"
