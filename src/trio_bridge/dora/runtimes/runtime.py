"""The embedded Dora runtime: a private coordinator and daemon that live as long as we do.

Everything it writes goes to a temporary directory of its own, which goes with it. `dora up` and
`dora down` act on the whole machine and are never used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from trio_bridge.alongside import alongside
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.runtimes.attach import join
from trio_bridge.dora.runtimes.commands import (
    LOG_LINES,
    Commands,
    find_program,
    inherited_environment,
    program_path,
    read_log,
)
from trio_bridge.dora.runtimes.forks import Forks
from trio_bridge.dora.runtimes.leftovers import (
    RUNTIME_VARIABLE,
    end_processes,
    own_directory,
    reaped,
    sweep,
)
from trio_bridge.dora.runtimes.lifetime import Child
from trio_bridge.dora.runtimes.node_processes import ChildProcesses
from trio_bridge.dora.runtimes.pulse import A_NODE, INTERVAL, NOTHING, PATIENCE, answers
from trio_bridge.dora.runtimes.shared_memory import leave_none
from trio_bridge.errors import RuntimeFailed

OVERLAY = "zenoh.json5"
"""The file of its directory with the settings of Dora's transport."""

ZENOH_VARIABLE = "DORA_ZENOH_CONFIG_OVERLAY"
"""Names that file in the environment of all that runs on it."""

START_TIMEOUT = 10.0
"""Seconds for coordinator and daemon to come up; 0.3 s is usual."""

CLOSE_TIMEOUT = 10.0
"""Seconds that its end may take, whatever does not end; 50 ms are usual."""

_CONNECT_INTERVAL = 0.01
_ZENOH = """{
  "scouting": { "delay": 0, "multicast": { "enabled": false }, "gossip": { "enabled": false } }
}"""
"""Without this all nodes of all dataflows gossip with each other, and from the thirteenth on
they fail with shared-memory errors. Where nobody is scouted for, the delay that waits for an
answer (0.5 s for every node) waits for nothing."""


@define(eq=False)
class Runtime:
    """A running coordinator and daemon.

    Attributes:
        directory: Where it keeps its files; gone when it ends.
        daemon_port: Where a dynamic node attaches.
        mark: Stands at the front of every dataflow name: whose it is.
        zenoh_overlay: The file to name in `DORA_ZENOH_CONFIG_OVERLAY` when attaching.
        shared: See `Ground.shared`.
    """

    directory: Path
    daemon_port: int
    mark: str
    zenoh_overlay: Path
    _commands: Commands
    _coordinator: Child
    _coordinator_port: int
    _daemon: Child
    _forks: Forks
    shared: bool = field(default=False, init=False)
    trouble: None = field(default=None, init=False)
    _failure: str | None = field(default=None, init=False)
    _failed: trio.Event = field(factory=trio.Event, init=False)

    @property
    def failure(self) -> str | None:
        """Why it no longer runs, if it does not."""
        return self._failure

    async def wait_failed(self) -> str:
        """Wait until coordinator or daemon has died, or hangs; gives the reason."""
        await self._failed.wait()
        return self._failure or ""

    async def validate(self, descriptor: Path) -> None:
        """See `Ground.validate`."""
        await self._commands.validate(descriptor)

    async def start(self, descriptor: Path, name: str) -> None:
        """See `Ground.start`."""
        await self._commands.start(descriptor, name)

    async def stop(self, name: str) -> tuple[str, str] | None:
        """See `Ground.stop`; nodes that do not end are killed."""
        return (await self._commands.stop(name)).failed

    async def join(self, bridge_id: str, probe_id: str) -> DoraNode | None:
        """See `Ground.join`."""
        return await join(self, bridge_id, probe_id)

    @property
    def attach_environment(self) -> dict[str, str]:
        """What `dora.Node` must find in the environment of the process that attaches."""
        return {ZENOH_VARIABLE: str(self.zenoh_overlay)}

    @property
    def environment(self) -> Mapping[str, str]:
        """See `Daemon.environment`."""
        return self._commands.env

    def forked(self, name: str) -> Sequence[str]:
        """See `Daemon.forked`."""
        return self._forks.command(name)

    @property
    def processes(self) -> ChildProcesses:
        """The processes of the nodes that the daemon has started."""
        return ChildProcesses(self._daemon.pid, self._forks.folder)

    def stand_in(self, module: str) -> dict[str, str]:
        """See `Ground.stand_in`."""
        return self._forks.stand_in(module)

    def log(self, node: str, descriptor: Path) -> str:
        """See `Ground.log`."""
        return read_log(node, descriptor)

    async def answering(self) -> None:
        """See `Ground.answering`: whether the daemon does."""
        await self._check(self._daemon, self.daemon_port, A_NODE)
        if self._failure is not None:
            await trio.sleep_forever()

    async def watch(self) -> None:
        """Notice when coordinator or daemon dies, or hangs; ends then."""
        async with trio.open_nursery() as nursery:
            children = (
                (self._coordinator, self._coordinator_port, NOTHING),
                (self._daemon, self.daemon_port, A_NODE),
            )
            for child, port, question in children:
                nursery.start_soon(self._watch, child)
                nursery.start_soon(self._keep_asking, child, port, question)
            nursery.start_soon(self._forks.keep)
            await self._failed.wait()
            nursery.cancel_scope.cancel()

    async def _watch(self, child: Child) -> None:
        code = await child.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._fail(f"the dora {child.name} has died ({how})")

    async def _keep_asking(self, child: Child, port: int, question: bytes) -> None:
        while True:
            await trio.sleep(INTERVAL)
            await self._check(child, port, question)

    async def _check(self, child: Child, port: int, question: bytes) -> None:
        if not await answers(port, question):
            self._fail(f"the dora {child.name} hangs: no answer in {PATIENCE:g} s")
            # It would not hear that it is to end, and commands wait for it.
            child.kill()

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = reason
            self._failed.set()

    async def close(self) -> None:
        """End coordinator and daemon, and whatever nodes are left."""
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self._daemon.stop()
            await self._coordinator.stop()
            await self._forks.close()
            await end_processes(self.directory)
            await leave_none()


