"""What a frame costs the bridge, without Dora: `python benchmarks/frame_cost.py [SESSIONS]`.

Sessions on real sockets, each a frame of 40 ms every 40 ms, over rows of the native contract
that answer each frame with one of their own at 32 kHz. All of it runs in this process: the
processor time of its main thread per frame there and back, less what the clients' side of the
sockets and the answering take, is the bridge's own. The nodes' and Dora's part is missing; for
the whole, see `python -m trio_bridge bench`.

The figures are the least and the median of several rounds: other programs on the machine only
ever add to them. With `--profile FILE` the rounds are profiled, and their figures worth little.
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import math
import os
import socket
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import trio
from attrs import define, field
from websockets.frames import Frame, Opcode

from trio_bridge.backend import InProcessBackend
from trio_bridge.doors.bytestream import PlainBytes
from trio_bridge.doors.exchange import HttpRequest
from trio_bridge.doors.websocket import Timing, WebSocketTransport, serve_websocket
from trio_bridge.dora.codec import decode, encode, prepare
from trio_bridge.dora.contract import ROWS, Answer, Listen
from trio_bridge.dora.instances.link import SessionLink
from trio_bridge.dora.outbox import Outbox
from trio_bridge.messages import Capabilities
from trio_bridge.realtime.config import initial
from trio_bridge.realtime.engine import RealtimeEngine
from trio_bridge.session import Session

FRAME = 0.04
"""Seconds of audio in a frame, and between two frames of a session."""

GROUPS = 8
"""Parts of the sessions that send at the same moment."""

ROUND = 2.0
"""Seconds per round."""

ANSWER_RATE = 32_000


async def _nobody(*_: object) -> None:
    raise NotImplementedError


@define(eq=False)
class Rows(InProcessBackend):
    """A backend whose rows go through Arrow and come back as speech, without any node."""

    handler: Any = _nobody
    outside: float = 0.0
    """Seconds of processor time that were not the bridge's."""

    _links: dict[str, SessionLink] = field(factory=dict, init=False)
    _seqs: dict[str, int] = field(factory=dict, init=False)
    _outbox: Outbox = field(init=False)
    _speech: Any = field(factory=lambda: np.zeros(int(ANSWER_RATE * FRAME), np.float32))

    _answered: trio.MemorySendChannel[pa.Array] = field(init=False)
    _came: trio.MemoryReceiveChannel[pa.Array] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._outbox = Outbox(self)
        self._answered, self._came = trio.open_memory_channel[pa.Array](math.inf)

    async def run(self) -> None:
        """Send what waits, and take what comes. Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._outbox.run)
            async for message in self._came:
                for row in decode(message, Answer):
                    self._links[row.session_id].receive(row)

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncGenerator[SessionLink, None]:
        """See `Backend.session`."""
        link = SessionLink(session_id, frozenset(ROWS), self._outbox.send)
        self._links[session_id] = link
        self._seqs[session_id] = 0
        link.open()
        try:
            yield link
        finally:
            link.close()
            del self._links[session_id]

    def next(self) -> None:
        """Nothing: what is answered is handed over at once."""

    def send_output(
        self, output_id: str, data: pa.Array, metadata: dict[str, Any] | None = None
    ) -> None:
        """Answer a message as Dora's node would."""
        del metadata
        if output_id != "listen":
            return
        began = time.thread_time()
        answers = [
            answer
            for row in decode(data, Listen)
            if row.op == "audio" and row.session_id in self._links
            for answer in self._answers(row.session_id)
        ]
        if not answers:
            return
        self._answered.send_nowait(encode(answers))
        self.outside += time.thread_time() - began

    def _answers(self, session_id: str) -> list[Answer]:
        seq = self._seqs[session_id]
        opening = [] if seq else [Answer(session_id, "echo", 0, "open")]
        seq += len(opening)
        self._seqs[session_id] = seq + 1
        speech = Answer(
            session_id, "echo", seq, "audio", samples=self._speech, sample_rate=ANSWER_RATE
        )
        return [*opening, speech]


def _frame() -> bytes:
    pcm = base64.b64encode(os.urandom(int(24_000 * FRAME) * 2)).decode()
    text = orjson.dumps({"type": "input_audio_buffer.append", "audio": pcm})
    return Frame(Opcode.TEXT, text).serialize(mask=True, extensions=[])


@define(eq=False)
class Bench:
    """The sessions and the other ends of their sockets."""

    rows: Rows
    nursery: trio.Nursery
    _clients: list[socket.socket] = field(factory=list, init=False)

    async def join(self, number: int) -> None:
        """Begin a session."""
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        listener.close()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(0)
        stream = PlainBytes(trio.SocketStream(trio.socket.from_stdlib_socket(server)))
        request = HttpRequest(
            "GET", "/v1/realtime", headers={"sec-websocket-key": ["AAAAAAAAAAAAAAAAAAAAAA=="]}
        )
        engine = RealtimeEngine(
            session_id=f"sess_{number}",
            model="default",
            config=initial("realtime"),
            capabilities=Capabilities(),
            now=trio.current_time(),
            expires_at=int(time.time() + 3600),
        )
        session = Session(f"sess_{number}", engine, self.rows)

        async def handle(transport: WebSocketTransport) -> None:
            session.attach(transport)
            await session.run()

        self.nursery.start_soon(serve_websocket, stream, request, b"", Timing(), handle)
        self._clients.append(client)

    async def round(self, seconds: float, frame: bytes) -> tuple[int, float]:
        """Talk for so long; how many frames were sent, and seconds the clients took."""
        began, sent, spent, slot = trio.current_time(), 0, 0.0, 0
        while trio.current_time() < began + seconds:
            start = time.thread_time()
            for client in self._clients[slot % GROUPS :: GROUPS]:
                client.send(frame)
                sent += 1
            for client in self._clients[(slot + GROUPS // 2) % GROUPS :: GROUPS]:
                try:
                    client.recv(1 << 20)
                except BlockingIOError:
                    continue
            spent += time.thread_time() - start
            slot += 1
            await trio.sleep_until(began + slot * FRAME / GROUPS)
        return sent, spent


async def _main(sessions: int, rounds: int, profile: str) -> None:
    prepare([Listen, Answer])
    frame = _frame()
    profiler = cProfile.Profile() if profile else nullcontext()
    async with trio.open_nursery() as nursery:
        bench = Bench(Rows(), nursery)
        nursery.start_soon(bench.rows.run)
        for number in range(sessions):
            await bench.join(number)
        await bench.round(1.0, frame)
        costs = []
        for number in range(rounds):
            with profiler:
                before, bench.rows.outside = time.thread_time(), 0.0
                sent, spent = await bench.round(ROUND, frame)
                total = time.thread_time() - before
            costs.append((total - spent - bench.rows.outside) / sent * 1e6)
            print(
                f"round {number}: {sent} frames, {costs[-1]:.0f} us each for the bridge, "
                f"{spent / sent * 1e6:.0f} us for the clients, "
                f"{bench.rows.outside / sent * 1e6:.0f} us for the answers",
                flush=True,
            )
        print(
            f"{sessions} sessions: least {min(costs):.0f} us, "
            f"median {statistics.median(costs):.0f} us a frame there and back"
        )
        nursery.cancel_scope.cancel()
    if isinstance(profiler, cProfile.Profile):
        profiler.dump_stats(profile)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=int, nargs="?", default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", default="", metavar="FILE")
    arguments = parser.parse_args()
    trio.run(_main, arguments.sessions, arguments.rounds, arguments.profile)


if __name__ == "__main__":
    main()
