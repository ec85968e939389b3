"""One running dataflow: how it comes up, serves sessions, and ends.

An instance is warm only when a ping has come through every link between its nodes: the first
moments after attaching are lossy. It is given up as soon as one of its nodes hangs or dies;
then all of its sessions are told, once, its nodes are killed, and it is stopped. Other
instances do not notice.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

import structlog
import trio
from attrs import define, field

from trio_bridge.dora.conduct import Conduct
from trio_bridge.dora.contract import Ack, port_of
from trio_bridge.dora.descriptor import Descriptor
from trio_bridge.dora.ground import Ground
from trio_bridge.dora.link import EventLine, SessionLink
from trio_bridge.dora.liveness import Fault, Liveness
from trio_bridge.dora.node_io import Batch, DoraNode, Inbox, Notice, Outbox, Ping, Stopped
from trio_bridge.dora.shared_memory import remove_left_segments
from trio_bridge.dora.teardown import kill_one_by_one
from trio_bridge.errors import BackendUnavailable, BridgeError, DataflowError, RuntimeFailed
from trio_bridge.messages import Failure

PING_INTERVAL = 0.1
"""Seconds between the pings of an instance that warms up. 30 s of them are 300 small messages
per port, which Dora holds for a node that still loads its model."""

LATE = 0.5
"""A watch that wakes later than this was itself held up, and judges only after as long again:
what the nodes have sent meanwhile has still to be read."""

READER_GRACE = 1.0
"""Seconds the reading thread has to see the stop of its dataflow; 10 ms is usual."""

STOP_TIMEOUT = 5.0
"""Seconds a stop may take in all; one that Dora has to finish with a kill takes 1.6 s."""

RUNTIME_GRACE = 0.2
"""Seconds between the end of a connection to the daemon and the news of the daemon's."""

MOST_LOST = 10_000
"""A gap in a node's numbers that is taken for a loss: what an input's queue holds. A longer one
is a number that is wrong."""

log = structlog.get_logger(__name__)


class Sender(Protocol):
    """How an instance speaks to its nodes: `node_io.Outbox`, or its like."""

    def send(self, port: str, row: Any) -> None:
        """Send what the contract has for a port; never waits."""

    def ping(self, port: str, token: str) -> None:
        """Send what comes back when all is well."""

    def flush(self) -> None:
        """Send what waits."""

    def forget(self) -> None:
        """Let go of the node."""


