"""A server that does nothing but send audio back, or one thing wrong on purpose.

    python loopback.py [honest|drop|swap|hang_up|error|conversing|confused]

Every append returns as an audio delta with the same base64, in one plain loop over epoll: what
a load generator costs by itself can be measured against it. `conversing` hears words in what
is not silent, the same in the same sound, and repeats them; `confused` gives each answer to
another's words, from the third connection on.
"""

from __future__ import annotations

import select
import socket
import sys
from typing import Any
from zlib import crc32

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

APPEND = b'{"type":"input_audio_buffer.append","audio":"'
DELTA = b'{"type":"response.output_audio.delta","delta":"'
WRONG_AT = 40
"""The frame with which something goes wrong."""


class Peer:
    def __init__(self, sock: socket.socket, loopback: Loopback) -> None:
        self.sock = sock
        self.loopback = loopback
        self.protocol = ServerProtocol(subprotocols=[Subprotocol("realtime")])
        self.frames = 0

    def readable(self) -> bool:
        """Handle what has come; returns whether the peer is still there."""
        data = self.sock.recv(256 * 1024)
        if not data:
            return False
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
                self.say(b'{"type":"session.created"}')
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.take(bytes(event.data))
        self.flush()
        return self.protocol.state is State.OPEN

    def take(self, message: bytes) -> None:
        if message.startswith(APPEND):
            self.frames += 1
            self.audio(DELTA + message[len(APPEND) :])
        elif b"session.update" in message:
            self.say(b'{"type":"session.updated"}')
        elif b"input_audio_buffer.commit" in message:
            self.say(b'{"type":"response.done","response":{"status":"completed"}}')

    def audio(self, delta: bytes) -> None:
        if self.frames != WRONG_AT:
            self.say(delta)
            return
        match self.loopback.fault:
            case "drop":
                pass
            case "swap":
                # To the one who came last, who gets it besides what is his.
                self.loopback.peers[max(self.loopback.peers)].say(delta)
            case "hang_up":
                self.protocol.send_close(1011, "out of order")
            case "error":
                self.say(b'{"type":"error","error":{"message":"out of order"}}')
            case _:
                self.say(delta)

    def say(self, message: bytes) -> None:
        self.protocol.send_text(message)
        self.flush()

    def flush(self) -> None:
        if data := b"".join(self.protocol.data_to_send()):
            self.sock.sendall(data)


class Listener(Peer):
    """Converses as a voice server does: 400 ms of silence end a turn."""

    def __init__(self, sock: socket.socket, loopback: Loopback) -> None:
        super().__init__(sock, loopback)
        self.astray = loopback.fault == "confused" and loopback.accepted > 2
        self.words: list[str] = []
        self.quiet = 0
        self.asked = ""
        self.answers = 0
        self.counting = False

    def take(self, message: bytes) -> None:
        if message.startswith(APPEND):
            self.frames += 1
            sound = message[len(APPEND) :].rstrip(b'="}')
            self.hear(sound) if sound.strip(b"A") else self.pause()
            return
        event = orjson.loads(message)
        match event["type"]:
            case "session.update":
                self.tell("session.updated")
            case "conversation.item.create":
                self.asked = event["item"]["content"][0]["text"]
            case "response.create":
                first = self.asked.split()[2]
                self.answer(f"{first}, {int(first) + 1}, {int(first) + 2}", seconds=4)
                self.counting = True

    def hear(self, sound: bytes) -> None:
        if not self.words:
            self.tell("input_audio_buffer.speech_started")
            if self.counting:
                self.counting = False
                self.done("cancelled")
        self.words.append(f"{crc32(sound):08x}")
        self.quiet = 0

    def pause(self) -> None:
        self.quiet += 1
        if not self.words or self.quiet < 10:
            return
        heard, self.words = " ".join(self.words), []
        item = f"item_{self.frames}"
        self.tell("input_audio_buffer.speech_stopped", audio_end_ms=40 * self.frames)
        self.tell("input_audio_buffer.committed", item_id=item)
        self.tell(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            transcript=heard,
        )
        others = [words for words in self.loopback.heard if words != heard]
        self.loopback.heard.append(heard)
        self.answer(f"You said: {others[-1] if self.astray else heard}.", seconds=0.2)
        self.done("completed")

    def answer(self, words: str, *, seconds: float) -> None:
        self.answers += 1
        response = {"response_id": f"resp_{self.answers}"}
        self.tell("response.created", response={"id": f"resp_{self.answers}"})
        self.tell("response.output_audio_transcript.delta", delta=words, **response)
        silence = "A" * (int(seconds * 48_000) // 3 * 4)
        self.tell("response.output_audio.delta", delta=silence, **response)

    def done(self, status: str) -> None:
        self.tell("response.done", response={"id": f"resp_{self.answers}", "status": status})

    def tell(self, event_type: str, **fields: Any) -> None:
        self.say(orjson.dumps({"type": event_type, **fields}))


class Loopback:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.peer = Listener if fault in {"conversing", "confused"} else Peer
        self.accepted = 0
        self.heard: list[str] = []
        self.peers: dict[int, Peer] = {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def run(self) -> None:
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self.listener.fileno():
                    sock = self.listener.accept()[0]
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.accepted += 1
                    self.peers[sock.fileno()] = self.peer(sock, self)
                    poll.register(sock, select.EPOLLIN)
                elif not self.peers[descriptor].readable():
                    poll.unregister(descriptor)
                    self.peers.pop(descriptor).sock.close()


if __name__ == "__main__":
    loopback = Loopback(sys.argv[1] if len(sys.argv) > 1 else "honest")
    print(f"listening on http://127.0.0.1:{loopback.listener.getsockname()[1]}", flush=True)  # noqa: T201
    loopback.run()
