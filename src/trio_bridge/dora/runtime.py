"""The embedded Dora runtime: a private coordinator and daemon that live as long as we do.

Everything it writes goes to a temporary directory of its own, which goes with it. `dora up` and
`dora down` act on the whole machine and are never used.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import trio
from attrs import define, field

from trio_bridge.dora import reaper
from trio_bridge.dora.lifetime import (
    Child,
    ProcessId,
    child_of,
    children_of,
    started_with,
    wait_ended,
)
from trio_bridge.dora.shared_memory import leave_none, remove_unheld_segments
from trio_bridge.errors import DataflowError, RuntimeFailed

START_TIMEOUT = 10.0
"""Seconds for coordinator and daemon to come up; 0.3 s is usual."""

COMMAND_TIMEOUT = 10.0
"""Seconds for one `dora` command; the slowest, a stop that has to kill, takes 1.6 s."""

STOP_GRACE = 1.0
"""Seconds the nodes of a dataflow have to end by themselves."""

LOG_LINES = 20
"""Lines of a log that are shown when something fails."""

GENTLY = ("nice", "-n", "15") if shutil.which("nice") else ()
"""The `dora` program is an interpreter that loads 100 MB, 0.2 s of work. One that starts or
stops a dataflow must not take that time from the audio of the others. The nodes themselves have
the daemon's priority: what is lowered cannot be raised again."""

_DIRECTORY = "trio_bridge-dora-"
_CONNECT_INTERVAL = 0.01
_OVERLAY = "zenoh.json5"
_ZENOH_VARIABLE = "DORA_ZENOH_CONFIG_OVERLAY"
_ZENOH = """{
  "scouting": { "delay": 0, "multicast": { "enabled": false }, "gossip": { "enabled": false } }
}"""
"""Without this all nodes of all dataflows gossip with each other, and from the thirteenth on
they fail with shared-memory errors. Where nobody is scouted for, the delay that waits for an
answer (0.5 s for every node) waits for nothing."""

_NODE_ID = re.compile(r"^node_id: (\S+)$", re.MULTILINE)
_NODE_FAILED = re.compile(r"Node `(?P<node>[^`]+)` failed: (?P<why>.*)")


