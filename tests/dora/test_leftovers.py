"""What killed bridges leave is told from what lives, and from what only looks like it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from tests.support.server import children_of as all_children_of
from tests.support.server import wait_until

from trio_bridge.dora.runtimes import leftovers
from trio_bridge.dora.runtimes.leftovers import (
    RUNTIME_VARIABLE,
    end_processes,
    own_directory,
    reaped,
    sweep,
)
from trio_bridge.dora.runtimes.processes import ProcessId, children_of, process, started_with


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bridges of this test have their directories, and their shared memory."""
    found = tmp_path / "tmp"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    monkeypatch.setattr(leftovers, "remove_unheld_segments", lambda: None)
    return found


@contextmanager
def running(env: dict[bytes, bytes] | None = None) -> Iterator[int]:
    """A process with such an environment."""
    sleeper = subprocess.Popen(["/bin/sleep", "60"], env=env or {})
    try:
        time.sleep(0.05)  # Until then its environment is still ours.
        yield sleeper.pid
    finally:
        sleeper.kill()
        sleeper.wait()


def mark(directory: Path) -> dict[bytes, bytes]:
    return {RUNTIME_VARIABLE.encode(): os.fsencode(directory)}


# --- directories -----------------------------------------------------------------------------


async def test_what_a_killed_bridge_has_left_is_removed(folder: Path) -> None:
    directory = folder / "trio_bridge-dora-dead"
    (directory / "deep").mkdir(parents=True)
    with running(mark(directory)) as pid, running(mark(folder)) as other:
        await sweep()
        await wait_until(lambda: process(pid) is None or not alive(pid))
        assert alive(other)
    assert not list(folder.iterdir())


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_what_a_living_bridge_has_is_left_alone() -> None:
    with own_directory() as directory, running(mark(directory)) as pid:
        await sweep()
        assert directory.is_dir()
        assert alive(pid)
    assert not directory.exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "file", "dangling"])
async def test_what_only_bears_such_a_name_holds_nobody_up(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    """All users of a machine may write there. A pipe that nobody writes to would be waited for
    when it is opened, by the whole bridge; a link leads to what is somebody else's."""
    planted, elsewhere = folder / "trio_bridge-dora-planted", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    match kind:
        case "pipe":
            os.mkfifo(planted)
        case "link":
            planted.symlink_to(elsewhere)
        case "dangling":
            planted.symlink_to(tmp_path / "nowhere")
        case _:
            planted.touch()
    with alarm(5):
        await sweep()
    assert (elsewhere / "precious").exists()
    assert planted.is_symlink() or planted.exists()


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """End what blocks the whole process, which Trio's timeouts cannot."""

    def ring(*_: object) -> None:
        raise AssertionError(f"nothing moved for {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


async def test_another_users_directory_is_not_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for root, who could remove it."""
    directory = folder / "trio_bridge-dora-theirs"
    directory.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with running(mark(directory)) as pid:
        await sweep()
        assert alive(pid)
    assert directory.exists()


@pytest.mark.parametrize("moment", ["gone", "locked"])
def test_one_that_is_swept_away_before_it_is_locked_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    made: list[Path] = []
    make = tempfile.mkdtemp

    def snatched(prefix: str) -> str:
        directory = Path(make(prefix=prefix))
        made.append(directory)
        if len(made) == 1:
            if moment == "gone":
                directory.rmdir()
            else:
                sweeper = os.open(directory, os.O_RDONLY)
                fcntl.flock(sweeper, fcntl.LOCK_EX)
                held.append(sweeper)
        return str(directory)

    held: list[int] = []
    monkeypatch.setattr(tempfile, "mkdtemp", snatched)
    with alarm(5), own_directory() as directory:
        assert directory == made[1].resolve()
    for sweeper in held:
        os.close(sweeper)


def test_the_lock_goes_with_the_bridge_though_its_nodes_live() -> None:
    """A child that had inherited it would keep the directory for ever."""
    with own_directory() as directory:
        listing = subprocess.run(
            ["/bin/ls", "-l", "/proc/self/fd"], capture_output=True, check=True, close_fds=False
        )
    assert str(directory) not in listing.stdout.decode()


# --- processes -------------------------------------------------------------------------------


def test_names_of_processes_may_hold_any_bytes() -> None:
    """The kernel cuts them after 15 bytes, in the middle of a letter if need be. Any user's
    process counts, since all are looked at."""
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, bytes([0x28, 0xC3]), 0, 0, 0); "
    wait = "import sys; print(flush=True); sys.stdin.read()"
    named = subprocess.Popen(
        [sys.executable, "-c", rename + wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert named.stdout is not None
    named.stdout.readline()
    assert named.pid in {each.pid for each in children_of(os.getpid())}
    assert process(named.pid) is not None
    assert started_with("NO_SUCH_NAME", "x") == []
    named.communicate()


def test_environments_may_hold_any_bytes() -> None:
    with running({b"\xff\xfe": b"\xff", b"A": b"=\xff", b"NO_VALUE": b""}) as pid:
        (found,) = started_with("A", "=\N{REPLACEMENT CHARACTER}")
        assert found.pid == pid
        assert found.environment("\N{SNOWMAN}") == ""


def test_only_that_very_process_is_killed() -> None:
    with running() as pid:
        found = process(pid)
        assert found is not None
        ProcessId(pid, found.started - 1).kill()
        time.sleep(0.05)
        assert alive(pid)
        found.kill()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert not alive(pid)


async def test_what_is_started_while_others_are_killed_is_killed_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = folder / "runtime"
    with running(mark(directory)) as first, running(mark(directory)) as second:
        looks = [[process(first)], [process(second)], []]
        monkeypatch.setattr(leftovers, "started_with", lambda *_: looks.pop(0))
        await end_processes(directory)
        assert not alive(first)
        assert not alive(second)


async def test_what_does_not_end_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs in the kernel, say."""
    directory = folder / "runtime"
    monkeypatch.setattr(leftovers, "END_TIMEOUT", 0.1)
    monkeypatch.setattr(ProcessId, "kill", lambda _: None)
    with running(mark(directory)) as pid:
        with trio.fail_after(5):
            await end_processes(directory)
        assert alive(pid)


# --- the reaper ------------------------------------------------------------------------------


async def test_the_end_of_a_runtime_stops_nobody_else(folder: Path) -> None:
    """The loop turns while the reaper looks for what is left."""
    directory = folder / "runtime"
    directory.mkdir()
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            await trio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    async with trio.open_nursery() as nursery:
        async with reaped(directory):
            (reaper,) = children_of(os.getpid())
            os.kill(reaper.pid, signal.SIGSTOP)
            with running(mark(directory)):
                nursery.start_soon(beat)
                await trio.sleep(0.01)
                resume = trio.current_time() + 0.5

                async def go_on() -> None:
                    await trio.sleep_until(resume)
                    os.kill(reaper.pid, signal.SIGCONT)

                nursery.start_soon(go_on)
        assert trio.current_time() >= resume
        nursery.cancel_scope.cancel()
    assert longest < 0.25
    assert not directory.exists()


async def test_a_reaper_that_hangs_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "END_TIMEOUT", 0.1)
    with alarm(5):
        async with reaped(folder):
            (reaper,) = children_of(os.getpid())
            os.kill(reaper.pid, signal.SIGSTOP)
    assert not all_children_of(os.getpid())
