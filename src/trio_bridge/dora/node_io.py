"""How any node meets Trio: one thread that reads, and sends that are batched per port.

Dora's Python node is not made for an event loop. One thread calls `next()` and nothing else
(every other way of reading it either freezes the interpreter or raises); what it reads is
handed to the Trio loop. Sending takes about 0.1 ms and happens on the Trio thread, so that it
keeps the order in which the program spoke.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import trio
from attrs import define, field, frozen

from trio_bridge.dora.codec import ContractError, decode, encode
from trio_bridge.dora.contract import ROWS, port_of

EVENTS_WAITING = 256
"""Messages the reading thread may be ahead of the Trio loop. Beyond it the thread waits, and
Dora's own queue (10,000, backpressure) holds the rest: 256 is 5 s of 20 ms messages. Large
messages count as several, so that this many hold 64 MB."""

EVENTS_IN_A_ROW = 8
"""Messages received without letting other tasks run: a few milliseconds of work."""

BYTES_OF_WEIGHT = 2**18
ROWS_OF_WEIGHT = 64
"""Bytes and rows of a message that count as one message more: 200 sessions of 20 ms frames make
200 messages a second with half as much in each."""

QUIET = 0.005
"""Seconds a port keeps quiet after a message; rows that come meanwhile leave as one message."""

FATAL = "fatal event stream error"
"""How Dora's words begin when the connection to the daemon has ended."""

MESSAGE_BYTES = 16 * 2**20
"""The largest message that is looked at: two minutes of speech at 32 kHz. A larger one is too
much by itself: its way through Dora alone holds everybody up."""

TOO_MUCH = 2**20
"""The weight of a message that is too much by itself."""

BYTES_WAITING = 2**20
"""Samples a port may hold back, likewise: 16 s of speech at 16 kHz. No node has to take more of
them in one go, unless they are one row."""

ROWS_WAITING = 4096
"""Rows a port may hold back during its quiet time. More leave at once: it bounds the memory,
and a message of that size costs the receiver less than a tenth of a second."""


# --- what the thread reports ----------------------------------------------------------------


@frozen
class Batch:
    """A message that arrived: `rows` are instances of the port's row class, in order.

    `number` is the sender's count for its output, from 0 (-1: it does not count).
    `weight` is what it costs to take it, in small messages.
    """

    input_id: str
    rows: list[Any]
    number: int = -1
    from_bridge: bool = False
    weight: int = field(default=1, eq=False)

    @property
    def port(self) -> str:
        """The port the input stands for: `ack-asr` → `ack`."""
        return port_of(self.input_id)


@frozen
class Ping:
    """A ping came through on `input_id`, carrying `token`."""

    input_id: str
    token: str
    number: int = -1
    from_bridge: bool = False


@frozen
class Notice:
    """Anything else Dora has to say, such as NODE_FAILED, INPUT_CLOSED or ERROR.

    A message that does not keep the contract is a notice of kind `BAD_MESSAGE`.
    """

    kind: str
    subject: str
    detail: str = ""
    weight: int = field(default=1, eq=False)


@frozen
class Stopped:
    """The dataflow stops, or the connection to the daemon has ended."""


NodeEvent: TypeAlias = Batch | Ping | Notice | Stopped

Raw: TypeAlias = dict[str, Any]
"""An event as Dora gives it."""


