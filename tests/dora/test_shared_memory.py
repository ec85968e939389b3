"""What killed nodes leave in shared memory is removed, and nothing that is in use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_bridge.dora.runtimes import shared_memory
from trio_bridge.dora.runtimes.shared_memory import (
    remove_left_segments,
    remove_own_segments,
    remove_unheld_segments,
)


def test_only_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    for name in ("1.zenoh", "2.zenoh", "3.other"):
        (tmp_path / name).write_bytes(b"x")
    with (tmp_path / "2.zenoh").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        remove_unheld_segments(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"2.zenoh", "3.other"}
    remove_unheld_segments(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"3.other"}


def test_a_machine_without_shared_memory(tmp_path: Path) -> None:
    remove_unheld_segments(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_only_bears_such_a_name_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    """All users of a machine may write there. To open a pipe that nobody writes to would stop
    the bridge."""
    planted, precious = tmp_path / "7.zenoh", tmp_path / "precious"
    precious.touch()
    match kind:
        case "pipe":
            os.mkfifo(planted)
        case "link":
            planted.symlink_to(precious)
        case _:
            planted.mkdir()
    looking = threading.Thread(target=remove_unheld_segments, args=(tmp_path,), daemon=True)
    looking.start()
    looking.join(5)
    assert not looking.is_alive()
    assert planted.is_symlink() or planted.exists()
    assert precious.exists()


def test_other_names_and_other_users_files_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.zenoh").touch()
    remove_unheld_segments(tmp_path)
    assert (tmp_path / "notes.zenoh").exists()
    (tmp_path / "7.zenoh").touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    remove_unheld_segments(tmp_path)
    assert (tmp_path / "7.zenoh").exists()


def test_a_name_that_has_become_anothers_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let go of and made anew between the opening and the locking."""
    path = tmp_path / "7.zenoh"
    path.touch()
    lock = fcntl.flock

    def late(file: int, how: int) -> None:
        path.unlink()
        path.write_bytes(b"new")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    remove_unheld_segments(tmp_path)
    assert path.read_bytes() == b"new"


async def test_what_is_held_a_moment_longer_goes_too(tmp_path: Path) -> None:
    """Our own node lets go a moment after the dataflow has ended."""
    for name in ("1.zenoh", "2.zenoh"):
        (tmp_path / name).touch()
    with (tmp_path / "2.zenoh").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(remove_left_segments, tmp_path)
            await trio.testing.wait_all_tasks_blocked()
            assert [path.name for path in tmp_path.iterdir()] == ["2.zenoh"]
            fcntl.flock(held, fcntl.LOCK_UN)
    assert not list(tmp_path.iterdir())


def test_at_the_end_what_nobody_else_holds_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    for name in ("1.zenoh", "2.zenoh", "3.zenoh", "4.other"):
        (tmp_path / name).touch()
    theirs = ["flock", "--shared", "--no-fork", "2.zenoh", "sh", "-c", "echo; exec sleep 60"]
    other = subprocess.Popen(theirs, cwd=tmp_path, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with other.stdout, ExitStack() as stack:
        for name in ("1.zenoh", "2.zenoh", "4.other"):
            fcntl.flock(stack.enter_context((tmp_path / name).open("rb")), fcntl.LOCK_SH)
        remove_own_segments()
        # Another holds the second; the third is none of ours.
        assert {path.name for path in tmp_path.iterdir()} == {"2.zenoh", "3.zenoh", "4.other"}
        other.kill()
        other.wait()
