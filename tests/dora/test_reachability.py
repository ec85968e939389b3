"""A Dora of somebody else's that comes and goes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from attrs import define, field
from tests.support.server import wait_until
from trio.testing import MockClock

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.instances.attachment import GuardedNode
from trio_bridge.dora.instances.condition import Condition
from trio_bridge.dora.instances.dialogue import Dialogue
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.dora.instances.reception import RUNTIME_GRACE, Reception
from trio_bridge.dora.runtimes import existing
from trio_bridge.dora.runtimes.attach import Outcome, wait_attached
from trio_bridge.dora.runtimes.commands import Commands
from trio_bridge.dora.runtimes.existing import ExistingDora
from trio_bridge.dora.runtimes.ground import Daemon
from trio_bridge.dora.runtimes.processes import ProcessId, child_of, process
from trio_bridge.dora.runtimes.reachability import LOOK_INTERVAL, Reachability
from trio_bridge.errors import RuntimeFailed
from trio_bridge.nodes.probe import ATTACHED

GONE = "there is no dora coordinator at 127.0.0.1:1; start one"


@define
class Elsewhere:
    """A Dora that can be taken away and put back."""

    problem: str | None = None
    trouble: str | None = None
    address: tuple[str, int] = ("127.0.0.1", 1)
    looks: int = 0
    cut_off: trio.Event = field(factory=trio.Event)

    async def check(self) -> None:
        self.looks += 1
        if self.problem is not None:
            raise RuntimeFailed(self.problem)

    async def wait_cut_off(self) -> None:
        await self.cut_off.wait()

    def dies(self) -> None:
        self.problem = GONE
        self.cut_off.set()

    def comes_back(self) -> None:
        self.problem = None
        self.cut_off = trio.Event()


@asynccontextmanager
async def watched(ground: Elsewhere) -> AsyncGenerator[Reachability, None]:
    shared = Reachability(cast("ExistingDora", ground))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.watch)
        yield shared
        nursery.cancel_scope.cancel()


def held(shared: Reachability) -> tuple[str | None, bool]:
    return shared.failure, shared.changing.locked()


def trouble(ground: Elsewhere) -> str | None:
    return ground.trouble


async def test_its_death_is_seen_at_once_and_its_return_within_a_second(
    autojump_clock: MockClock,
) -> None:
    """Meanwhile nothing starts, and health tells."""
    ground = Elsewhere()
    async with watched(ground) as shared:
        await trio.sleep(1)
        assert shared.status() == {
            "state": "running",
            "coordinator": "127.0.0.1:1",
            "restarts": 0,
            "lastFailure": None,
            "retryIn": 0.0,
        }
        ground.dies()
        await trio.sleep(0.1)
        assert held(shared) == (GONE, True)
        assert trouble(ground) == "there is no dora coordinator at 127.0.0.1:1"
        status = shared.status()
        assert (status["state"], status["lastFailure"]) == ("unreachable", GONE)
        assert 0 < status["retryIn"] <= 1
        await trio.sleep(60)
        assert shared.changing.locked()
        ground.comes_back()
        await trio.sleep(1)
        assert held(shared) == (None, False)
        assert trouble(ground) is None
        status = shared.status()
        assert (status["state"], status["restarts"], status["lastFailure"]) == (
            "running",
            1,
            GONE,
        )


async def test_one_that_hangs_is_seen_by_the_next_look(autojump_clock: MockClock) -> None:
    ground = Elsewhere()
    async with watched(ground) as shared:
        await trio.sleep(LOOK_INTERVAL / 2)
        ground.problem = GONE
        await trio.sleep(LOOK_INTERVAL)
        assert shared.failure == GONE


async def test_connections_that_do_not_last_are_no_death(autojump_clock: MockClock) -> None:
    """Nor do they make the bridge look all the time."""
    ground = Elsewhere()
    ground.cut_off.set()
    async with watched(ground) as shared:
        await trio.sleep(60)
        assert shared.failure is None
        assert ground.looks < 60


async def test_a_start_that_is_under_way_ends_first(autojump_clock: MockClock) -> None:
    ground = Elsewhere()
    async with watched(ground) as shared:
        async with shared.changing:
            ground.dies()
            await trio.sleep(5)
            assert shared.failure == GONE
            ground.comes_back()
        await trio.sleep(2)
        assert held(shared) == (None, False)


@pytest.mark.parametrize("ending", ["coordinator", "daemon"])
async def test_the_end_of_a_silent_connection_is_a_sign(ending: str) -> None:
    """On real sockets."""
    listeners = {
        name: (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        for name in ("coordinator", "daemon")
    }
    address = listeners["coordinator"].socket.getsockname()
    port = listeners["daemon"].socket.getsockname()[1]
    commands = Commands("dora", Path("/"), {})
    dora = ExistingDora(Path("/"), port, "x", ProcessId(1, 1), commands, address)
    over = trio.Event()

    async def wait() -> None:
        await dora.wait_cut_off()
        over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        streams = {name: await listener.accept() for name, listener in listeners.items()}
        await trio.testing.wait_all_tasks_blocked()
        assert not over.is_set()
        await streams[ending].aclose()
        with trio.fail_after(5):
            await over.wait()
        for each in (*streams.values(), *listeners.values()):
            await each.aclose()


def test_what_is_wrong_around_it_is_told_with_a_fault() -> None:
    told: list[Fault] = []
    condition = Condition("x", told.append, lambda: "the coordinator is gone")
    condition.give_up(Fault("asr", "has been silent for 2.0 s"))
    assert told == [Fault("asr", "has been silent for 2.0 s; the coordinator is gone")]


# --- a daemon that takes nothing any more -----------------------------------------------------


class Deaf:
    """Dora's node once its daemon has gone."""

    def __init__(self) -> None:
        self.asked = 0

    def next(self) -> None:
        return None

    def send_output(self, *_: Any) -> None:
        self.asked += 1
        raise RuntimeError("internal error\n\nCaused by:\n  Broken pipe\n\nLocation:\n  x.rs:1")


