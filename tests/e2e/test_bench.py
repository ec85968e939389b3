"""The load generator as a user runs it, against a server and against one that errs."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import trio
import trustme
from tests.support.server import children_of, is_running, running_server, wait_until

SAMPLES = Path(__file__).parents[1] / "audio_samples"
LOOPBACK = Path(__file__).parents[1] / "support" / "loopback.py"

pytestmark = pytest.mark.e2e


BENCH = (sys.executable, "-m", "trio_bridge", "bench", "--json")


async def bench(*arguments):
    """Run the command; returns its exit status and its findings."""
    command = [*BENCH, *arguments]
    with trio.fail_after(90):
        done = await trio.run_process(command, capture_stdout=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def conversations(request, tmp_path_factory):
    """A run of the voice scenario, most of which is waiting: it begins before the first test
    here, and the last looks at it. None where that one is not among those asked for."""
    asked = {item.name for item in request.session.items}
    if test_conversations_with_the_voice_dataflow.__name__ not in asked:
        yield None
        return
    speech = [SAMPLES / "go_forward_ten_meters.wav", SAMPLES / "sense_and_sensibility_0930.wav"]
    with started(
        tmp_path_factory.mktemp("voice") / "found.json",
        *("--scenario", "voice", "--sessions", "2", "--seconds", "5", "--barge-in", "1"),
        *("--speech", *map(str, speech)),
    ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def mixed_up(request, tmp_path_factory):
    """The same against servers that only pretend to understand: one knows who says what, the
    other does not. Each has its findings in the end."""
    asked = {item.name for item in request.session.items}
    if test_conversations_that_are_mixed_up_fail.__name__ not in asked:
        yield None
        return
    folder = tmp_path_factory.mktemp("mixed")
    noise = np.random.default_rng(5)
    files = [folder / "one.wav", folder / "two.wav"]
    for file in files:
        soundfile.write(file, noise.uniform(-0.3, 0.3, 9_600), 24_000)
    with ExitStack() as stack:
        runs = {}
        # Two recordings give words to three sessions, since two of them can be said in a row.
        for fault, sessions in (("conversing", "3"), ("confused", "2")):
            server = stack.enter_context(
                subprocess.Popen([sys.executable, str(LOOPBACK), fault], stdout=subprocess.PIPE)
            )
            stack.callback(server.kill)
            assert server.stdout is not None
            place = server.stdout.readline().decode().removeprefix("listening on http").strip()
            runs[fault] = stack.enter_context(
                started(
                    folder / fault,
                    *("--scenario", "voice", "--url", f"ws{place}/v1/realtime"),
                    *("--sessions", sessions, "--seconds", "2", "--barge-in", "2"),
                    *("--speech", *map(str, files)),
                )
            )
        yield runs


@contextmanager
def started(output: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The command, running, and where its findings will be."""
    with (
        output.open("wb") as stdout,
        subprocess.Popen([*BENCH, *arguments], stdout=stdout) as process,
    ):
        try:
            yield process, output
        finally:
            process.terminate()


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


async def test_a_ramp_ends_where_the_bound_is():
    """No server adds less than a microsecond, and none a minute."""
    async with loopback("honest") as place:
        common = ("--url", f"ws{place}/v1/realtime", "--look-ahead-ms", "0", "--ramp")
        short = ("--seconds", "0.5", "--connects-per-second", "500")
        status, found = await bench(*common, *short, "--sessions", "2", "--bound", "0.001ms")
        assert status == 1
        assert found["highest"]["sessions"] == 0
        assert [step["sessions"] for step in found["steps"]] == [2, 1]
        assert not any(step["held"] for step in found["steps"])


async def test_a_storm_of_sessions_that_connect():
    """Each is timed."""
    async with loopback("honest") as place:
        status, (found,) = await bench(
            *("--url", f"ws{place}/v1/realtime", "--look-ahead-ms", "0", "--sessions", "50"),
            *("--seconds", "1", "--connects-per-second", "100", "--frame-ms", "100"),
        )
    assert status == 0
    assert found["finished"] == 50
    assert 0 < found["created_ms"]["p50"] <= found["created_ms"]["p99"]


async def test_tls_and_a_key(tmp_path):
    """An authority that is not trusted is told so; with its file all is well."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = str(tmp_path / "server.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    tls = ("--dataflow", "echo", "--tls-cert", certificate)
    async with running_server(tmp_path / "log", *tls) as server:
        url = ("--url", server.ws_url, "--sessions", "2", "--seconds", "1", "--key", "any")
        status, (found,) = await bench(*url, "--ca", str(tmp_path / "ca.pem"))
        assert found["failures"] == []
        assert (status, found["finished"]) == (0, 2)
        status, (found,) = await bench(*url)
        assert status == 1
        assert "certificate is not trusted" in found["failures"][0]["why"]


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


async def test_conversations_that_are_mixed_up_fail(mixed_up):
    """Answers to somebody else's words: every session that gets one fails, and so the run. With
    an honest server none does."""
    found = {}
    for fault, (process, output) in mixed_up.items():
        status = await trio.to_thread.run_sync(process.wait, 60)
        (found[fault],) = json.loads(output.read_text())
        assert status == (1 if fault == "confused" else 0), found[fault]["failures"]
    assert found["conversing"]["failures"] == []
    assert found["conversing"]["turns"] >= 3
    failures = found["confused"]["failures"]
    assert {failure["session"] for failure in failures} == {0, 1}
    assert all("and answered 'You said: " in failure["why"] for failure in failures)


async def test_conversations_with_the_voice_dataflow(conversations):
    """Recordings are heard as when spoken alone, answered, and answers interrupted."""
    process, output = conversations
    status = await trio.to_thread.run_sync(process.wait, 90)
    (found,) = json.loads(output.read_text())
    assert found["failures"] == []
    assert status == 0
    assert found["finished"] == 2
    assert found["turns"] >= 2
    assert 0 < found["answer_beyond_silence_ms"]["p50"] < 20_000
    assert found["barge_ins"] >= 1
    assert {"bridge", "asr", "tts", "chat", "speech_monitor"} <= set(found["processes"])
