"""Real dataflows: they come up, serve many sessions, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from tests.support.quickest import quickest

from trio_bridge.backend import BackendSession
from trio_bridge.dora.backend import DoraBackend, open_dora_backend, open_dora_backends
from trio_bridge.dora.instances.native import NativeDialogue
from trio_bridge.dora.runtimes.processes import ProcessId, children_of
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import BackendBroken, BackendUnavailable, DataflowError
from trio_bridge.messages import (
    AudioDelta,
    BackendLost,
    Cancel,
    Commit,
    InputAudio,
    Respond,
    ResponseFinished,
    ResponseOpened,
    ResponseRequest,
)

pytestmark = pytest.mark.e2e

FRAME = 320
PERIOD = 0.02
ROUND_TRIP = 0.015
"""Seconds."""


async def settled(condition: object, seconds: float = 5) -> None:
    assert callable(condition)
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  # other processes tell nobody
            await trio.sleep(0.02)


def descendants(of: int | None = None) -> set[ProcessId]:
    found: set[ProcessId] = set()
    ahead = [os.getpid() if of is None else of]
    while ahead:
        new = children_of(ahead.pop())
        found |= set(new)
        ahead += [process.pid for process in new]
    return found


async def say(session: BackendSession, value: float, frames: int) -> np.ndarray:
    """Send frames of a constant, commit, and collect the whole response."""
    heard: list[np.ndarray] = []

    async def listen() -> None:
        while True:
            event = await session.events.receive()
            if isinstance(event, AudioDelta):
                assert event.sample_rate == 32_000
                heard.append(event.samples)
            elif isinstance(event, ResponseFinished):
                assert event.status == "completed"
                return
            else:
                assert isinstance(event, ResponseOpened)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for _ in range(frames):
            session.send(InputAudio(np.full(FRAME, value, np.float32)))
            await trio.sleep(PERIOD)
        session.send(Commit("item"))
    return np.concatenate(heard)


async def test_many_sessions_each_hear_only_themselves() -> None:
    """Twenty at once over two instances, then nothing is left of them anywhere."""
    before = descendants()
    settings = DoraSettings("echo", sessions=10, warm=2, max_instances=2)
    async with open_dora_backend(settings) as backend:
        assert [i.sessions for i in backend.instances] == [0, 0]
        lines = {}

        async def talk(number: int) -> None:
            value = (number + 1) / 32
            async with backend.session(f"session-{number}") as session:
                lines[number] = await say(session, value, 25)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(talk, number)
        for number, samples in lines.items():
            assert len(samples) == pytest.approx(25 * 2 * FRAME, abs=200)
            middle = samples[1000:-1000]
            np.testing.assert_allclose(middle, (number + 1) / 32, atol=1e-3)
        assert [i.sessions for i in backend.instances] == [0, 0]
        assert [i.lost for i in backend.instances] == [0, 0]
        await settled(
            lambda: all(set(i.node_sessions.values()) == {0} for i in backend.instances)
        )
        directory = backend._grounds.ground.directory
        assert directory.exists()
    assert descendants() == before
    assert not directory.exists()


async def test_places_are_counted() -> None:
    """A full backend refuses; a place that is given back is given out again."""
    settings = DoraSettings("echo", sessions=1, max_instances=1)
    async with open_dora_backend(settings) as backend:
        async with backend.session("one"):
            with pytest.raises(BackendUnavailable):
                async with backend.session("two"):
                    pass
        async with backend.session("three") as session:
            session.send(Respond("r", ResponseRequest(())))
            event = await session.events.receive()
            assert isinstance(event, ResponseFinished)
            assert event.status == "failed"


async def test_cancel_silences_the_echo_until_the_next_commit() -> None:
    async with (
        open_dora_backend(DoraSettings("echo")) as backend,
        backend.session("one") as session,
    ):
        session.send(InputAudio(np.zeros(FRAME, np.float32)))
        opened = await session.events.receive()
        assert opened == ResponseOpened("echo-1")
        session.send(Cancel("echo-1"))
        await settled(lambda: _acknowledged(backend))
        while session.events.waiting:
            session.events.receive_nowait()
        session.send(InputAudio(np.zeros(FRAME, np.float32)))
        session.send(Commit("a"))
        session.send(InputAudio(np.zeros(FRAME, np.float32)))
        with trio.fail_after(5):
            assert await session.events.receive() == ResponseOpened("echo-2")


def _acknowledged(backend: DoraBackend) -> bool:
    dialogue = backend.instances[0]._dialogue
    assert isinstance(dialogue, NativeDialogue)
    liveness = dialogue._liveness
    assert liveness is not None
    return not any(liveness._waiting.values())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_broken_node_ends_its_own_sessions_only(how: signal.Signals) -> None:
    """The sessions of the broken instance are told why; those of the other lose nothing."""
    async with open_dora_backend(DoraSettings("echo", warm=2)) as backend:
        broken, whole = backend.instances
        pid = broken.pids["echo"]
        async with backend.session("on-broken") as lost, backend.session("on-whole") as kept:
            assert (broken.sessions, whole.sessions) == (1, 1)
            lost.send(InputAudio(np.zeros(FRAME, np.float32)))
            assert isinstance(await lost.events.receive(), ResponseOpened)
            os.kill(pid, how)
            with trio.fail_after(10):
                samples = await say(kept, 0.5, 150)
                async for event in lost.events:
                    last = event
            assert isinstance(last, BackendLost)
            assert "'echo'" in last.failure.message
            with pytest.raises(BackendBroken):
                lost.send(Commit("x"))
            assert len(samples) == pytest.approx(150 * 2 * FRAME, abs=200)
            await settled(lambda: broken not in backend.instances)
            assert not Path(f"/proc/{pid}").exists()
        async with backend.session("later"):
            assert whole.sessions == 1
        assert whole.lost == 0


async def test_the_only_instance_is_replaced() -> None:
    """Who comes meanwhile waits, and is served. How soon is measured by `tests.faults`."""
    async with open_dora_backend(DoraSettings("echo")) as backend:
        first = backend.instances[0]
        os.kill(first.pids["echo"], signal.SIGKILL)
        await settled(lambda: not first.warm)
        assert backend.refusal() is None
        with trio.fail_after(20):
            async with backend.session("one") as session:
                assert len(await say(session, 0.5, 5))
        (second,) = backend.instances
        assert second is not first


@pytest.mark.parametrize("name", ["daemon", "coordinator"])
async def test_a_dead_runtime_is_replaced(name: str) -> None:
    """Its sessions are told; whoever comes meanwhile waits for the next; nothing is left of it,
    though the nodes have lost their parent."""
    before = descendants()
    async with open_dora_backends([DoraSettings("echo"), DoraSettings("voice")]) as backends:
        echo = backends["echo"]
        runtime = echo._grounds.ground
        old = descendants() - before
        threads = threading.active_count()
        async with echo.session("one") as session:
            os.kill(getattr(runtime, f"_{name}").pid, signal.SIGKILL)
            with trio.fail_after(5):
                event = await session.events.receive()
            assert isinstance(event, BackendLost)
            assert f"the dora {name} has died" in event.failure.message
        assert not echo.healthy
        assert echo.status()["runtime"]["state"] == "restarting"
        with trio.fail_after(7):
            for backend in backends.values():
                async with backend.session("two"):
                    pass
        async with echo.session("three") as session:
            assert len(await say(session, 0.5, 5))
        await settled(lambda: not any(Path(f"/proc/{p.pid}").exists() for p in old))
        assert not runtime.directory.exists()
        status = echo.status()["runtime"]
        assert (status["state"], status["restarts"]) == ("running", 1)
        assert "has died" in status["lastFailure"]
        await settled(lambda: threading.active_count() <= threads)
    assert descendants() == before


def flow(tmp_path: Path, program: str) -> str:
    (tmp_path / "node.py").write_text(program)
    (tmp_path / "flow.yml").write_text(
        """
