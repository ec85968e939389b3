"""Whose dataflow it is, on a Dora that several share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from trio_bridge.dora.runtimes import pulse
from trio_bridge.dora.runtimes.commands import Commands, StopResult
from trio_bridge.dora.runtimes.existing import CLOSE_TIMEOUT, ExistingDora, open_existing
from trio_bridge.dora.runtimes.processes import ProcessId, process
from trio_bridge.dora.settings import DoraSettings, split_address
from trio_bridge.errors import RuntimeFailed


def dora_of(own: ProcessId) -> ExistingDora:
    commands = Commands("dora", Path("/"), {})
    return ExistingDora(Path("/"), 1, "trio_bridge-a-b", own, commands, ("127.0.0.1", 1))


def test_only_what_nobody_owns_any_more_is_left_over():
    own = process(os.getpid())
    assert own is not None
    dora = dora_of(own)
    dora._used.add(f"{dora.mark}-12ab")
    parent = process(os.getppid())
    assert parent is not None
    left = {
        f"{dora.mark}-12ab": False,  # ours, in use
        f"{dora.mark}-34cd": True,  # ours, and its stop has failed
        f"trio_bridge-a-b-{parent.pid}-{parent.started}-12ab": False,  # another bridge's
        f"trio_bridge-a-b-{parent.pid}-{parent.started - 1}-12ab": True,  # one before it
        f"trio_bridge-c-{own.pid}-{own.started - 1}-12ab": False,  # another machine's
        "trio_bridge-a-b-mine": False,
        "somebody-elses": False,
    }
    assert {name: dora._is_left(name) for name in left} == left


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("localhost:6013", ("localhost", 6013)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[fd00::1]:65535", ("fd00::1", 65535)),
    ],
)
def test_addresses(words, address):
    assert split_address(words) == address
    assert DoraSettings(coordinator=words).coordinator == words


@pytest.mark.parametrize("words", ["a", ":6013", "fd00::1:6013", "a:0", "a:65536", "a:b"])
def test_what_is_no_address(words):
    with pytest.raises(ValueError, match="'coordinator' must"):
        DoraSettings(coordinator=words)


async def test_a_host_that_nobody_knows(monkeypatch):
    async def unknown(*_args, **_kwargs):
        raise OSError("unknown")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    with pytest.raises(RuntimeFailed, match=r"host 'nowhere\.invalid' is not known"):
        async with open_existing("nowhere.invalid:6013", 1):
            pass


async def test_a_daemon_that_hangs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel still takes connections."""
    monkeypatch.setattr(pulse, "PATIENCE", 0.3)
    (daemon,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    (coordinator,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ports = [each.socket.getsockname()[1] for each in (coordinator, daemon)]

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    dora = ExistingDora(
        Path("/"),
        ports[1],
        "x",
        ProcessId(1, 1),
        cast("Commands", None),
        ("127.0.0.1", ports[0]),
    )
    async with daemon, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, refuse, [coordinator])
        with pytest.raises(RuntimeFailed, match=f"daemon on 127.0.0.1:{ports[1]} hangs"):
            await dora.check()
        nursery.cancel_scope.cancel()


class Stops:
    """Commands of a coordinator that cannot stop anything for a while."""

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.asked: list[float] = []

    async def stop(self, _name: str) -> StopResult:
        self.asked.append(trio.current_time())
        return StopResult(len(self.asked) > self.failing, None)

    async def running(self) -> list[str]:
        if len(self.asked) == 2:
            raise RuntimeFailed("it takes too long")
        return ["trio_bridge-a-b-1-1-0"]


async def test_a_stop_that_fails_is_tried_until_it_is_done(autojump_clock):
    commands = Stops(failing=3)
    own = ProcessId(1, 1)
    dora = ExistingDora(
        Path("/"), 1, "trio_bridge-a-b", own, cast("Commands", commands), ("127.0.0.1", 1)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dora.make_good)
        began = trio.current_time()
        await dora.stop("trio_bridge-a-b-1-1-0")
        await trio.sleep(60)
        assert [at - began for at in commands.asked] == pytest.approx([0, 5, 10, 15])
        nursery.cancel_scope.cancel()


async def test_the_end_waits_only_so_long(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator that takes its time over each of many dataflows."""
    tidied: list[float] = []

    async def leave_none() -> None:
        tidied.append(trio.current_time())

    class Slow:
        async def running(self) -> list[str]:
            return [f"trio_bridge-a-b-1-1-{number}" for number in range(100)]

        async def stop(self, _name: str) -> StopResult:
            await trio.sleep(9)
            return StopResult(False, None)

    monkeypatch.setattr("trio_bridge.dora.runtimes.existing.leave_none", leave_none)
    commands = cast("Commands", Slow())
    own = ProcessId(1, 1)
    dora = ExistingDora(Path("/"), 1, "trio_bridge-a-b", own, commands, ("127.0.0.1", 1))
    began = trio.current_time()
    await dora.close()
    assert [at - began for at in tidied] == [CLOSE_TIMEOUT]
