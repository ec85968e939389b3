"""The process that waits until all nodes of a dataflow have attached."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import trio
from attrs import frozen

from trio_bridge.dora.runtimes.attach import wait_attached


@frozen
class Daemon:
    daemon_port: int
    attach_environment: dict[str, str]
    mark_environment: dict[str, str]


async def test_it_does_not_get_the_servers_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody's to read in /proc for as long as a model loads."""
    seen: dict[str, str] = {}

    async def run_process(
        command: list[str], *, env: dict[str, str], **_: Any
    ) -> subprocess.CompletedProcess[bytes]:
        seen.update(env)
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(trio, "run_process", run_process)
    monkeypatch.setenv("TRIO_BRIDGE_SERVER_SECRET", "s3cret")
    monkeypatch.setenv("LANG", "C")
    daemon = Daemon(
        1, {"DORA_ZENOH_CONFIG_OVERLAY": "overlay"}, {"_TRIO_BRIDGE_RUNTIME": "folder"}
    )
    assert await wait_attached(daemon, "probe-x") == "attached"
    assert "s3cret" not in seen.values()
    assert seen["LANG"] == "C"
    assert seen["DORA_ZENOH_CONFIG_OVERLAY"] == "overlay"
    assert seen["_TRIO_BRIDGE_RUNTIME"] == "folder"
