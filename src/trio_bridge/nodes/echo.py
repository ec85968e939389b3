"""A live loopback: what a session says comes straight back as a response.

The first audio opens a response unasked; every frame of it returns in that response at 32 kHz;
a commit ends it, and the next audio opens another. A cancel stops the response at once, without
another row; audio until the next commit or clear then stays unanswered, or else whoever
interrupts the echo would go on hearing it. A clear ends that silence and nothing else.
"""

from __future__ import annotations

from typing import Any

import trio
from attrs import define, field

from trio_bridge.audio.resample import StreamResampler
from trio_bridge.dora.contract import SAMPLE_RATE, Answer, Cancel, Listen
from trio_bridge.nodes.gently import gently
from trio_bridge.nodes.host import NodeIO, open_node

OUTPUT_RATE = 32_000
"""Hz. Twice the rate that comes in, as the synthesisers do that this stands in for."""


@define
class _Session:
    session_id: str
    responses: int = 0
    muted: bool = False
    response_id: str = ""
    seq: int = 0
    resampler: StreamResampler | None = field(default=None)


@define
class Echo:
    """The loopback itself: rows in, rows out."""

    _io: NodeIO
    _sessions: dict[str, _Session] = field(factory=dict, init=False)

    def __len__(self) -> int:
        """How many sessions it holds state for."""
        return len(self._sessions)

    def listen(self, row: Listen) -> None:
        """Take one row of the port `listen`."""
        if row.op == "close":
            self._sessions.pop(row.session_id, None)
            return
        session = self._sessions.get(row.session_id)
        if session is None:
            # Only `open` makes a session: audio that trails behind a close must not.
            if row.op == "open":
                self._sessions[row.session_id] = _Session(row.session_id)
            return
        if row.op == "audio" and row.samples is not None:
            self._audio(session, row)
        elif row.op == "commit":
            self._finish(session)
            session.muted = False
        elif row.op == "clear":
            session.muted = False

    def cancel(self, row: Cancel) -> None:
        """Take one row of the port `cancel`."""
        session = self._sessions.get(row.session_id)
        if session is None or session.resampler is None:
            return
        if session.response_id == row.response_id:
            session.resampler = None
            session.muted = True

    def _audio(self, session: _Session, row: Listen) -> None:
        if session.muted or row.samples is None:
            return
        if session.resampler is None:
            session.responses += 1
            session.response_id = f"echo-{session.responses}"
            session.seq = 0
            session.resampler = StreamResampler(SAMPLE_RATE, OUTPUT_RATE, quality="fast")
            self._answer(session, "open")
        samples = session.resampler.process(row.samples)
        if len(samples):
            self._answer(session, "audio", samples=samples, sample_rate=OUTPUT_RATE)

    def _finish(self, session: _Session) -> None:
        if session.resampler is None:
            return
        tail = session.resampler.flush()
        if len(tail):
            self._answer(session, "audio", samples=tail, sample_rate=OUTPUT_RATE)
        self._answer(session, "done", status="completed")
        session.resampler = None

    def _answer(self, session: _Session, event: str, **rest: Any) -> None:
        row = Answer(session.session_id, session.response_id, session.seq, event, **rest)
        session.seq += 1
        self._io.send("answer", row)


async def main() -> None:
    """Run the node until its dataflow stops."""
    async with open_node("echo") as io:
        # The first resampler of a process computes its filter, which would hold up the first
        # session's first frames.
        gently(lambda: StreamResampler(SAMPLE_RATE, OUTPUT_RATE, quality="fast"))
        echo = Echo(io)
        io.sessions = lambda: len(echo)
        async for batch in io:
            for row in batch.rows:
                if batch.port == "listen":
                    echo.listen(row)
                elif batch.port == "cancel":
                    echo.cancel(row)


if __name__ == "__main__":
    trio.run(main)