nodes:
  - id: bridge
    path: dynamic
    inputs: {answer: own/answer, ack-own: own/ack, ack-echo: echo/ack}
    outputs: [listen]
  - id: echo
    path: python
    args: -m trio_bridge.nodes.echo
    inputs: {listen: bridge/listen}
    outputs: [answer, ack]
  - id: own
    path: node.py
    inputs: {answer: echo/answer}
    outputs: [answer, ack]
"""
    )
    return str(tmp_path / "flow.yml")


@pytest.mark.parametrize(
    ("program", "timeout", "words"),
    [
        ("raise SystemExit('no model here')", 20, "exited with code 1"),
        (
            "from dora import Node\nnode = Node()\nraise SystemExit('no model here')",
            20,
            "own",
        ),
        ("import time\nprint('no model here')\ntime.sleep(60)", 2, "did not come up in time"),
        (
            "from dora import Node\nnode = Node()\nprint('no model here')\n"
            "for event in node:\n    pass",
            3,
            "did not come up in time",
        ),
    ],
    ids=["dies", "dies-attached", "never-attaches", "never-answers"],
)
async def test_a_node_that_does_not_come_up_is_named(
    tmp_path: Path, program: str, timeout: float, words: str
) -> None:
    """With its last lines; and the failed start leaves nothing behind."""
    before = descendants()
    settings = DoraSettings(flow(tmp_path, program), startup_timeout=timeout)
    with trio.fail_after(timeout + 8), pytest.raises(DataflowError, match=words) as caught:
        async with open_dora_backend(settings):
            pass
    assert caught.value.node == "own"
    assert "no model here" in caught.value.log
    assert descendants() == before


ON_AND_OFF = """
import pathlib, runpy
if pathlib.Path(__file__).with_name("off").exists():
    raise SystemExit("no model here")