@define(eq=False)
class Runtime:
    """A running coordinator and daemon.

    Attributes:
        directory: Where it keeps its files; gone when it ends.
        daemon_port: Where a dynamic node attaches.
        mark: Stands at the front of every dataflow name: whose it is.
        zenoh_overlay: The file to name in `DORA_ZENOH_CONFIG_OVERLAY` when attaching.
    """

    directory: Path
    daemon_port: int
    mark: str
    zenoh_overlay: Path
    _program: str
    _env: dict[str, str]
    _coordinator: Child
    _daemon: Child
    _failure: str | None = field(default=None, init=False)
    _failed: trio.Event = field(factory=trio.Event, init=False)

    @property
    def failure(self) -> str | None:
        """Why it no longer runs, if it does not."""
        return self._failure

    async def wait_failed(self) -> str:
        """Wait until coordinator or daemon has died; gives the reason."""
        await self._failed.wait()
        return self._failure or ""

    async def validate(self, descriptor: Path) -> None:
        """Have Dora check a descriptor.

        Raises:
            DataflowError: It does not pass.
        """
        done = await self._dora("validate", str(descriptor))
        if done.returncode != 0:
            raise DataflowError(f"dora does not accept the dataflow: {_error_of(done)}")

    async def start(self, descriptor: Path, name: str) -> None:
        """Start a dataflow.

        Raises:
            DataflowError: Dora does not start it.
            RuntimeFailed: The daemon did not report to the coordinator in time.
        """
        command = ("start", str(descriptor), "--detach", "--name", name)
        with trio.move_on_after(START_TIMEOUT):
            while True:
                done = await self._dora(*command, gently=True)
                # The daemon listens for nodes before it has reported to the coordinator.
                if "daemon connections" not in done.stderr:
                    break
                await trio.sleep(_CONNECT_INTERVAL)
            if done.returncode != 0:
                raise DataflowError(f"dora did not start the dataflow: {_error_of(done)}")
            return
        raise RuntimeFailed("the dora daemon did not report to its coordinator")

    async def stop(self, name: str) -> tuple[str, str] | None:
        """Stop a dataflow by name; nodes that do not end are killed.

        Returns:
            The node that failed and Dora's words about it, if one failed.
        """
        grace = f"{round(STOP_GRACE * 1000)}ms"
        done = await self._dora("stop", "--name", name, "--grace-duration", grace, gently=True)
        match = _NODE_FAILED.search(done.stderr)
        if match is None:
            return None
        return match["node"], match["why"].removesuffix(" with stderr output:")

    @property
    def attach_environment(self) -> dict[str, str]:
        """What `dora.Node` must find in the environment of the process that attaches."""
        return {_ZENOH_VARIABLE: str(self.zenoh_overlay)}

    def nodes(self) -> list[ProcessId]:
        """The processes of all nodes that the daemon has started."""
        return children_of(self._daemon.pid)

    def attached_nodes(self, descriptor: Path) -> set[str]:
        """Nodes of a dataflow that have a connection: they have attached, or are about to."""
        return {node for node, each in self._nodes_of(descriptor) if each.has_socket()}

    def node_pids(self, descriptor: Path) -> dict[str, int]:
        """Nodes of a dataflow → their processes."""
        return {node: each.pid for node, each in self._nodes_of(descriptor)}

    def _nodes_of(self, descriptor: Path) -> Iterator[tuple[str, ProcessId]]:
        for process in self.nodes():
            match = _NODE_ID.search(process.environment("DORA_NODE_CONFIG"))
            if match and process.working_directory() == str(descriptor.parent):
                yield match[1], process

    def is_node(self, pid: int, folder: Path) -> bool:
        """Whether a process is a node of the dataflow whose descriptor is in a folder."""
        process = child_of(self._daemon.pid, pid)
        return process is not None and process.working_directory() == str(folder)

    def kill(self, pid: int) -> bool:
        """Kill a node's process; tells whether there was one."""
        process = child_of(self._daemon.pid, pid)
        if process is not None:
            process.kill()
        return process is not None

    def log(self, node: str, descriptor: Path) -> str:
        """The last lines that a node has printed."""
        lines = []
        # Each instance has a directory of its own, so that no other flow's log is met here.
        for path in sorted(descriptor.parent.glob(f"out/*/log_{node}.jsonl")):
            for line in path.read_text(errors="replace").splitlines()[-LOG_LINES:]:
                try:
                    lines.append(str(json.loads(line)["msg"]))
                except (ValueError, KeyError):
                    lines.append(line)
        return "\n".join(lines[-LOG_LINES:])

    async def watch(self) -> None:
        """Notice when coordinator or daemon dies; ends then."""
        async with trio.open_nursery() as nursery:
            for child in (self._coordinator, self._daemon):
                nursery.start_soon(self._watch, child, nursery.cancel_scope)

    async def _watch(self, child: Child, scope: trio.CancelScope) -> None:
        code = await child.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._failure = f"the dora {child.name} has died ({how})"
        self._failed.set()
        scope.cancel()

    async def _dora(self, *args: str, gently: bool = False) -> subprocess.CompletedProcess[str]:
        command = [*(GENTLY if gently else ()), self._program, *args]
        with trio.move_on_after(COMMAND_TIMEOUT):
            done = await trio.run_process(
                command,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                cwd=self.directory,
                env=self._env,
            )
            out, err = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
            return subprocess.CompletedProcess(command, done.returncode, out, err)
        return subprocess.CompletedProcess(
            command, -1, "", f"[ERROR]\n`dora {args[0]}` took longer than {COMMAND_TIMEOUT} s"
        )

    async def close(self) -> None:
        """End coordinator and daemon, and whatever nodes are left."""
        with trio.CancelScope(shield=True):
            await self._daemon.stop()
            await self._coordinator.stop()
            await _end_processes(self.zenoh_overlay)
            await leave_none()


@asynccontextmanager
async def open_runtime() -> AsyncGenerator[Runtime, None]:
    """Start a private runtime on free loopback ports; leaving the context ends it.

    Stop dataflows before: nodes that still run then are killed.

    Raises:
        RuntimeFailed: There is no `dora` program, or it does not come up.
    """
    program = _find_program()
    await _sweep()
    with _own_directory() as directory, _reaped(directory):
        runtime = await _start(program, directory)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runtime.watch)
                yield runtime
                nursery.cancel_scope.cancel()
        finally:
            await runtime.close()


