"""A dataflow as Dora has it: its file, its start, the processes of its nodes, and its end."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog
from attrs import define, field

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.instances.liveness import Fault
from trio_bridge.dora.runtimes.ground import Ground
from trio_bridge.dora.runtimes.shared_memory import remove_left_segments
from trio_bridge.dora.runtimes.teardown import kill_one_by_one
from trio_bridge.errors import BridgeError, DataflowError, RuntimeFailed

log = structlog.get_logger(__name__)


@define(eq=False)
class Deployment:
    """One instance of a dataflow on its ground.

    Attributes:
        name: The dataflow's name in Dora.
        descriptor: What runs.
        ground: Where it runs.
        pids: Node → its process, as far as that is known.
    """

    name: str
    descriptor: Descriptor
    ground: Ground
    pids: dict[str, int] = field(factory=dict, init=False)
    _bridge_id: str = field(default="", init=False)
    _probe_id: str = field(default="", init=False)
    _stopped: bool = field(default=False, init=False)

    @property
    def _folder(self) -> Path:
        return self.ground.directory / self.name

    @property
    def _file(self) -> Path:
        return self._folder / f"{self.descriptor.name}.yml"

    # --- its start --------------------------------------------------------------------------

    def write(self) -> None:
        """Write its file, or leave nothing.

        Raises:
            OSError: The disk is full, or there are no more files.
        """
        text, self._bridge_id, self._probe_id = self.descriptor.instance(
            self.name, self.ground.stand_in
        )
        self._folder.mkdir()
        try:
            self._file.write_text(text)
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    async def start(self) -> DoraNode | None:
        """Start it and join it; see `Ground.start` and `Ground.join`."""
        await self.ground.start(self._file, self.name)
        return await self.ground.join(self._bridge_id, self._probe_id)

    def not_attached(self) -> str | None:
        """A node that has not attached, if that can be known."""
        attached = self.ground.processes.attached(self._file)
        if attached is None:
            return None
        return next((node for node in self.descriptor.attaching if node not in attached), None)

    async def stop_and_explain(
        self,
        *,
        silent: str | None,
        fault: Fault | None,
        error: BridgeError | None,
        timed_out: bool,
    ) -> BridgeError:
        """Stop it, and say why it did not become warm, and by whose fault.

        Args:
            silent: The node that did not come up in time.
            fault: Why it was given up.
            error: What its start was refused with.
            timed_out: Whether all the time that it had is over.
        """
        if self.ground.failure is not None:
            return RuntimeFailed(self.ground.failure)
        died = await self.stop()
        if silent is not None:
            return self._failed(silent, f"node {silent!r} did not come up in time")
        if died is not None:
            node, why = died
            return self._failed(node, f"node {node!r} failed: {why}")
        if fault is not None:
            return self._failed(fault.node, f"node {fault.node!r} {fault.reason}")
        words = "did not come up in time" if timed_out else "ended while it was starting"
        return error or DataflowError(f"the dataflow {words}")

    def _failed(self, node: str, words: str) -> DataflowError:
        return DataflowError(words, node=node, log=self.ground.log(node, self._file))

    # --- its processes ----------------------------------------------------------------------

    def note_process(self, node: str, pid: int) -> None:
        """A node has said what its process is."""
        # It is killed by this number one day: it must be one of ours.
        if self.pids.get(node) != pid and self.ground.processes.is_node(pid, self._folder):
            self.pids[node] = pid

    def find_processes(self) -> None:
        """Look for the processes of nodes that do not say it."""
        self.pids.update(self.ground.processes.pids(self._file))

    # --- its end ----------------------------------------------------------------------------

    async def kill(self, first: str) -> None:
        """Kill its nodes, one by one, a certain one before the others."""
        pids = sorted(self.pids.items(), key=lambda item: item[0] != first)
        await kill_one_by_one(self.ground.processes, [pid for _, pid in pids])

    async def stop(self) -> tuple[str, str] | None:
        """Have Dora stop it, unless that is done; gives the node that failed and Dora's words,
        if one did."""
        if self._stopped or self.ground.failure is not None:
            return None
        failed = await self.ground.stop(self.name)
        # Not before: one that is cut short has to be made up for.
        self._stopped = True
        return failed

    async def clear_away(self, fault: Fault | None) -> None:
        """Kill what did not end, and remove its files: a bridge that runs for months has many
        instances."""
        for node, pid in self.pids.items():
            if self.ground.processes.kill(pid):
                log.warning("a node had to be killed", dataflow=self.name, node=node)
        await remove_left_segments()
        if fault is not None:
            self._show_last_words(fault.node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _show_last_words(self, node: str) -> None:
        words = self.ground.log(node, self._file) if node else ""
        if words:
            log.warning(
                "what the broken node printed last",
                dataflow=self.name,
                node=node,
                output=words,
            )
