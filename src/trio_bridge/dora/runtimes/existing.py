"""Instances on a Dora that runs already: a coordinator somewhere, a daemon beside the bridge.

Several bridges may share it, so that each touches only what carries its own mark: the machine,
the process, and when that began. What a bridge that was killed has left behind is stopped by
the next one on the same machine. Nodes may run on other machines; their processes, memory and
logs are not seen from here, and nothing is said of them.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.runtimes.attach import attach, wait_attached
from trio_bridge.dora.runtimes.commands import (
    Commands,
    find_program,
    inherited_environment,
    program_path,
    read_log,
)
from trio_bridge.dora.runtimes.greeting import greet
from trio_bridge.dora.runtimes.leftovers import own_directory, sweep
from trio_bridge.dora.runtimes.node_processes import NodeProcesses, UnseenProcesses
from trio_bridge.dora.runtimes.processes import ProcessId, process
from trio_bridge.dora.runtimes.pulse import A_NODE, PATIENCE, answers
from trio_bridge.dora.runtimes.shared_memory import leave_none
from trio_bridge.dora.settings import split_address
from trio_bridge.errors import RuntimeFailed

CONNECT_TIMEOUT = 3.0
"""Seconds for a connection to the coordinator, which may be far away."""

RETRY_INTERVAL = 5.0
"""Seconds between attempts to stop what could not be stopped."""

CLOSE_TIMEOUT = 15.0
"""Seconds that the end may take, whatever the coordinator does."""

_OWNER = re.compile(r"(?P<prefix>trio_bridge-.+)-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]+")

log = structlog.get_logger(__name__)


@define(eq=False)
class ExistingDora:
    """See `Ground`. It never fails for good: while it cannot be reached, starts do.

    Attributes:
        address: The coordinator's.
    """

    directory: Path
    daemon_port: int
    _prefix: str
    _process: ProcessId
    _commands: Commands
    address: tuple[str, int]
    shared: bool = field(default=False, init=False)
    processes: NodeProcesses = field(factory=UnseenProcesses, init=False)
    failure: None = field(default=None, init=False)
    trouble: str | None = field(default=None, init=False)
    attach_environment: dict[str, str] = field(factory=dict, init=False)
    environment: dict[str, str] = field(factory=inherited_environment, init=False)
    _used: set[str] = field(factory=set, init=False)
    _newest: str = field(default="", init=False)
    _unstopped: set[str] = field(factory=set, init=False)
    _owing: trio.Event = field(factory=trio.Event, init=False)

    @property
    def mark(self) -> str:
        return f"{self._prefix}-{self._process.pid}-{self._process.started}"

    async def wait_failed(self) -> str:
        await trio.sleep_forever()

    async def answering(self) -> None:
        pass

    async def validate(self, descriptor: Path) -> None:
        await self._commands.validate(descriptor)

    async def start(self, descriptor: Path, name: str) -> None:
        await self.check()
        await self.sweep()
        self._used.add(name)
        self._newest = name
        await self._commands.start(descriptor, name)

    async def join(self, bridge_id: str, probe_id: str) -> DoraNode | None:
        """Join the dataflow that was started last; see `Ground.join`.

        Raises:
            RuntimeFailed: The daemon here is not the one that the dataflow was started on.
        """
        outcome = await wait_attached(self, probe_id)
        if outcome == "attached":
            return await attach(self, bridge_id)
        if outcome == "unknown" and self._newest in await self._commands.running():
            raise RuntimeFailed(
                f"the dora daemon on 127.0.0.1:{self.daemon_port} does not know what the "
                f"coordinator at {self._where} has started: it belongs to another coordinator, "
                "or this machine has several daemons; name the right one (dora.daemon_port)"
            )
        return None

    async def stop(self, name: str) -> tuple[str, str] | None:
        self._used.discard(name)
        # Until it is done: it may be cut short, or a machine may be out of reach.
        self._unstopped.add(name)
        self._owing.set()
        result = await self._commands.stop(name)
        if result.stopped:
            self._unstopped.discard(name)
        return result.failed

    async def make_good(self) -> None:
        """Stop what could not be stopped, as soon as that is possible. Runs until cancelled."""
        while True:
            await self._owing.wait()
            await trio.sleep(RETRY_INTERVAL)
            for name in sorted(self._unstopped):
                with suppress(RuntimeFailed):
                    done = (await self._commands.stop(name)).stopped
                    if done or name not in await self._commands.running():
                        self._unstopped.discard(name)
            if not self._unstopped:
                self._owing = trio.Event()

    async def check(self) -> None:
        """See whether there are a coordinator of our kind and a daemon.

        Raises:
            RuntimeFailed: One of them does not listen or hangs, or the coordinator is
                another's.
        """
        host, port = self.address
        where = self._where
        async with await _connect(host, port, f"there is no dora coordinator at {where}") as it:
            await greet(it, where, CONNECT_TIMEOUT)
        problem = (
            f"there is no dora daemon on 127.0.0.1:{self.daemon_port}; one has to run beside "
            "the bridge (dora.daemon_port)"
        )
        await (await _connect("127.0.0.1", self.daemon_port, problem)).aclose()
        # The kernel takes connections also for a process that hangs.
        if not await answers(self.daemon_port, A_NODE):
            raise RuntimeFailed(
                f"the dora daemon on 127.0.0.1:{self.daemon_port} hangs: "
                f"no answer in {PATIENCE:g} s"
            )

    async def wait_cut_off(self) -> None:
        """Wait until coordinator or daemon may have gone. Neither says so: a connection to
        each, on which nothing is said, ends with it."""
        ends = (self.address, ("127.0.0.1", self.daemon_port))
        async with trio.open_nursery() as nursery:
            for host, port in ends:
                nursery.start_soon(_until_closed, host, port, nursery.cancel_scope)

    async def sweep(self) -> None:
        """Stop what bridges of this machine have left running: those that were killed, and this
        one, where a stop has failed.

        Raises:
            RuntimeFailed: The coordinator does not answer.
        """
        for name in await self._commands.running():
            if self._is_left(name):
                log.warning("a dataflow was left running: it is stopped", dataflow=name)
                await self._commands.stop(name)

    @property
    def _where(self) -> str:
        host, port = self.address
        return f"{host}:{port}"

    def _is_left(self, name: str) -> bool:
        match = _OWNER.fullmatch(name)
        if match is None or match["prefix"] != self._prefix:
            return False
        owner = ProcessId(int(match["pid"]), int(match["started"]))
        return name not in self._used if owner == self._process else process(owner.pid) != owner

    def forked(self, name: str) -> tuple[str, ...]:
        del name
        return ()

    def stand_in(self, module: str) -> dict[str, str]:
        """See `Ground.stand_in`: its nodes may be on other machines."""
        del module
        return {}

    def log(self, node: str, descriptor: Path) -> str:
        return read_log(node, descriptor)

    async def close(self) -> None:
        """Stop what was started."""
        with trio.CancelScope(shield=True):
            # If it cannot be reached, the next bridge on this machine does it.
            with trio.move_on_after(CLOSE_TIMEOUT), suppress(RuntimeFailed):
                await self.sweep()
            await leave_none()


@asynccontextmanager
async def open_existing(
    coordinator: str, daemon_port: int
) -> AsyncGenerator[ExistingDora, None]:
    """Have a Dora that runs already to start on; leaving the context stops what was started.

    Args:
        coordinator: HOST:PORT.
        daemon_port: Where the daemon of this machine takes dynamic nodes.

    Raises:
        RuntimeFailed: There is no `dora` program, coordinator or daemon, or they do not go
            together.
    """
    host, port = split_address(coordinator)
    program = find_program()
    own = process(os.getpid())
    assert own is not None  # noqa: S101  we run
    await sweep()
    with own_directory() as directory:
        env = _environment(await _resolve(host), port)
        commands = Commands(program, directory, env)
        machine = re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname()) or "machine"
        prefix = f"trio_bridge-{machine}"
        dora = ExistingDora(directory, daemon_port, prefix, own, commands, (host, port))
        await dora.check()
        await dora.sweep()
        try:
            yield dora
        finally:
            await dora.close()


def _environment(address: str, port: int) -> dict[str, str]:
    return inherited_environment() | {
        "DORA_COORDINATOR_ADDR": address,
        "DORA_COORDINATOR_PORT": str(port),
        "RUST_BACKTRACE": "0",
        "PATH": program_path(),
    }


async def _resolve(host: str) -> str:
    """The program takes addresses only."""
    try:
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise RuntimeFailed(f"the dora coordinator's host {host!r} is not known") from exc
    return str(found[0][4][0])


async def _until_closed(host: str, port: int, over: trio.CancelScope) -> None:
    with suppress(RuntimeFailed, trio.BrokenResourceError):
        async with await _connect(host, port, "gone") as stream:
            await stream.receive_some(1)
    over.cancel()


async def _connect(host: str, port: int, otherwise: str) -> trio.SocketStream:
    with trio.move_on_after(CONNECT_TIMEOUT):
        try:
            return await trio.open_tcp_stream(host, port)
        except OSError as exc:
            raise RuntimeFailed(otherwise) from exc
    raise RuntimeFailed(f"{otherwise}: no answer in {CONNECT_TIMEOUT:g} s")
