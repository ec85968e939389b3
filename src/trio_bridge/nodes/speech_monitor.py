"""The speech monitor: `listen` in, `speech` and `segment` out, many sessions in one process.

With an input `transcript`, fed by the recogniser that gets its segments, it ends a turn under
`semantic_vad` by what was said; without, by silence alone.

`python -m trio_bridge.nodes.speech_monitor`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import trio
from attrs import define, field

from trio_bridge.dora.contract import Listen, Segment, Speech, Transcript
from trio_bridge.nodes.host import open_node
from trio_bridge.nodes.listening import Listener

Send = Callable[[str, Speech | Segment], None]


def complain(message: str) -> None:
    """Write a line where the bridge finds it: it keeps what its nodes print."""
    print(f"speech_monitor: {message}", file=sys.stderr)  # noqa: T201


@define(eq=False)
class Monitor:
    """All sessions' listeners.

    Attributes:
        transcribed: Whether a recogniser's transcripts come back.
        lost: Numbers missing in the rows of all sessions. Their audio is missing too, so the
            sessions' clocks are behind by as much.
    """

    send: Send
    report: Callable[[str], None] = complain
    transcribed: bool = False
    lost: int = field(default=0, init=False)
    _listeners: dict[str, Listener] = field(factory=dict, init=False)
    _expected: dict[str, int] = field(factory=dict, init=False)

    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._listeners)

    def take(self, row: Listen | Transcript) -> None:
        """Take the next row from either port; one for a session that is not open is dropped."""
        if isinstance(row, Listen):
            self._listen(row)
        elif row.session_id in self._listeners:
            self._listeners[row.session_id].transcript(row)

    def _listen(self, row: Listen) -> None:
        session_id = row.session_id
        if row.op == "open":
            if session_id in self._listeners:
                self._listeners[session_id].close()
            self._listeners[session_id] = Listener(
                session_id, self._out, self.report, self.transcribed
            )
            self._expected[session_id] = row.seq + 1
            return
        listener = self._listeners.get(session_id)
        if listener is None:
            self.report(f"session {session_id}: {row.op} though it is not open")
            return
        self._count(row)
        try:
            self._apply(listener, row)
        except (ValueError, KeyError, TypeError) as exc:
            self.report(f"session {session_id}: bad row {row.op!r}: {exc!r}")

    def _apply(self, listener: Listener, row: Listen) -> None:
        match row.op:
            case "audio" if row.samples is not None:
                listener.audio(row.samples)
            case "configure" if row.data is not None:
                listener.configure(row.data)
            case "commit" if row.data is not None:
                listener.commit(str(json.loads(row.data)["item_id"]))
            case "clear":
                listener.clear()
            case "close":
                listener.close()
                del self._listeners[row.session_id]
                del self._expected[row.session_id]
            case _:
                raise ValueError("unknown, or something is missing")

    def _count(self, row: Listen) -> None:
        missing = row.seq - self._expected[row.session_id]
        if missing > 0:
            self.lost += missing
            self.report(f"session {row.session_id}: {missing} rows lost before {row.seq}")
        self._expected[row.session_id] = row.seq + 1

    def _out(self, row: Speech | Segment) -> None:
        self.send("speech" if isinstance(row, Speech) else "segment", row)


async def main() -> None:
    """Serve the dataflow until it stops."""
    async with open_node("speech_monitor") as io:
        monitor = Monitor(io.send, transcribed="transcript" in io.ports)
        io.sessions = monitor.sessions
        async for batch in io:
            for row in batch.rows:
                monitor.take(row)


if __name__ == "__main__":
    trio.run(main)
