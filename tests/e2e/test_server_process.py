"""The command as a whole: how it starts, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio
import trustme
from tests.support.client import connected
from tests.support.dora import free_port, listening
from tests.support.resources import abandoned_segments, command, health
from tests.support.server import (
    RunningServer,
    children_of,
    is_running,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.e2e

DATAFLOWS = Path(__file__).parents[2] / "dataflows"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[RunningServer, None]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with running_server(
        tmp_path / "log", "--dataflow", "echo", env={"TMPDIR": str(temporary)}
    ) as running:
        yield running


async def run_command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(
            [sys.executable, "-m", "trio_bridge", *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_leaves_nothing(
    server: RunningServer, tmp_path: Path, signum: int
) -> None:
    """Open sessions get 1001 and a reason; processes, files and shared memory are gone."""
    before = abandoned_segments()
    children = children_of(server.process.pid)
    # Reader of foreign output, reaper, coordinator, daemon, fork server, the echo node and what
    # stands in for it.
    assert len(children) == 7
    async with connected(server.ws_url) as client:
        seconds = await server.stop(signum)
        code, reason = await client.wait_closed()
    assert code == 1001
    assert "shutting down" in reason
    assert server.process.returncode == 0
    assert seconds < 3
    assert not [pid for pid in children if is_running(pid)]
    assert not list((tmp_path / "tmp").iterdir())
    assert abandoned_segments() <= before


async def test_a_client_that_does_not_answer_the_close_delays_the_end_by_its_bound(
    server: RunningServer,
) -> None:
    """3 s to drain, at most 2 s more, though a client has stopped reading altogether."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(server.http_url.rpartition(":")[2]))
    async with stream:
        await stream.send_all(
            b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (await stream.receive_some(4096)).startswith(b"HTTP/1.1 101")
        assert await server.stop() < 5.5
    assert server.process.returncode == 0


async def test_a_killed_server_takes_everything_with_it(server: RunningServer) -> None:
    """Coordinator, daemon and node end by themselves within seconds."""
    children = children_of(server.process.pid)
    await server.stop(signal.SIGKILL)
    await wait_until(lambda: not any(is_running(pid) for pid in children))


async def test_health_tells_of_the_dataflow(server: RunningServer) -> None:
    answer = await trio.to_thread.run_sync(health, server)
    assert answer["status"] == "healthy"
    assert answer["dataflows"][0]["dataflow"] == "echo"
    assert answer["dataflows"][0]["state"] == "warm"
    assert answer["dataflows"][0]["nodeSessions"] == {"echo": 0}


async def test_the_model_chooses_the_dataflow(tmp_path: Path) -> None:
    """All that are configured run, on one runtime; health tells of each. Dora's own words about
    the second one are entries of the log like all others."""
    other = tmp_path / "other.yml"
    other.write_text((DATAFLOWS / "echo.yml").read_text())
    config = tmp_path / "bridge.toml"
    config.write_text(f'[models]\n"other-*" = "{other}"\nthird = "{other}"\n')
    shown = ("--log-format", "json", "--log-level", "debug")
    arguments = ("--dataflow", "echo", "--config", str(config), *shown)
    async with running_server(tmp_path / "log", *arguments) as server:
        # The reader of foreign output, reaper, coordinator, daemon, fork server, two nodes with
        # what stands in for them.
        assert len(children_of(server.process.pid)) == 9
        for model, dataflow in (("other-1", "other"), ("third", "other"), ("any", "echo")):
            async with connected(server.ws_url, model) as client:
                assert client.events[0].event["session"]["model"] == model
                answer = await trio.to_thread.run_sync(health, server)
                served = {each["dataflow"]: each["sessions"] for each in answer["dataflows"]}
                assert served == {"echo": 0, "other": 0} | {dataflow: 1}
        assert await server.stop() < 3
        entries = [json.loads(line) for line in server.log.read_text().splitlines()]
        foreign = [each for each in entries if each["event"] == "foreign output"]
        assert any("tracing subscriber" in each["text"] for each in foreign)
        assert {each["level"] for each in foreign} == {"debug"}


async def test_a_dataflow_of_a_model_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text('[models]\nloop = "ehco"\n')
    done = await run_command("--port", "0", "--dataflow", "echo", "--config", str(config))
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("trio_bridge: there is no dataflow 'ehco'")


async def test_tls_on_the_one_port(tmp_path: Path) -> None:
    """The printed address says so, `talk` holds a conversation given the authority's file, and
    without it hears why not."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    certificate.write_to_path(str(tmp_path / "server.pem"))
    arguments = ("--tls-cert", str(tmp_path / "server.pem"))
    async with running_server(tmp_path / "log", *arguments) as server:
        assert server.http_url.startswith("https://127.0.0.1:")
        said = ("talk", "--text", "What time is it?", "--url", server.ws_url, "--json")
        done = await run_command(*said, "--ca", str(tmp_path / "ca.pem"))
        assert done.returncode == 0, done.stderr.decode()
        end = json.loads(done.stdout.splitlines()[-1])
        assert end["audio_seconds"] > 1
        refused = await run_command(*said)
        assert refused.returncode == 1
        assert "its certificate is not trusted" in refused.stderr.decode()
        assert len(refused.stderr.decode().splitlines()) == 1
        assert await server.stop() < 3


async def test_the_secret_stays_in_the_server(tmp_path: Path) -> None:
    """Neither the nodes' environment nor the log has it."""
    secret = "correct horse battery staple"  # noqa: S105
    log = tmp_path / "log"
    env = {"TRIO_BRIDGE_SERVER_SECRET": secret, "TRIO_BRIDGE_LLM_MODEL": "any"}
    arguments = ("--dataflow", "echo", "--log-level", "debug")
    async with running_server(log, *arguments, env=env) as server:
        own = command(server.process.pid)
        for pid in children_of(server.process.pid):
            if command(pid) == own:
                continue  # The reader of foreign output is a fork of the server.
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if environment:  # The reaper has none at all.
                assert b"TRIO_BRIDGE_LLM_MODEL=any" in environment
            assert secret.encode() not in environment
        async with connected(server.ws_url):
            pass
    assert secret not in log.read_text()


async def test_a_certificate_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    done = await run_command("--port", "0", "--tls-cert", str(tmp_path / "none.pem"))
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    path = tmp_path / "none.pem"
    reason = f"server.tls_cert: {path} cannot be read: No such file or directory"
    assert line == f"trio_bridge: {reason}"


async def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = await run_command("--port", port, "--dataflow", "echo")
    assert done.returncode == 1
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert lines == [f"trio_bridge: cannot listen on 127.0.0.1:{port}: the port is in use"]


BROKEN = """
nodes:
  - id: bridge
    path: dynamic
    inputs:
      answer: {{source: parrot/answer, queue_size: 10000, queue_policy: backpressure}}
      ack-parrot: {{source: parrot/ack, queue_size: 10000, queue_policy: backpressure}}
    outputs: [listen, cancel]
  - id: parrot
    path: python
    args: {script}
    inputs:
      listen: {{source: bridge/listen, queue_size: 10000, queue_policy: backpressure}}
      cancel: {{source: bridge/cancel, queue_size: 10000, queue_policy: backpressure}}
    outputs: [answer, ack]
"""


class Starting:
    """A server whose one node takes its time, and then has no voice."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.port = free_port()
        script = directory / "parrot.py"
        script.write_text(
            f'import time\ntime.sleep({seconds})\nraise SystemExit("the parrot has no voice")'
        )
        self._dataflow = directory / "broken.yml"
        self._dataflow.write_text(BROKEN.format(script=script))

    async def start(self) -> trio.Process:
        """Run it; returns once it listens."""
        process = await trio.lowlevel.open_process(
            [
                *(sys.executable, "-m", "trio_bridge", "--port", str(self.port)),
                *("--dataflow", str(self._dataflow)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await listening(self.port)
        return process

    async def asked(self, path: str, *headers: str) -> bytes:
        """The server's answer, all of it."""
        head = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all("\r\n".join(head).encode())
            answer = b""
            with trio.fail_after(10):
                while b"}" not in answer:
                    answer += await stream.receive_some()
            return answer

    async def session(self) -> bytes:
        """The answer to somebody who would like one."""
        return await self.asked(
            "/v1/realtime",
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )


async def test_a_dataflow_that_does_not_come_up_names_its_node(tmp_path: Path) -> None:
    """Which node, why, its last words; no traceback of ours, and a failing exit status. While
    it starts the server says so, and who waits for it is told of its end."""
    starting = Starting(tmp_path, 0.5)
    refused: list[bytes] = []

    async def wait() -> None:
        refused.append(await starting.session())

    with trio.fail_after(30):
        process = await starting.start()
        async with trio.open_nursery() as clients:
            clients.start_soon(wait)
            assert b'"status":"starting"' in await starting.asked("/health")
            assert (await starting.asked("/ready")).startswith(b"HTTP/1.1 503 ")
        await process.wait()
    assert process.stderr is not None
    said = (await process.stderr.receive_some(2**20)).decode()
    assert refused[0].startswith(b"HTTP/1.1 503 ")
    assert process.returncode == 1
    assert "'parrot'" in said
    assert "the parrot has no voice" in said
    assert "Traceback" not in said


async def test_a_signal_stops_a_server_that_starts(tmp_path: Path) -> None:
    """At once, in good order: who waits is told, the status is 0, and nothing is left."""
    starting = Starting(tmp_path, 60)
    told: list[bytes] = []

    async def wait() -> None:
        told.append(await starting.session())

    with trio.fail_after(30):
        process = await starting.start()
        await wait_until(
            lambda: any("parrot" in command(pid) for pid in children_of(process.pid))
        )
        children = children_of(process.pid)
        async with trio.open_nursery() as clients:
            clients.start_soon(wait)
            await trio.sleep(0.1)
            process.terminate()
        await process.wait()
    assert told[0].startswith(b"HTTP/1.1 503 ")
    assert b"the server is stopping" in told[0]
    assert process.returncode == 0
    await wait_until(lambda: not any(is_running(pid) for pid in children))


async def test_a_dataflow_that_is_wrong_names_what_is_wrong(tmp_path: Path) -> None:
    dataflow = tmp_path / "wrong.yml"
    dataflow.write_text(BROKEN.format(script="x").replace("args:", "argz:"))
    done = await run_command("--port", "0", "--dataflow", str(dataflow))
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "parrot" in said
    assert "argz" in said
    assert len(said.splitlines()) == 1
