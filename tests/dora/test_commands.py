"""A `dora` program that does not do what it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from trio_bridge.dora.runtimes import commands as module
from trio_bridge.dora.runtimes.commands import Commands
from trio_bridge.dora.runtimes.existing import ExistingDora
from trio_bridge.dora.runtimes.processes import ProcessId
from trio_bridge.errors import RuntimeFailed


def program(directory: Path, script: str) -> Commands:
    """A program that does this."""
    file = directory / "dora"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return Commands(str(file), directory, {"PATH": "/usr/bin:/bin"})


def absent(directory: Path) -> Commands:
    """A program that cannot be run."""
    return Commands(str(directory / "none"), directory / "none", {})


@pytest.mark.parametrize("said", ["no JSON", "[1, 2]", "3", '{"status": "Running"}'])
async def test_a_list_that_cannot_be_read(tmp_path: Path, said: str) -> None:
    dora = program(tmp_path, f"echo '{said}'")
    with pytest.raises(RuntimeFailed, match="`dora list` says what cannot be read"):
        await dora.running()


async def test_what_runs_is_told_from_what_is_over(tmp_path: Path) -> None:
    rows = ('{"name": "a", "status": "Running"}', '{"name": "b", "status": "Finished"}')
    dora = program(tmp_path, "\n".join(f"echo '{row}'" for row in rows))
    assert await dora.running() == ["a"]


async def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    """No memory, no process to be had: the host's trouble, and no reason to end."""
    dora = absent(tmp_path)
    with pytest.raises(RuntimeFailed, match="`dora list` cannot be run"):
        await dora.running()
    with pytest.raises(RuntimeFailed, match="`dora stop` cannot be run"):
        await dora.stop("x")


async def test_who_never_came_is_named_and_not_who_waited(tmp_path: Path) -> None:
    """All nodes fail when one of them has not attached."""
    cause = "This error occurred because node `b` exited before connecting to dora."
    failed = "Node `a` failed: exited with code 1."
    dora = program(tmp_path, f"echo '{failed} {cause}' >&2; exit 1")
    assert (await dora.stop("x")).failed == ("b", "exited before connecting")
    dora = program(tmp_path, f"echo '{failed}' >&2; exit 1")
    assert (await dora.stop("x")).failed == ("a", "exited with code 1.")


async def test_a_shared_dora_outlives_what_its_program_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is tried again, and the end is as it should be."""
    ended: list[bool] = []

    async def leave_none() -> None:
        ended.append(True)

    monkeypatch.setattr("trio_bridge.dora.runtimes.existing.leave_none", leave_none)
    monkeypatch.setattr("trio_bridge.dora.runtimes.existing.RETRY_INTERVAL", 0.01)
    for commands in (absent(tmp_path), program(tmp_path, "echo nonsense; exit 0")):
        dora = ExistingDora(tmp_path, 1, "x", ProcessId(1, 1), commands, ("127.0.0.1", 1))
        dora._unstopped.add("x")
        dora._owing.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dora.make_good)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
        await dora.close()
    assert ended == [True, True]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exec sleep 60", "`dora start` took longer than 0.3 s"),
        ("echo 'no daemon connections' >&2; exit 1", "daemon did not report"),
    ],
)
async def test_a_start_that_takes_too_long_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT", 0.3)
    dora = program(tmp_path, script)
    with pytest.raises(RuntimeFailed, match=words):
        await dora.start(tmp_path / "x.yml", "x")