@contextmanager
def _own_directory() -> Iterator[Path]:
    """A directory, removed at the end. Its lock says that we live.

    The kernel opens the lock when we are killed. A process id would not do: in a container each
    bridge may have the same.
    """
    while True:
        directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY)).resolve()
        lock = os.open(directory, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            break
        os.close(lock)  # Another bridge has swept it away before it was locked.
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _directories() -> list[Path]:
    return list(Path(tempfile.gettempdir()).resolve().glob(f"{_DIRECTORY}*"))


@contextmanager
def _reaped(directory: Path) -> Iterator[None]:
    """See `reaper.py`."""
    process = subprocess.Popen(  # noqa: S603  # the command is ours
        [
            *(sys.executable, "-I", "-S", reaper.__file__),
            *(str(directory), _ZENOH_VARIABLE, str(directory / _OVERLAY)),
        ],
        stdin=subprocess.PIPE,
        env={},  # The server's secret is none of its business either.
        start_new_session=True,  # It must survive what kills the bridge and its group.
    )
    try:
        yield
    finally:
        process.communicate()


async def _sweep() -> None:
    """Remove what bridges that were killed have left: processes that did not go with them,
    directories, shared memory."""
    for directory in _directories():
        # Another user's, gone already, or (`BlockingIOError`) of a bridge that lives.
        with suppress(OSError):
            lock = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                await _end_processes(directory / _OVERLAY)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)
    remove_unheld_segments()


async def _end_processes(overlay: Path) -> None:
    """Kill what still runs of a runtime whose daemon is gone. All of it was given the overlay;
    that the daemon started it cannot be seen any more."""
    for process in started_with(_ZENOH_VARIABLE, str(overlay)):
        process.kill()
        await wait_ended(process.pid)


def program_path() -> str:
    """Where programs are looked for: beside the interpreter first, since an environment that is
    not activated is not on PATH."""
    scripts = str(Path(sys.executable).parent)
    return os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])


def _find_program() -> str:
    program = shutil.which("dora", path=program_path())
    if program is None:
        raise RuntimeFailed("no `dora` program found; it comes with the package dora-rs-cli")
    return program


async def _start(program: str, directory: Path) -> Runtime:
    overlay = directory / _OVERLAY
    overlay.write_text(_ZENOH)
    coordinator_port, daemon_port = _free_ports(2)
    env = _environment(overlay, coordinator_port)
    children: list[Child] = []
    try:
        coordinator = Child.start(
            "coordinator",
            [
                *(program, "coordinator", "--quiet"),
                *("--port", f"{coordinator_port}"),
                *("--store", "memory"),
            ],
            cwd=directory,
            env=env,
        )
        children.append(coordinator)
        await _wait_listening(coordinator, coordinator_port, directory)
        daemon = Child.start(
            "daemon",
            [
                *(program, "daemon", "--quiet"),
                *("--coordinator-port", f"{coordinator_port}"),
                *("--local-listen-port", f"{daemon_port}"),
            ],
            cwd=directory,
            env=env,
        )
        children.append(daemon)
        await _wait_listening(daemon, daemon_port, directory)
    except BaseException:
        for child in reversed(children):
            await child.stop()
        raise
    mark = f"trio_bridge-{os.getpid()}"
    return Runtime(directory, daemon_port, mark, overlay, program, env, coordinator, daemon)


def _environment(overlay: Path, coordinator_port: int) -> dict[str, str]:
    """The environment of coordinator, daemon and, through the daemon, of every node."""
    # What is set for the server, its secret above all, is no business of the nodes.
    foreign = ("DORA_", "ZENOH_", "TRIO_BRIDGE_SERVER_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    env |= {
        _ZENOH_VARIABLE: str(overlay),
        "DORA_COORDINATOR_PORT": str(coordinator_port),
        "RUST_BACKTRACE": "0",
        "PYTHONUNBUFFERED": "1",
        # The coordinator makes a directory for artifacts and never removes it.
        "TMPDIR": str(overlay.parent),
    }
    # Several nodes share the cores, and each computes little at a time: pools of threads as
    # wide as the machine only take turns from one another.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        env.setdefault(name, "1")
    env["PATH"] = program_path()
    return env


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


async def _wait_listening(child: Child, port: int, directory: Path) -> None:
    with trio.move_on_after(START_TIMEOUT):
        while not child.ended:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                # Neither program says when it listens, so that trying is the only way.
                await trio.sleep(_CONNECT_INTERVAL)
                continue
            await stream.aclose()
            return
    log = (directory / f"{child.name}.log").read_text(errors="replace")
    last = " / ".join(log.strip().splitlines()[-LOG_LINES:]) or "it printed nothing"
    raise RuntimeFailed(f"the dora {child.name} did not come up: {last}")


def _error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Dora's own words, without its source locations and backtraces."""
    text = re.sub(r"\n\s*(Location|Stack backtrace):.*", "", done.stderr, flags=re.DOTALL)
    words = [line.strip() for line in text.splitlines() if line.strip(" \n-")]
    return " ".join(word for word in words if word != "[ERROR]") or "no reason given"
