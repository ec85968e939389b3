"""The processes of a dataflow's nodes: what can be known of them, and be done to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attrs import frozen

from trio_bridge.dora.runtimes.processes import ProcessId, child_of, children_of, process

_NODE_ID = re.compile(r"^node_id: (\S+)$", re.MULTILINE)


class NodeProcesses(Protocol):
    """The nodes that a Dora has started, as processes."""

    def attached(self, descriptor: Path) -> set[str] | None:
        """Nodes of a dataflow that have attached, or are about to; None if that cannot be
        known."""

    def pids(self, descriptor: Path) -> dict[str, int]:
        """Nodes of a dataflow → their processes, as far as they are known."""

    def is_node(self, pid: int, folder: Path) -> bool:
        """Whether a process is known as a node of the dataflow whose descriptor is in a
        folder."""

    def kill(self, pid: int) -> bool:
        """Kill a node's process; tells whether there was one that is ours to kill."""


@frozen
class ChildProcesses:
    """Nodes that a daemon on this machine has started (Linux).

    Attributes:
        daemon: Its process.
        forks: See `Forks.folder`.
    """

    daemon: int
    forks: Path

    def attached(self, descriptor: Path) -> set[str]:
        """Those that have a connection."""
        return {node for node, each in self._nodes(descriptor) if each.has_socket()}

    def pids(self, descriptor: Path) -> dict[str, int]:
        """See `NodeProcesses.pids`."""
        return {node: each.pid for node, each in self._nodes(descriptor)}

    def is_node(self, pid: int, folder: Path) -> bool:
        """See `NodeProcesses.is_node`."""
        found = self._find(pid)
        return found is not None and found.working_directory() == str(folder)

    def kill(self, pid: int) -> bool:
        """See `NodeProcesses.kill`."""
        found = self._find(pid)
        if found is not None:
            found.kill()
        return found is not None

    def _find(self, pid: int) -> ProcessId | None:
        """A node by the number of its process."""
        with suppress(OSError):  # the runtime may just be ending
            for link in self.forks.iterdir():
                started = (
                    child_of(self.daemon, int(link.name)) if _target(link) == pid else None
                )
                if started is not None and (node := self._behind(started)).pid == pid:
                    return node
        return child_of(self.daemon, pid)

    def _behind(self, started: ProcessId) -> ProcessId:
        """The node that a process of the daemon's stands for, or is."""
        pid = _target(self.forks / str(started.pid))
        node = process(pid) if pid is not None else None
        # The link may be of an earlier process of that number.
        if node is None or node.working_directory() != started.working_directory():
            return started
        return node

    def _nodes(self, descriptor: Path) -> Iterator[tuple[str, ProcessId]]:
        for started in children_of(self.daemon):
            match = _NODE_ID.search(started.environment("DORA_NODE_CONFIG"))
            if match and started.working_directory() == str(descriptor.parent):
                yield match[1], self._behind(started)


def _target(link: Path) -> int | None:
    try:
        return int(str(link.readlink()))
    except (OSError, ValueError):
        return None


@frozen
class UnseenProcesses:
    """Nodes that may be on other machines: nothing is said of them, and what looks like the
    number of one may be another machine's."""

    def attached(self, descriptor: Path) -> None:
        """It cannot be known."""
        del descriptor

    def pids(self, descriptor: Path) -> dict[str, int]:
        """None is known."""
        del descriptor
        return {}

    def is_node(self, pid: int, folder: Path) -> bool:
        """None is known."""
        del pid, folder
        return False

    def kill(self, pid: int) -> bool:
        """None is ours to kill."""
        del pid
        return False
