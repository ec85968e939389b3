"""The process that waits until all nodes of a dataflow have attached."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from trio_bridge.dora.runtimes import runtime
from trio_bridge.dora.runtimes.attach import wait_attached
from trio_bridge.dora.runtimes.commands import inherited_environment
from trio_bridge.nodes.probe import ATTACHED


@frozen
class Daemon:
    daemon_port: int
    environment: Mapping[str, str]
    attach_environment: dict[str, str]
    command: tuple[str, ...] = ()

    def forked(self, name: str) -> tuple[str, ...]:
        return (*self.command, name) if self.command else ()


@pytest.mark.parametrize("private", [True, False])
async def test_it_does_not_get_the_servers_secret(
    private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is somebody's to read in /proc for as long as a model loads."""
    seen: dict[str, str] = {}

    async def run_process(
        command: list[str], *, env: dict[str, str], **_: Any
    ) -> subprocess.CompletedProcess[bytes]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 0, ATTACHED, b"")

    monkeypatch.setattr(trio, "run_process", run_process)
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_SECRET", "s3cret")
    monkeypatch.setenv("LANG", "C")
    overlay = Path("/folder/overlay")
    environment = runtime._environment(overlay, 1) if private else inherited_environment()
    assert await wait_attached(Daemon(1, environment, {}), "probe-x") == "attached"
    assert "s3cret" not in seen.values()
    assert seen["LANG"] == "C"
    if private:
        assert seen["DORA_ZENOH_CONFIG_OVERLAY"] == "/folder/overlay"
        assert seen["_TRIO_BRIDGE_RUNTIME"] == "/folder"


@pytest.mark.parametrize("command", [(), ("sh", "stand_in")])
async def test_it_is_forked_where_that_can_be_had(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def run_process(words: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        seen.extend(words)
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(trio, "run_process", run_process)
    await wait_attached(Daemon(1, {}, {}, command), "probe-x")
    assert ("stand_in" in seen) == bool(command)
    assert (seen[-1] == "probe") == bool(command)
