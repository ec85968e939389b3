"""Every script, in every dialect: against the engine alone, and against a live server."""

from __future__ import annotations

import pytest
from tests.conformance.players import engine_alone, live_server
from tests.conformance.script import Script
from tests.conformance.scripts import answers, conversation, errors, sessions, turns
from tests.conformance.stage import Stage
from trio.testing import MockClock

from trio_bridge.realtime.wire import Dialect

ROOMS = (sessions, answers, turns, conversation, errors)
SCRIPTS = [script for room in ROOMS for script in room.SCRIPTS]
CASES = [
    pytest.param(script, dialect, id=f"{dialect}-{script.title.replace(' ', '-')}")
    for script in SCRIPTS
    for dialect in script.dialects
]


@pytest.mark.parametrize(("script", "dialect"), CASES)
async def test_engine(script: Script, dialect: Dialect) -> None:
    """Without I/O and without time."""
    async with engine_alone(dialect, script.kind, strict=script.strict) as player:
        await Stage(player, dialect).play(script)


@pytest.mark.e2e
@pytest.mark.parametrize(("script", "dialect"), CASES)
async def test_server(script: Script, dialect: Dialect, mock_clock: MockClock) -> None:
    """Over a real WebSocket."""
    async with live_server(mock_clock, dialect, script.kind, strict=script.strict) as player:
        await Stage(player, dialect).play(script)
