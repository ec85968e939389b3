"""The processes of a dataflow's nodes: what can be known of them, and be done to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from attrs import frozen

from trio_bridge.dora.runtimes.processes import ProcessId, child_of, children_of

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
    """Nodes that are children of a daemon on this machine (Linux)."""

    daemon: int

    def attached(self, descriptor: Path) -> set[str]:
        """Those that have a connection."""
        return {node for node, each in self._nodes(descriptor) if each.has_socket()}

    def pids(self, descriptor: Path) -> dict[str, int]:
        """See `NodeProcesses.pids`."""
        return {node: each.pid for node, each in self._nodes(descriptor)}

    def is_node(self, pid: int, folder: Path) -> bool:
        """See `NodeProcesses.is_node`."""
        process = child_of(self.daemon, pid)
        return process is not None and process.working_directory() == str(folder)

    def kill(self, pid: int) -> bool:
        """See `NodeProcesses.kill`."""
        process = child_of(self.daemon, pid)
        if process is not None:
            process.kill()
        return process is not None

    def _nodes(self, descriptor: Path) -> Iterator[tuple[str, ProcessId]]:
        for process in children_of(self.daemon):
            match = _NODE_ID.search(process.environment("DORA_NODE_CONFIG"))
            if match and process.working_directory() == str(descriptor.parent):
                yield match[1], process


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