async def test_a_send_that_fails_is_the_end_of_the_instance_alone(
    autojump_clock: MockClock,
) -> None:
    """Whoever sent is a session, or the end of the instance itself."""
    told: list[Fault] = []
    condition = Condition("x", told.append)
    reception = Reception(cast("Descriptor", None), cast("Dialogue[Any]", None), condition)
    deaf = Deaf()
    node = GuardedNode(deaf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reception.watch_sends, node)
        node.send_output("listen", None)
        node.send_output("listen", None)
        await trio.sleep(RUNTIME_GRACE / 2)
        assert not told
    assert told == [Fault("", "dora takes no more messages")]
    assert node.words == "internal error Caused by: Broken pipe"
    assert deaf.asked == 1


# --- whose daemon it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said", "outcome"),
    [
        (0, b"", "attached"),
        (1, b"", "attached"),  # forked, and nobody was left to tell how it ended
        (1, b"RuntimeError: ...: no node with ID `probe-x`", "unknown"),
        (1, b"RuntimeError: internal error", "ended"),
    ],
)
async def test_what_comes_of_waiting(
    monkeypatch: pytest.MonkeyPatch, code: int, said: bytes, outcome: str
) -> None:
    async def run_process(command: Sequence[str], **_: Any) -> Any:
        out = b"" if said else ATTACHED
        return subprocess.CompletedProcess(command, code, out, said)

    monkeypatch.setattr(trio, "run_process", run_process)
    commands = Commands("dora", Path("/"), {})
    daemon = ExistingDora(Path("/"), 1, "x", ProcessId(1, 1), commands, ("a", 1))
    assert await wait_attached(daemon, "probe-x") == outcome


@pytest.mark.parametrize("running", [True, False])
async def test_a_daemon_that_does_not_know_what_runs_is_another_coordinator_s(
    monkeypatch: pytest.MonkeyPatch, *, running: bool
) -> None:
    """What does not run any more has ended."""

    async def unknown(_daemon: Daemon, _probe: str) -> Outcome:
        return "unknown"

    class Told:
        async def start(self, _file: Path, _name: str) -> None:
            pass

        async def running(self) -> list[str]:
            return ["x-1-1-0"] if running else []

    async def nothing(_: ExistingDora) -> None:
        pass

    monkeypatch.setattr(existing, "wait_attached", unknown)
    monkeypatch.setattr(ExistingDora, "check", nothing)
    monkeypatch.setattr(ExistingDora, "sweep", nothing)
    dora = ExistingDora(Path("/"), 7, "x", ProcessId(1, 1), cast("Commands", Told()), ("a", 1))
    await dora.start(Path("/x.yml"), "x-1-1-0")
    if running:
        with pytest.raises(RuntimeFailed, match=r"127\.0\.0\.1:7 .* coordinator at a:1"):
            await dora.join("bridge", "probe")
    else:
        assert await dora.join("bridge", "probe") is None


async def test_a_zombie_has_ended() -> None:
    """Its parent may be long in looking: an init that reaps nothing."""
    child = os.posix_spawn("/bin/true", ["true"], {})  # noqa: ASYNC221  it is there at once
    try:
        await wait_until(lambda: process(child) is None)
        assert child_of(os.getpid(), child) is None
        os.kill(child, 0)  # It is still in the table.
    finally:
        assert os.waitpid(child, 0) == (child, 0)  # noqa: ASYNC222  it has ended
    with pytest.raises(OSError, match=os.strerror(errno.ESRCH)):
        os.kill(child, 0)
