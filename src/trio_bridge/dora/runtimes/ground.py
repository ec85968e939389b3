"""Where instances run: what they ask of the Dora that carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.runtimes.node_processes import NodeProcesses


class Daemon(Protocol):
    """A Dora daemon on this machine, as one attaches to it."""

    @property
    def daemon_port(self) -> int:
        """Where a dynamic node attaches."""

    @property
    def attach_environment(self) -> dict[str, str]:
        """What `dora.Node` must find in the environment of the process that attaches."""

    @property
    def environment(self) -> Mapping[str, str]:
        """That of a process of its own that attaches. By it that is known as a part of it, when
        all that is left of it is ended."""

    def forked(self, name: str) -> Sequence[str]:
        """The command that has one of our programs forked; none if it must be begun."""


class Ground(Protocol):
    """A private runtime, or a Dora of somebody else's."""

    @property
    def directory(self) -> Path:
        """Where the files of instances are kept."""

    @property
    def mark(self) -> str:
        """Stands at the front of every instance's name: whose it is."""

    @property
    def shared(self) -> bool:
        """Whether nodes outlive an instance that is given up, and must be told to forget its
        sessions. Nodes that do not are killed."""

    @property
    def processes(self) -> NodeProcesses:
        """What may be known of the nodes' processes, and be done to them."""

    @property
    def failure(self) -> str | None:
        """Why it no longer carries anything, if it does not."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with it though it may go on: a likely reason if an instance breaks."""

    async def wait_failed(self) -> str:
        """Wait until it no longer does; gives the reason."""

    async def answering(self) -> None:
        """Wait until what carries messages to nodes on this machine answers, as far as that can
        be asked: what it holds back is no fault of a node's. Never returns when it has failed.
        """

    async def validate(self, descriptor: Path) -> None:
        """Have Dora check a descriptor.

        Raises:
            DataflowError: It does not pass.
        """

    async def start(self, descriptor: Path, name: str) -> None:
        """Start a dataflow.

        Raises:
            DataflowError: Dora does not start it.
            RuntimeFailed: It cannot start any.
        """

    async def join(self, bridge_id: str, probe_id: str) -> DoraNode | None:
        """Join a dataflow as the bridge, once its other nodes are there.

        Returns:
            None if one of them ended instead.

        Raises:
            DataflowError: Dora refuses.
        """

    async def stop(self, name: str) -> tuple[str, str] | None:
        """Stop a dataflow; gives the node that failed and Dora's words, if one did."""

    def stand_in(self, module: str) -> dict[str, str]:
        """What Dora is to start, as `path` and `args`, in the place of a node that ships, which
        then is forked; nothing if the node begins as a program."""

    def log(self, node: str, descriptor: Path) -> str:
        """The last lines that a node has printed, as far as they can be had."""


class Host(Protocol):
    """What says when instances may start and stop."""

    @property
    def failure(self) -> str | None:
        """Why none can run, while none can."""

    @property
    def retry_at(self) -> float:
        """When they next may, while none can."""

    @property
    def changing(self) -> trio.Lock:
        """Held while an instance starts or stops, one at a time whatever its dataflow, and
        while none can run."""


class Grounds(Host, Protocol):
    """The Dora that carries a bridge's dataflows, though another may have to take its place."""

    @property
    def ground(self) -> Ground:
        """The one that carries them now, or has last."""

    def status(self) -> dict[str, Any]:
        """How it is, as JSON for `GET /health`."""