@define(eq=False)
class Instance:
    """A running dataflow of the native contract, and the sessions on it.

    What another contract does differently is a method to override: those below `the
    contract`.

    Attributes:
        name: Unique; also the dataflow's name in Dora.
        capacity: Sessions it may hold.
        warm: Whether it takes sessions.
        pids: Node → its process, as it last said.
        node_sessions: Node → sessions it holds state for, as it last said.
        lost: Messages that went missing between the bridge and its nodes.
    """

    name: str
    capacity: int
    _descriptor: Descriptor
    _runtime: Ground
    warm: bool = field(default=False, init=False)
    pids: dict[str, int] = field(factory=dict, init=False)
    node_sessions: dict[str, int] = field(factory=dict, init=False)
    lost: int = field(default=0, init=False)
    _sessions: dict[str, EventLine] = field(factory=dict, init=False)
    _outbox: Sender | None = field(default=None, init=False)
    _liveness: Liveness | None = field(default=None, init=False)
    _fault: Fault | None = field(default=None, init=False)
    _conduct: Conduct = field(factory=Conduct, init=False)
    _broken: trio.Event = field(factory=trio.Event, init=False)
    _unreached: set[tuple[str, str]] = field(init=False)
    _reached_all: trio.Event = field(factory=trio.Event, init=False)
    _numbers: dict[str, int] = field(factory=dict, init=False)
    _lost_by: dict[tuple[str, str], int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._unreached = self._to_reach()

    # --- sessions ---------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        """How many sessions are on it."""
        return len(self._sessions)

    @property
    def takes_sessions(self) -> bool:
        """Whether `join` has a place."""
        return self.warm and self.sessions < self.capacity

    def join(self, session_id: str) -> EventLine:
        """Take a session in.

        Raises:
            BackendUnavailable: It is full, broken, or has a session of that name.
        """
        if not self.takes_sessions:
            raise BackendUnavailable("the dataflow takes no more sessions now")
        if session_id in self._sessions:
            raise BackendUnavailable(f"there is a session {session_id} already")
        link = self._link(session_id)
        self._sessions[session_id] = link
        link.open()
        return link

    def leave(self, session_id: str) -> None:
        """Let a session go: its responses are cancelled and the nodes forget it."""
        link = self._sessions.pop(session_id, None)
        if link is not None:
            link.close()

    @property
    def bad(self) -> int:
        """Messages and rows from nodes that could not be used."""
        return self._conduct.bad

    # --- the contract -----------------------------------------------------------------------

    def _to_reach(self) -> set[tuple[str, str]]:
        """Nodes and inputs that a ping must reach before it is warm."""
        alive = {(node, "") for node in self._descriptor.nodes}
        return alive | self._descriptor.reached()

    def _connect(self, node: DoraNode, nursery: trio.Nursery) -> Inbox:
        """Begin to speak to the nodes."""
        outbox = self._outbox = Outbox(node, {"from": "bridge"}, self._sent)
        nursery.start_soon(outbox.run)
        return Inbox(node)

    def _link(self, session_id: str) -> EventLine:
        """A line for a session."""
        return SessionLink(session_id, self._descriptor.outputs, self._send)

    def _take(self, batch: Batch) -> None:
        """Take a message from a node."""
        self._count(batch.input_id, batch.number)
        if batch.port == "ack":
            for row in batch.rows:
                self._acknowledged(self._source(batch.input_id), row)
        else:
            self._deliver(batch)

    def _unreadable(self, input_id: str, words: str) -> None:
        """A message from a node cannot be read: see that nobody waits for what was in it."""
        if not self.warm:
            return
        if port_of(input_id) == "answer":
            for link in self._sessions.values():
                if isinstance(link, SessionLink):
                    link.fail_responses(f"an answer could not be read: {words}")
        else:
            self._break(Fault(self._source(input_id), f"sent a bad message: {words}"))

    def _watch(self, nursery: trio.Nursery) -> None:
        """It is warm: begin to judge whether the nodes keep up."""
        readers = {
            output: tuple(
                (link.node, link.input_id) for link in self._descriptor.readers(output)
            )
            for output in self._descriptor.outputs
        }
        self._liveness = Liveness(self._descriptor.nodes, readers, trio.current_time())
        nursery.start_soon(self._watch_nodes, self._liveness)

    def _send(self, port: str, row: Any) -> None:
        if self._outbox is not None and not self._broken.is_set():
            self._outbox.send(port, row)

    # --- life -------------------------------------------------------------------------------

    async def run(
        self, startup: float, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Start the dataflow, serve until it breaks, and stop it, whatever happens.

        Calls `started()` when it is warm, and returns when it has broken after that.

        Args:
            startup: Seconds until it must be warm.
            task_status: Trio's.

        Raises:
            DataflowError: It did not become warm; names the node that did not come up.
            RuntimeFailed: The runtime died before it was warm.
        """
        folder = self._runtime.directory / self.name
        folder.mkdir()
        text, bridge_id, probe_id = self._descriptor.instance(self.name)
        file = folder / f"{self._descriptor.name}.yml"
        file.write_text(text)
        inbox: Inbox | None = None
        error: BridgeError | None = None
        try:
            async with trio.open_nursery() as nursery:
                starting = trio.CancelScope(deadline=trio.current_time() + startup)
                nursery.start_soon(self._watch_runtime, starting)
                with starting:
                    try:
                        await self._runtime.start(file, self.name)
                        node = await self._runtime.join(bridge_id, probe_id)
                        if node is not None:
                            inbox = self._attached(node, nursery)
                            await self._warm_up(nursery)
                    except BridgeError as exc:
                        # Raised outside the nursery, which would wrap it.
                        error = exc
                if self.warm:
                    log.info("a dataflow is warm", dataflow=self.name)
                    task_status.started()
                    await self._broken.wait()
                else:
                    error = await self._explain(
                        file, error, timed_out=starting.cancelled_caught
                    )
                nursery.cancel_scope.cancel()
        finally:
            self.warm = False
            with trio.CancelScope(shield=True):
                await self._stop(inbox)
            self._clear_away(file)
        if error is not None:
            raise error

    def _attached(self, node: DoraNode, nursery: trio.Nursery) -> Inbox:
        inbox = self._connect(node, nursery)
        nursery.start_soon(inbox.run)
        nursery.start_soon(self._receive, inbox)
        return inbox

    async def _warm_up(self, nursery: trio.Nursery) -> None:
        tokens = 0
        while not (self._reached_all.is_set() or self._broken.is_set()):
            for output in self._descriptor.outputs:
                if self._outbox is not None:
                    self._outbox.ping(output, f"{self.name}-{tokens}")
            tokens += 1
            with trio.move_on_after(PING_INTERVAL):
                await self._reached_all.wait()
        if self._broken.is_set():
            return
        # What was lost on the way here is no loss: the count begins now.
        self._numbers.clear()
        self._watch(nursery)
        self.warm = True

    async def _stop(self, inbox: Inbox | None) -> None:
        failure = self._failure()
        for link in list(self._sessions.values()):
            link.end(failure)
        with trio.move_on_after(STOP_TIMEOUT):
            if self._fault is not None:
                broken = self._fault.node
                pids = sorted(self.pids.items(), key=lambda item: item[0] != broken)
                await kill_one_by_one(self._runtime, [pid for _, pid in pids])
            elif inbox is not None:
                await self._detach(inbox)
            if self._runtime.failure is None:
                await self._runtime.stop(self.name)
            if inbox is not None:
                with trio.move_on_after(READER_GRACE):
                    await inbox.ended.wait()
        self._let_go(inbox)
        for node, pid in self.pids.items():
            if self._runtime.kill(pid):
                log.warning("a node had to be killed", dataflow=self.name, node=node)
        await remove_left_segments()

    def _clear_away(self, file: Path) -> None:
        """Remove its files: a bridge that runs for months has many instances."""
        if self._fault is not None and self._fault.node:
            words = self._runtime.log(self._fault.node, file)
            if words:
                log.warning(
                    "what the broken node printed last",
                    dataflow=self.name,
                    node=self._fault.node,
                    output=words,
                )
        shutil.rmtree(file.parent, ignore_errors=True)

    async def _detach(self, inbox: Inbox) -> None:
        """Leave a dataflow that is well, before it is stopped.

        Dora writes warnings to the standard output, and cannot be told otherwise, when a node
        outlives its dataflow. The reading thread only comes back with an event, so a last ping
        gives it one.
        """
        inbox.close()
        if self._outbox is not None:
            for output in self._descriptor.outputs:
                self._outbox.ping(output, f"{self.name}-end")
        with trio.move_on_after(READER_GRACE):
            await inbox.ended.wait()
            self._let_go(inbox)

    def _let_go(self, inbox: Inbox | None) -> None:
        # Dora's node ends with the last reference to it.
        if self._outbox is not None:
            self._outbox.forget()
        if inbox is not None:
            inbox.forget()

    async def _explain(
        self, file: Path, error: BridgeError | None, *, timed_out: bool
    ) -> BridgeError:
        """Why it did not become warm, and by whose fault."""
        if self._runtime.failure is not None:
            return RuntimeFailed(self._runtime.failure)
        silent = self._silent(file) if timed_out else None
        died = await self._runtime.stop(self.name)
        if silent is not None:
            words = f"node {silent!r} did not come up in time"
            return DataflowError(words, node=silent, log=self._runtime.log(silent, file))
        if died is not None:
            node, why = died
            log_lines = self._runtime.log(node, file)
            return DataflowError(f"node {node!r} failed: {why}", node=node, log=log_lines)
        if self._fault is not None:
            node = self._fault.node
            words = f"node {node!r} {self._fault.reason}"
            return DataflowError(words, node=node, log=self._runtime.log(node, file))
        words = "did not come up in time" if timed_out else "ended while it was starting"
        return error or DataflowError(f"the dataflow {words}")

    def _silent(self, file: Path) -> str | None:
        if self._outbox is None:
            attached = self._runtime.attached_nodes(file)
            if attached is None:
                return None
            waiting = [node for node in self._descriptor.nodes if node not in attached]
        else:
            waiting = [node for node in self._descriptor.nodes if (node, "") in self._unreached]
            if not waiting:
                # All are alive, but something did not pass a ping on.
                inputs = self._descriptor.inputs
                waiting = [
                    inputs.get(input_id, node) if node == self._descriptor.bridge else node
                    for node, input_id in sorted(self._unreached)
                ]
        return waiting[0] if waiting else None

    # --- what happens ------------------------------------------------------------------------

    def _break(self, fault: Fault) -> None:
        if self._fault is not None:
            return
        self._fault = fault
        if self._runtime.shared:
            self._forget_sessions()
        self.warm = False
        self._broken.set()
        log.error(
            "a dataflow broke",
            dataflow=self.name,
            node=fault.node,
            reason=fault.reason,
            sessions=self.sessions,
        )
        failure = self._failure()
        for link in list(self._sessions.values()):
            link.end(failure)

    def _forget_sessions(self) -> None:
        """Tell the nodes, those that live on, that all sessions are over."""
        for link in self._sessions.values():
            link.let_go()
        if self._outbox is not None:
            self._outbox.flush()

    @property
    def problem(self) -> str | None:
        """Why it was given up, if it was."""
        return self._failure().message if self._fault is not None else None

    def status(self, state: str) -> dict[str, Any]:
        """Its figures, as JSON for `GET /health`."""
        return {
            "name": self.name,
            "dataflow": self._descriptor.name,
            "state": state,
            "sessions": self.sessions,
            "nodeSessions": dict(self.node_sessions),
            "lostMessages": self.lost,
        }

    def _failure(self) -> Failure:
        if self._fault is None:
            return Failure("dataflow_stopped", "the dataflow was stopped")
        who = f"node {self._fault.node!r} " if self._fault.node else ""
        return Failure("dataflow_broken", f"the dataflow broke: {who}{self._fault.reason}")

    def _sent(self, output: str, number: int) -> None:
        if self._liveness is not None:
            fault = self._liveness.sent(output, number, trio.current_time())
            if fault is not None:
                self._break(fault)

    async def _receive(self, inbox: Inbox) -> None:
        while True:
            match await inbox.receive():
                case Batch(input_id=input_id, weight=weight) as batch:
                    self._weigh(input_id, weight)
                    self._take_safely(batch)
                case Ping(input_id=input_id, number=number):
                    self._weigh(input_id, 1)
                    self._count(input_id, number)
                    self._reach(self._descriptor.bridge, input_id)
                case Notice("BAD_MESSAGE", subject, detail, weight):
                    self._weigh(subject, weight)
                    self._bad(self._source(subject), detail)
                    self._unreadable(subject, detail)
                case Notice(kind, subject, detail):
                    self._notice(kind, subject, detail)
                case Stopped():
                    # If it is for a daemon that died, that is known in a moment.
                    with trio.move_on_after(RUNTIME_GRACE):
                        await self._broken.wait()
                    self._break(Fault("", "it has ended"))
                    return

    def _take_safely(self, batch: Batch) -> None:
        try:
            self._take(batch)
        except Exception as exc:
            # The boundary to foreign data: what nobody thought of ends this instance alone.
            log.exception("a message could not be taken", dataflow=self.name)
            self._break(Fault(self._source(batch.input_id), f"sent a bad message: {exc!r}"))

    def _weigh(self, input_id: str, weight: int) -> None:
        fault = self._conduct.sent(self._source(input_id), weight, trio.current_time())
        if fault is not None:
            self._break(fault)

    def _bad(self, node: str, words: str) -> None:
        """A node has sent what cannot be used."""
        fault = self._conduct.broke(node, words, trio.current_time())
        count = self._conduct.bad
        if count & (count - 1) == 0:  # the first, second, fourth, …: a flood fills no disk
            log.warning(
                "a node broke the contract",
                dataflow=self.name,
                node=node,
                error=words,
                count=count,
            )
        if fault is not None:
            self._break(fault)

    def _notice(self, kind: str, subject: str, detail: str) -> None:
        if kind == "INPUT_CLOSED":
            self._break(Fault(self._source(subject), "has ended"))
        elif kind == "NODE_FAILED":
            self._break(Fault(subject, f"has failed {detail}".strip()))
        elif kind == "NODE_RESTARTED" and self.warm:
            # It knows nothing of the sessions any more.
            self._break(Fault(subject, "has failed, and was started anew"))
        elif kind == "ERROR":
            self._break(Fault("", f"dora reports an error: {detail}"))
        else:
            log.info("dora says", dataflow=self.name, kind=kind, subject=subject, detail=detail)

    def _deliver(self, batch: Batch) -> None:
        for row in batch.rows:
            link = self._sessions.get(row.session_id)
            if not isinstance(link, SessionLink):
                continue
            try:
                lost = link.receive(row)
            except ValueError as exc:
                self._bad(self._source(batch.input_id), str(exc))
                continue
            if lost:
                self._missing(lost, self._source(batch.input_id), batch.input_id)

    def _source(self, input_id: str) -> str:
        return self._descriptor.inputs.get(input_id, "")

    def _acknowledged(self, node: str, row: Ack) -> None:
        # It is killed by this number one day: it must be one of ours.
        folder = self._runtime.directory / self.name
        if self.pids.get(node) != row.pid and self._runtime.is_node(row.pid, folder):
            self.pids[node] = row.pid
        self.node_sessions[node] = row.sessions
        self._reach(node, row.port)
        if self._liveness is None:
            self._lost_by[node, row.port] = row.lost
            return
        self._liveness.heard(node, trio.current_time())
        if not row.port:
            return
        self._liveness.acknowledged(node, row.port, row.received)
        missing = row.lost - self._lost_by.get((node, row.port), 0)
        if missing > 0:
            self._lost_by[node, row.port] = row.lost
            self._gap(missing, node, row.port)

    def _reach(self, node: str, input_id: str) -> None:
        if self._unreached:
            self._unreached.discard((node, input_id))
            self._unreached.discard((node, ""))
            if not self._unreached:
                self._reached_all.set()

    def _count(self, input_id: str, number: int) -> None:
        if number < 0:
            return
        expected = self._numbers.get(input_id, number)
        self._numbers[input_id] = number + 1
        if self.warm and number > expected:
            self._gap(number - expected, self._source(input_id), input_id)

    def _gap(self, count: int, node: str, port: str) -> None:
        if count <= MOST_LOST:
            self._missing(count, node, port)
        else:
            self._bad(node, f"numbers on {port} that jump by {count}")

    def _missing(self, count: int, node: str, port: str) -> None:
        self.lost += count
        log.error("messages were lost", dataflow=self.name, node=node, port=port, count=count)

    async def _watch_nodes(self, liveness: Liveness) -> None:
        # Whatever is sent meanwhile is due later than what is slept for: no wake is missed.
        while True:
            due = liveness.deadline
            await trio.sleep_until(due)
            if trio.current_time() - due > LATE:
                await trio.sleep(LATE)
            fault = liveness.fault(trio.current_time())
            if fault is not None:
                self._break(fault)
                return

    async def _watch_runtime(self, starting: trio.CancelScope) -> None:
        self._break(Fault("", await self._runtime.wait_failed()))
        starting.cancel()
