"""Messages of the hub contract: one value each, and flat metadata.

Nodes of the hub differ in how they pack a value. What is read here is read leniently: text is
the first string of an array, audio any list of numbers, nested or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen

from trio_bridge.dora.contract import SAMPLE_RATE, Float32, port_of
from trio_bridge.dora.dora_node import DoraNode
from trio_bridge.dora.node_events import Batch, NodeEvent, Notice, check, read_notice, weight_of

AUDIO_PORTS = frozenset({"audio", "segment", "audio_segment", "speech"})
"""Ports whose values are samples; all others hold text, or nothing that is looked at."""

BLOCK = 512
"""Samples of a message of microphone audio: 32 ms, what voice activity detectors look at."""


@frozen
class Message:
    """One value on a port.

    Attributes:
        port: Where it came in or goes out.
        text: Its text; empty where the port carries samples.
        samples: Its samples, mono float32, where the port carries them.
        metadata: Flat: text, numbers, truth values.
    """

    port: str
    text: str = ""
    samples: Float32 | None = field(default=None, eq=False)
    metadata: Mapping[str, Any] = field(factory=dict)

    @property
    def number(self) -> int | None:
        """The `question_id`: what it belongs to. Some nodes make a text of it."""
        return _whole(self.metadata.get("question_id"))

    @property
    def status(self) -> str:
        """The `session_status`; empty where the node says none."""
        return str(self.metadata.get("session_status", ""))

    @property
    def error(self) -> str:
        """What went wrong; empty where nothing did."""
        error = str(self.metadata.get("error", ""))
        # Dora makes this of Python's None.
        return "" if error == "None" else error

    @property
    def sample_rate(self) -> int:
        """The rate of its samples, in Hz.

        Raises:
            ValueError: It says none.
        """
        rate = _whole(self.metadata.get("sample_rate"))
        if rate is None or rate <= 0:
            raise ValueError("audio needs a sample_rate")
        return rate


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (OverflowError, TypeError, ValueError):
        return None


def read_message(event: dict[str, Any] | None) -> NodeEvent:
    """What a `dora` event means under the hub contract."""
    other = read_notice(event)
    if other is not None:
        return other
    assert event is not None  # noqa: S101  `read_notice` says what that means
    input_id = str(event["id"])
    port = port_of(input_id)
    metadata = dict(event["metadata"] or {})
    weight = weight_of(event["value"])
    try:
        check(event["value"])
        if port in AUDIO_PORTS:
            message = Message(port, samples=_samples(event["value"]), metadata=metadata)
            _ = message.sample_rate
        else:
            message = Message(port, text=_text(event["value"]), metadata=metadata)
    except (pa.ArrowException, TypeError, ValueError) as exc:
        return Notice("BAD_MESSAGE", input_id, str(exc), weight)
    return Batch(input_id, [message], weight=weight)


def _samples(value: pa.Array) -> Float32:
    while pa.types.is_list(value.type) or pa.types.is_large_list(value.type):
        value = value.flatten()
    samples = np.array(value.to_numpy(zero_copy_only=False), np.float32)
    if not np.isfinite(samples).all():
        raise ValueError("the samples are not all finite numbers")
    return samples


def _text(value: pa.Array) -> str:
    first = value[0].as_py() if len(value) else None
    return first if isinstance(first, str) else ""


@define(eq=False)
class HubOutbox:
    """Sends messages, each at once. The interface is that of `attachment.Sender`.

    Args:
        node: The node to send from.
        on_sent: Called with the port after each message.
    """

    _node: DoraNode | None
    _on_sent: Callable[[str], None]

    def send(self, port: str, message: Message) -> None:
        """Send a message; never waits."""
        if self._node is None:
            return
        if message.samples is not None:
            value = pa.array(message.samples, pa.float32())
        else:
            value = pa.array([message.text], pa.string())
        self._node.send_output(port, value, dict(message.metadata))
        self._on_sent(port)

    def flush(self) -> None:
        """Nothing waits."""

    def ping(self, port: str, token: str) -> None:
        """Have the speech monitor say something: nodes of the hub know no pings, but it tells
        how probable it is that a block of silence is speech."""
        del token
        if port == "audio":
            self.send(port, microphone(np.zeros(BLOCK, np.float32)))

    def forget(self) -> None:
        """Let go of the node: what is still sent goes nowhere."""
        self._node = None


def microphone(samples: Float32) -> Message:
    """Audio for the speech monitor."""
    return Message("audio", samples=samples, metadata={"sample_rate": SAMPLE_RATE})
