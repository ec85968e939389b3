"""A server that does nothing but send audio back, or one thing wrong on purpose.

    python loopback.py [honest|drop|swap|hang_up|error]

Every append returns as an audio delta with the same base64, in one plain loop over epoll: what
a load generator costs by itself can be measured against it.
"""

from __future__ import annotations

import select
import socket
import sys

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


class Loopback:
    def __init__(self, fault: str) -> None:
        self.fault = fault
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
                    self.peers[sock.fileno()] = Peer(sock, self)
                    poll.register(sock, select.EPOLLIN)
                elif not self.peers[descriptor].readable():
                    poll.unregister(descriptor)
                    self.peers.pop(descriptor).sock.close()


if __name__ == "__main__":
    loopback = Loopback(sys.argv[1] if len(sys.argv) > 1 else "honest")
    print(f"listening on http://127.0.0.1:{loopback.listener.getsockname()[1]}", flush=True)  # noqa: T201
    loopback.run()
