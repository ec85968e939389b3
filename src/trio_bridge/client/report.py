"""How a conversation is shown while it goes on: lines for people, or JSON for programs."""

from __future__ import annotations

from typing import Any, Protocol, TextIO

import orjson
from attrs import define, field

PHASES = ("heard", "first_text", "first_audio", "done")


class Report(Protocol):
    """Is told of everything as it happens. Times are in milliseconds."""

    def connected(self, milliseconds: float) -> None: ...

    def heard(self, delta: str) -> None:
        """More of what the server understood."""

    def heard_all(self, transcript: str) -> None:
        """All of what it understood, once it is sure."""

    def answered(self, delta: str) -> None:
        """More of the answer's words."""

    def turn(self, summary: dict[str, Any]) -> None:
        """A turn is over; see `talk.Turn.summary`."""

    def end(self, summary: dict[str, Any]) -> None:
        """The conversation is over."""


@define
class Lines:
    """For people: words as they come, latencies after each turn."""

    _out: TextIO
    _open: str = field(default="", init=False)
    """What the line under way is about."""
    _heard: str = field(default="", init=False)

    def connected(self, milliseconds: float) -> None:
        self._out.write(f"connected in {milliseconds:.0f} ms\n")
        self._out.flush()

    def heard(self, delta: str) -> None:
        self._heard += delta
        self._more("heard", delta)

    def heard_all(self, transcript: str) -> None:
        # Deltas cannot be taken back: a server that thought better of them says so here.
        if self._heard.strip() != transcript.strip():
            self._close()
            self._more("heard", transcript or "(nothing)")
        self._heard = ""

    def answered(self, delta: str) -> None:
        self._more("answer", delta)

    def turn(self, summary: dict[str, Any]) -> None:
        self._close()
        if summary["status"] != "completed":
            self._out.write(f"        (the answer is {summary['status']})\n")
        latency = summary["latency_ms"]
        told = [
            f"{name.replace('_', ' ')} {latency[name]:.0f} ms"
            for name in PHASES
            if name in latency
        ]
        since = "speech" if summary["spoken"] else "question"
        self._out.write(f"        after the end of the {since}: {', '.join(told)}\n")
        self._out.flush()

    def end(self, summary: dict[str, Any]) -> None:
        self._close()
        if summary["saved"] is not None:
            seconds = summary["audio_seconds"]
            self._out.write(f"saved {seconds:.1f} s of speech in {summary['saved']}\n")
        self._out.flush()

    def _more(self, what: str, delta: str) -> None:
        if self._open != what:
            self._close()
            self._out.write(f"{what + ':':<8}")
            self._open = what
            delta = delta.lstrip()
        self._out.write(delta)
        self._out.flush()

    def _close(self) -> None:
        if self._open:
            self._out.write("\n")
            self._open = ""


@define
class JsonLines:
    """For programs: one object per line; the last has the event `summary`."""

    _out: TextIO

    def connected(self, milliseconds: float) -> None:
        self._write("connected", {"ms": milliseconds})

    def heard(self, delta: str) -> None:
        self._write("hearing", {"delta": delta})

    def heard_all(self, transcript: str) -> None:
        self._write("heard", {"transcript": transcript})

    def answered(self, delta: str) -> None:
        self._write("answering", {"delta": delta})

    def turn(self, summary: dict[str, Any]) -> None:
        self._write("turn", summary)

    def end(self, summary: dict[str, Any]) -> None:
        self._write("summary", summary)

    def _write(self, event: str, fields: dict[str, Any]) -> None:
        self._out.write(orjson.dumps({"event": event, **fields}).decode() + "\n")
        self._out.flush()