@asynccontextmanager
async def open_runtime() -> AsyncGenerator[Runtime, None]:
    """Start a private runtime on free loopback ports; leaving the context ends it.

    Stop dataflows before: nodes that still run then are killed.

    Raises:
        RuntimeFailed: There is no `dora` program, or it does not come up.
    """
    program = find_program()
    await sweep()
    with own_directory() as directory:
        async with reaped(directory):
            runtime = await _start(program, directory)
            try:
                async with alongside(runtime.watch):
                    yield runtime
            finally:
                await runtime.close()


async def _start(program: str, directory: Path) -> Runtime:
    overlay = directory / OVERLAY
    overlay.write_text(_ZENOH)
    coordinator_port, daemon_port = _free_ports(2)
    env = _environment(overlay, coordinator_port)
    children: list[Child] = []
    forks = Forks(directory, env)

    async def start(name: str, port: int, *options: str) -> Child:
        command = [program, name, "--quiet", *options]
        child = Child.start(name, command, cwd=directory, env=env)
        children.append(child)
        await _wait_listening(child, port, directory)
        return child

    try:
        # First: it imports while the others come up.
        forks.prepare()
        coordinator = await start(
            "coordinator",
            coordinator_port,
            *("--port", f"{coordinator_port}"),
            *("--store", "memory"),
        )
        daemon = await start(
            "daemon",
            daemon_port,
            *("--coordinator-port", f"{coordinator_port}"),
            *("--local-listen-port", f"{daemon_port}"),
        )
    except BaseException:
        for child in reversed(children):
            await child.stop()
        await forks.close()
        raise
    mark = f"trio_bridge-{os.getpid()}"
    commands = Commands(program, directory, env)
    return Runtime(
        directory,
        daemon_port,
        mark,
        overlay,
        commands,
        coordinator,
        coordinator_port,
        daemon,
        forks,
    )


def _environment(overlay: Path, coordinator_port: int) -> dict[str, str]:
    """The environment of coordinator, daemon and, through the daemon, of every node."""
    env = inherited_environment("DORA_", "ZENOH_")
    env |= {
        ZENOH_VARIABLE: str(overlay),
        RUNTIME_VARIABLE: str(overlay.parent),
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
