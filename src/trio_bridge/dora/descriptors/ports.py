"""Which ports the bridge's node has under each contract, and which of them go together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from attrs import frozen

from trio_bridge.messages import Capabilities

ContractName = Literal["native", "hub"]


@frozen
class Contract:
    """The bridge's side of a contract.

    Attributes:
        name: What a descriptor calls it.
        outputs: Ports on which the bridge speaks.
        inputs: Ports on which it listens.
        required: Ports that every dataflow has.
        together: Ports of which a dataflow has all or none.
        acknowledged: Every node says on `ack` that it is alive.
        sessions: Sessions that an instance can hold; None for as many as wanted.
    """

    name: ContractName
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    required: tuple[str, ...]
    together: tuple[tuple[str, ...], ...]
    acknowledged: bool
    sessions: int | None

    def capabilities(self, ports: Collection[str]) -> Capabilities:
        """What a dataflow offers whose bridge has these ports."""
        if self.name == "hub":
            return Capabilities(responses="question" in ports)
        return Capabilities(
            speech="speech" in ports,
            transcripts="transcript" in ports,
            responses="request" in ports,
        )

    def missing(self, ports: Collection[str]) -> Iterator[str]:
        """Words on what a bridge with these ports lacks."""
        for port in self.required:
            if port not in ports:
                yield f"needs the {self._kind(port)} {port!r}"
        for group in self.together:
            there = [port for port in group if port in ports]
            for port in group:
                if there and port not in ports:
                    yield f"has {there[0]!r} and so needs the {self._kind(port)} {port!r}"

    def _kind(self, port: str) -> str:
        return "output" if port in self.outputs else "input"


NATIVE = Contract(
    name="native",
    outputs=("listen", "request", "cancel", "credit"),
    inputs=("speech", "transcript", "answer", "ack"),
    required=("listen",),
    together=(),
    acknowledged=True,
    sessions=None,
)
"""The contract of `docs/dora-contract.md`."""

HUB = Contract(
    name="hub",
    outputs=(
        *("audio", "segment", "question", "control"),
        *("draft", "reset", "spoken", "sentence"),
    ),
    inputs=(
        *("speech_probability", "speech_started", "speech_ended", "question_ended"),
        *("audio_segment", "transcription", "text", "text_segment"),
        *("speech", "segment_complete", "log"),
    ),
    required=(
        *("audio", "speech_probability", "speech_started", "question_ended"),
        *("audio_segment", "segment", "transcription"),
    ),
    together=(
        ("question", "text"),
        ("sentence", "draft", "text_segment", "speech", "segment_complete"),
    ),
    acknowledged=False,
    sessions=1,
)
"""The contract of `docs/hub-contract.md`."""

CONTRACTS: dict[str, Contract] = {each.name: each for each in (NATIVE, HUB)}
