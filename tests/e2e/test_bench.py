"""The load generator as a user runs it, against a server and against one that errs."""

import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from tests.support.server import children_of, is_running, wait_until

LOOPBACK = Path(__file__).parents[1] / "support" / "loopback.py"

pytestmark = pytest.mark.e2e


async def bench(*arguments):
    """Run the command; returns its exit status and its findings."""
    command = [sys.executable, "-m", "trio_bridge", "bench", "--json", *arguments]
    with trio.fail_after(90):
        done = await trio.run_process(command, capture_stdout=True, check=False)
    return done.returncode, json.loads(done.stdout)


@asynccontextmanager
async def loopback(fault):
    """The address of a server that sends audio back, with a fault."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(LOOPBACK), fault], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.receive_some()).decode()
        yield line.removeprefix("listening on http").strip()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def test_the_echo_dataflow_gives_every_sample_back():
    """A server of its own, two workers, two runs."""
    status, found = await bench("--sessions", "2,4", "--seconds", "2", "--workers", "2")
    assert status == 0
    assert [run["finished"] for run in found] == [2, 4]
    for run in found:
        assert run["failures"] == []
        assert run["frames"] >= run["sessions"] * 40
        assert 0 < run["added_delay_ms"]["p50"] < 1000
        assert {"bridge", "echo", "dora daemon"} <= set(run["processes"])


@pytest.mark.parametrize("frame_ms", ["20", "40", "100"])
async def test_a_server_that_errs_in_nothing_passes(frame_ms):
    """With every size of frame; its process is found by its port."""
    async with loopback("honest") as place:
        status, found = await bench(
            *("--url", f"ws{place}/v1/realtime", "--look-ahead-ms", "0"),
            *("--sessions", "3", "--seconds", "1", "--frame-ms", frame_ms),
        )
    assert status == 0
    assert found[0]["finished"] == 3
    assert "bridge" in found[0]["processes"]


@pytest.mark.parametrize(
    ("fault", "fail", "why"),
    [
        ("drop", 3, "heard something else"),
        # The last to come hears too much, until it hangs up; then another is the last.
        ("swap", 2, "heard something else"),
        ("hang_up", 3, "closed the connection (1011) out of order"),
        ("error", 3, "reports an error: out of order"),
    ],
)
async def test_a_server_that_errs_fails(fault, fail, why):
    """Exit status 1, and what went wrong in words."""
    async with loopback(fault) as place:
        status, found = await bench(
            *("--url", f"ws{place}/v1/realtime", "--look-ahead-ms", "0"),
            *("--sessions", "3", "--seconds", "1"),
        )
    assert status == 1
    assert len(found[0]["failures"]) >= fail
    assert any(why in failure["why"] for failure in found[0]["failures"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_killed_generator_leaves_nothing(how):
    """Its server and its workers end with it."""
    command = [sys.executable, "-m", "trio_bridge", "bench", "--sessions", "2"]
    process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)
    # The server, its runtime's two processes, the echo node, and a worker.
    await wait_until(lambda: len(children_of(process.pid)) >= 5)
    children = children_of(process.pid)
    process.send_signal(how)
    await process.wait()
    await wait_until(lambda: not any(is_running(pid) for pid in children))


async def test_nobody_there_is_a_failure():
    """Every session says so."""
    status, found = await bench(
        "--url", "ws://127.0.0.1:1/", "--sessions", "2", "--seconds", "1"
    )
    assert status == 1
    assert found[0]["failures"][0]["why"] == "cannot connect: connection refused"