runpy.run_module("trio_bridge.nodes.echo", run_name="__main__")
"""


async def test_a_replacement_that_does_not_come_up_is_tried_again(tmp_path: Path) -> None:
    """What is wrong is shown meanwhile; once it is mended, sessions are served again."""
    (tmp_path / "node.py").write_text(ON_AND_OFF)
    file = tmp_path / "flow.yml"
    file.write_text(
        """
nodes:
  - id: bridge
    path: dynamic
    inputs: {answer: own/answer, ack-own: own/ack}
    outputs: [listen]
  - id: own
    path: node.py
    inputs: {listen: bridge/listen}
    outputs: [answer, ack]
"""
    )
    async with open_dora_backend(DoraSettings(str(file), wait_timeout=20)) as backend:
        folder = backend._grounds.ground.directory
        (tmp_path / "off").touch()
        os.kill(backend.instances[0].pids["own"], signal.SIGKILL)

        def pool() -> dict[str, Any]:
            (figures,) = backend.status()["pools"]
            return dict(figures)

        await settled(lambda: pool()["failures"] >= 3, 20)
        assert "'own'" in pool()["lastFailure"]
        assert not backend.healthy
        (tmp_path / "off").unlink()
        async with backend.session("one") as session:
            assert len(await say(session, 0.5, 5))
        assert any(instance.warm for instance in backend.instances)
        # Of the starts that failed no file is left.
        assert len(list(folder.glob("trio_bridge-*/"))) == 1


async def test_round_trip() -> None:
    """One session, 20 ms frames: the way to the node and back takes a few milliseconds."""
    async with (
        open_dora_backend(DoraSettings("echo")) as backend,
        backend.session("one") as session,
    ):

        async def median() -> float:
            delays = []
            for _ in range(100):
                sent = trio.current_time()
                session.send(InputAudio(np.zeros(FRAME, np.float32)))
                while not isinstance(await session.events.receive(), AudioDelta):
                    pass
                delays.append(trio.current_time() - sent)
                await trio.sleep(PERIOD)
            return statistics.median(delays)

        assert await quickest(median, ROUND_TRIP) <= ROUND_TRIP


BRIDGE = """
import trio
from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.runtimes.runtime import Runtime
from trio_bridge.dora.instances.native import NativeDialogue
from trio_bridge.dora.settings import DoraSettings

async def main():
    async with open_dora_backend(DoraSettings("echo")):
        print("warm", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_survives_a_killed_bridge() -> None:
    """Coordinator and daemon go with the bridge, the nodes and the reaper of itself as well."""
    bridge = await trio.lowlevel.open_process(
        [sys.executable, "-c", BRIDGE], stdout=subprocess.PIPE
    )
    assert bridge.stdout is not None
    try:
        heard = b""
        with trio.fail_after(20):
            while b"warm\n" not in heard:
                heard += await bridge.stdout.receive_some()
        left = descendants(bridge.pid)
    finally:
        bridge.kill()
        await bridge.wait()
        await bridge.stdout.aclose()
    # coordinator, daemon, fork server, reaper, a node and its stand-in
    assert len(left) == 6
    await settled(lambda: not any(Path(f"/proc/{p.pid}").exists() for p in left), 10)