class DoraNode(Protocol):
    """The part of `dora.Node` that is used."""

    def next(self) -> Raw | None:
        """Wait for the next event, without the interpreter lock."""

    def send_output(
        self, output_id: str, data: pa.Array, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send one message. Blocks, interpreter lock in hand, when a receiver is stuck."""


def read_notice(event: Raw | None) -> Notice | Stopped | None:
    """What a `dora` event means that is no message; None for one that is."""
    if event is None:
        return Stopped()
    kind = str(event["type"])
    # The second is what there is of a daemon that has died: `next()` would never come back.
    if kind == "STOP" or (kind == "ERROR" and str(event.get("error")).startswith(FATAL)):
        return Stopped()
    if kind != "INPUT":
        detail = str(event.get("error") or event.get("reason") or "").partition("\n")[0]
        return Notice(kind, str(event.get("id", "")), detail)
    return None


def weight_of(value: pa.Array) -> int:
    """What it costs to take a message, in small messages: 1, and more for bytes and rows."""
    size: int = value.get_total_buffer_size()
    if size > MESSAGE_BYTES:
        return TOO_MUCH
    return 1 + size // BYTES_OF_WEIGHT + len(value) // ROWS_OF_WEIGHT


def check(value: pa.Array) -> None:
    """See that an array is what it says it is.

    Raises:
        ValueError: It is too large, or its parts do not fit each other.
    """
    if value.get_total_buffer_size() > MESSAGE_BYTES:
        raise ValueError(f"a message of {value.get_total_buffer_size()} bytes")
    value.validate(full=True)


def _is_small(event: Raw) -> bool:
    return event["type"] == "INPUT" and weight_of(event["value"]) == 1


def read_event(event: Raw | None) -> NodeEvent:
    """What a `dora` event means under the native contract."""
    other = read_notice(event)
    if other is not None:
        return other
    assert event is not None  # noqa: S101  `read_notice` says what that means
    input_id = str(event["id"])
    metadata = event["metadata"]
    from_bridge = metadata.get("from") == "bridge"
    token = metadata.get("ping")
    row_class = ROWS.get(port_of(input_id))
    if row_class is None:
        return Notice("BAD_MESSAGE", input_id, "an input that the contract does not know")
    value = event["value"]
    weight = weight_of(value)
    try:
        number = int(metadata.get("n", -1))
        if token is not None:
            return Ping(input_id, str(token), number, from_bridge)
        check(value)
        if len(value) > ROWS_WAITING:
            raise ValueError(f"a message of {len(value)} rows")
        return Batch(input_id, decode(value, row_class), number, from_bridge, weight)
    except (ContractError, OverflowError, TypeError, ValueError) as exc:
        # Arrow's own errors are ValueErrors or TypeErrors; so is text that is not UTF-8.
        return Notice("BAD_MESSAGE", input_id, str(exc), weight)


# --- reading --------------------------------------------------------------------------------


@define(eq=False)
class Inbox:
    """Events of a node for one Trio task, in order.

    Everything up to and including the `Stopped` event is delivered; after it nothing comes.
    Small messages are decoded by the task that receives them: a thread that takes turns at the
    interpreter with a busy loop makes both wait, longer than the work takes. A large one is
    decoded by the thread, so that the loop goes on meanwhile.

    Args:
        node: The node to read.
        decode: Tells what an event means, in the contract that the node speaks.
        limit: Events that the thread may be ahead, by their weight.
    """

    _node: DoraNode | None
    _decode: Callable[[Raw | None], NodeEvent] = read_event
    _limit: int = EVENTS_WAITING
    _events: deque[NodeEvent | Raw] = field(factory=deque, init=False)
    _room: threading.Condition = field(factory=threading.Condition, init=False)
    _arrived: trio.Event = field(factory=trio.Event, init=False)
    _closed: bool = field(default=False, init=False)
    _in_a_row: int = field(default=0, init=False)
    # Each is written by one thread alone.
    _weight_in: int = field(default=0, init=False)
    _weight_out: int = field(default=0, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    """Set when the thread has ended and let go of the node."""

    async def run(self) -> None:
        """Read until the node stops. Cancelling leaves the thread to end by itself: it is
        blocked in `next()` and cannot be woken, but comes back when the dataflow stops."""
        token = trio.lowlevel.current_trio_token()
        # A limiter of its own: a thread that may live for days must not occupy a place among
        # the default limiter's forty.
        limiter = trio.CapacityLimiter(1)
        try:
            await trio.to_thread.run_sync(
                self._read, token, limiter=limiter, abandon_on_cancel=True
            )
        finally:
            self.close()

    def close(self) -> None:
        """Let the thread go: what it still reads is thrown away. Idempotent."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def forget(self) -> None:
        """Let go of the node, closed or not, and of its messages, which are memory of its."""
        self.close()
        self._events.clear()
        self._node = None

    def stop(self) -> None:
        """Deliver `Stopped` after what has already been read. Call it on the Trio thread."""
        self._weight_out -= _weight(Stopped())
        self._events.append(Stopped())
        self._arrived.set()

    async def receive(self) -> NodeEvent:
        """The next event; waits for it."""
        # A flood must not keep other tasks from running.
        self._in_a_row += 1
        if self._in_a_row >= EVENTS_IN_A_ROW:
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
        while not self._events:
            self._in_a_row = 0
            self._arrived = trio.Event()
            # No event is missed between the look and the wait: the thread wakes us through
            # the Trio loop, which cannot run before we wait.
            await self._arrived.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> NodeEvent:
        """The next event.

        Raises:
            trio.WouldBlock: There is none yet.
        """
        try:
            event = self._events.popleft()
        except IndexError:
            raise trio.WouldBlock from None
        was_full = self._full
        self._weight_out += _weight(event)
        if was_full and not self._full:
            with self._room:
                self._room.notify_all()
        return self._decode(event) if isinstance(event, dict) else event

    def _read(self, token: trio.lowlevel.TrioToken) -> None:
        # Trio may have finished while the thread was in `next()`; then nobody waits for it.
        with suppress(trio.RunFinishedError):
            try:
                while self._node is not None and not self._closed:
                    raw = self._node.next()
                    event = raw if raw is not None and _is_small(raw) else self._decode(raw)
                    self._append(event)
                    token.run_sync_soon(self._wake, idempotent=True)
                    if isinstance(event, Stopped):
                        return
            finally:
                token.run_sync_soon(self.ended.set)

    def _append(self, event: NodeEvent | Raw) -> None:
        with self._room:
            while self._full and not self._closed:
                self._room.wait()
            self._weight_in += _weight(event)
            self._events.append(event)

    @property
    def _full(self) -> bool:
        return self._weight_in - self._weight_out >= self._limit

    def _wake(self) -> None:
        self._arrived.set()


def _weight(event: NodeEvent | Raw) -> int:
    return event.weight if isinstance(event, Batch | Notice) else 1


# --- sending --------------------------------------------------------------------------------


@define
class _Output:
    quiet_until: float = -math.inf
    waiting: list[Any] = field(factory=list)
    size: int = 0
    sent: int = 0


@define(eq=False)
class Outbox:
    """Sends rows, batched per output port.

    A row leaves at once when its port has been quiet for 5 ms; otherwise it waits, at most
    that long, and leaves in one message with all that came meanwhile. Each message carries
    its number on that output (`n`, from 0), so that a loss shows.

    "At once" is when the sending task next lets others run: what it sends in one go, such as
    the answers to the rows of one batch, is one message. Were the first of them to leave
    alone, the others would wait for 5 ms.

    Args:
        node: The node to send from.
        metadata: Put on every message.
        on_sent: Called with the port and the message's number after each message.
    """

    _node: DoraNode | None
    _metadata: dict[str, Any] = field(factory=dict)
    _on_sent: Callable[[str, int], None] | None = None
    _outputs: dict[str, _Output] = field(factory=dict, init=False)
    _asleep: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    """Its deadline is when the next row is due."""

    def sent(self, port: str) -> int:
        """How many messages have left on `port`."""
        output = self._outputs.get(port)
        return output.sent if output else 0

    def send(self, port: str, row: Any) -> None:
        """Send a row; never waits."""
        output = self._outputs.get(port)
        if output is None:
            output = self._outputs[port] = _Output()
        output.waiting.append(row)
        samples = getattr(row, "samples", None)
        if samples is not None:
            output.size += samples.nbytes
        if output.size >= BYTES_WAITING:
            self._flush(port, output, trio.current_time())
        elif len(output.waiting) == 1:
            due = max(output.quiet_until, trio.current_time())
            if due < self._asleep.deadline:
                self._asleep.deadline = due
        elif len(output.waiting) >= ROWS_WAITING:
            self._flush(port, output, trio.current_time())

    def ping(self, port: str, token: str) -> None:
        """Send a ping: a message without rows, its token in the metadata."""
        output = self._outputs.setdefault(port, _Output())
        self._flush(port, output, trio.current_time())
        self._message(port, output, encode([], ROWS[port_of(port)]), {"ping": token})

    def flush(self) -> None:
        """Send all that waits."""
        now = trio.current_time()
        for port, output in self._outputs.items():
            self._flush(port, output, now)

    def forget(self) -> None:
        """Let go of the node: what waits, and what is still sent, goes nowhere."""
        self._node = None

    async def run(self) -> None:
        """Send what waits when its port's quiet time is over. Runs until cancelled."""
        while True:
            due = [o.quiet_until for o in self._outputs.values() if o.waiting]
            with trio.CancelScope(deadline=min(due, default=math.inf)) as self._asleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for port, output in self._outputs.items():
                if output.quiet_until <= now:
                    self._flush(port, output, now)

    def _flush(self, port: str, output: _Output, now: float) -> None:
        if not output.waiting:
            return
        rows, output.waiting, output.size = output.waiting, [], 0
        output.quiet_until = now + QUIET
        self._message(port, output, encode(rows, ROWS[port_of(port)]), {})

    def _message(
        self, port: str, output: _Output, array: pa.Array, extra: dict[str, Any]
    ) -> None:
        if self._node is None:
            return
        number = output.sent
        output.sent += 1
        self._node.send_output(port, array, {**self._metadata, "n": number, **extra})
        if self._on_sent is not None:
            self._on_sent(port, number)
