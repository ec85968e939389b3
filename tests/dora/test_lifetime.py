"""Processes that do not end, on a virtual clock: the kernel may hold on to what was killed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from trio_bridge.dora.runtimes import leftovers, lifetime
from trio_bridge.dora.runtimes.leftovers import END_TIMEOUT, reaped
from trio_bridge.dora.runtimes.lifetime import STOP_TIMEOUT, Child


@define
class Pipe:
    def close(self) -> None:
        """Nobody reads it."""


@define
class Immortal:
    """A process that does not end."""

    pid: int = 1
    stdin: Pipe = field(factory=Pipe)
    told: list[str] = field(factory=list)

    def poll(self) -> None:
        return None

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")


@pytest.fixture(autouse=True)
def nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_ended(_pid: int) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(lifetime, "wait_ended", wait_ended)
    monkeypatch.setattr(leftovers, "wait_ended", wait_ended)


async def test_a_child_is_waited_for_only_so_long(autojump_clock: MockClock) -> None:
    process = Immortal()
    child = Child("x", cast("subprocess.Popen[bytes]", process))
    began = trio.current_time()
    with trio.fail_after(100):
        await child.stop()
    assert trio.current_time() - began == STOP_TIMEOUT
    assert process.told == ["terminate", "kill"]


async def test_a_reaper_is_waited_for_only_so_long(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Immortal()
    monkeypatch.setattr(leftovers, "_start_reaper", lambda _: process)
    began = trio.current_time()
    async with reaped(Path("/")):
        pass
    assert trio.current_time() - began == 2 * END_TIMEOUT
    assert process.told == ["kill"]
