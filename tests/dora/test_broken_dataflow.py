"""A dataflow that is given up is taken down at little cost to the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from tests.support.resources import all_segments, segments_of

from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.descriptors.dataflow_file import find_dataflow, read_descriptor
from trio_bridge.dora.instances.instance import Instance
from trio_bridge.dora.runtimes.lifetime import wait_ended
from trio_bridge.dora.runtimes.supervision import open_supervisor
from trio_bridge.dora.runtimes.teardown import KILL_INTERVAL
from trio_bridge.dora.settings import DoraSettings

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_its_nodes_are_killed_one_by_one_and_leave_nothing(how: signal.Signals) -> None:
    """The broken one first; processes and shared memory are gone while the bridge lives on."""
    async with (
        open_supervisor() as supervisor,
        open_dora_backend(DoraSettings("echo"), grounds=supervisor) as echo,
    ):
        descriptor = read_descriptor(find_dataflow("voice"))
        # Not in a pool, which would replace it.
        runtime = supervisor.ground
        instance = Instance(f"{runtime.mark}-broken", 1, descriptor, runtime)
        async with trio.open_nursery() as instances:
            await instances.start(instance.run, 30)
            pids = dict(instance.pids)
            assert len(pids) == 4
            others = {runtime._daemon.pid, *echo.instances[0].pids.values()}
            segments = segments_of(pids.values()) - segments_of(others)
            assert segments
            ended: list[tuple[str, float]] = []

            async def note(node: str, pid: int) -> None:
                await wait_ended(pid)
                ended.append((node, trio.current_time()))

            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    for node, pid in pids.items():
                        nursery.start_soon(note, node, pid)
                    os.kill(pids["chat"], how)
            assert ended[0][0] == "chat"
            # One of the others may end by itself, as its inputs close, and an end may be seen
            # late: that they went apart shows in the spread of all. At once it is 10 ms.
            times = [at for _, at in ended[1:]]
            assert times[-1] - times[0] > KILL_INTERVAL * 0.75
            # The bridge lets go of the last one a moment after it has left the dataflow.
            with trio.fail_after(5):
                while segments & all_segments():  # noqa: ASYNC110  it tells nobody
                    await trio.sleep(0.02)


BRIDGE = """
import os, signal, trio
from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.settings import DoraSettings

async def main():
    async with open_dora_backend(DoraSettings("echo")) as backend:
        first = backend.instances[0]
        os.kill(first.pids["echo"], signal.SIGKILL)
        while first in backend.instances:
            await trio.sleep(0.02)

trio.run(main)
"""


async def test_dora_looks_up_no_backtraces(tmp_path: Path) -> None:
    """Not even where the environment asks for them: it would hold the interpreter lock."""
    environment = {**os.environ, "RUST_BACKTRACE": "1"}
    environment.pop("RUST_LIB_BACKTRACE", None)
    output = tmp_path / "output"
    with output.open("wb") as said, trio.fail_after(30):
        await trio.run_process(
            [sys.executable, "-c", BRIDGE],
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    assert b"backtrace" not in output.read_bytes().lower()
