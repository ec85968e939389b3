"""One WebSocket of the load generator: a socket that never waits, and frames made beforehand.

The protocol machine of `websockets` shakes hands, parses what comes and answers pings. What is
sent again and again does not go through it: `text_frame` makes a masked frame once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

READ = 256 * 1024
"""Bytes taken from a socket at a time."""

MAX_MESSAGE = 16 * 1024 * 1024


class ConnectionFailed(Exception):
    """The connection cannot be had, or is no more. The message is fit for a user."""


def text_frame(text: bytes) -> bytes:
    """A text message as a client sends it, masked."""
    return Frame(Opcode.TEXT, text).serialize(mask=True)


@frozen
class Address:
    """A server's address, looked up once."""

    uri: WebSocketURI
    family: socket.AddressFamily
    place: Any

    @classmethod
    def of(cls, url: str) -> Address:
        """Look up a `ws://` address.

        Raises:
            ConnectionFailed: It is something else, or there is no such host.
        """
        try:
            uri = parse_uri(url)
            found = socket.getaddrinfo(uri.host, uri.port, type=socket.SOCK_STREAM)
        except (InvalidURI, ValueError) as exc:
            raise ConnectionFailed(f"{url!r} is no WebSocket address") from exc
        except OSError as exc:
            raise ConnectionFailed(f"{uri.host}: {exc.strerror}") from exc
        if uri.secure:
            # TLS would cost the generator more than all else.
            raise ConnectionFailed("the load generator speaks ws://, not wss://")
        family, _, _, _, place = found[0]
        return cls(uri, family, place)


@define(eq=False)
class Connection:
    """A connection to be made, open, or at its end."""

    _address: Address
    _poll: select.epoll
    _socket: socket.socket = field(init=False)
    _protocol: ClientProtocol = field(init=False)
    _unsent: bytearray = field(factory=bytearray, init=False)
    _connected: bool = field(default=False, init=False)
    _fragments: list[bytes] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(self._address.family, socket.SOCK_STREAM)
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._protocol = ClientProtocol(
            self._address.uri, subprotocols=[Subprotocol("realtime")], max_size=MAX_MESSAGE
        )

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        return self._socket.fileno()

    def connect(self) -> None:
        """Begin to connect; whether that works is seen when the socket is writable."""
        self._socket.connect_ex(self._address.place)
        self._poll.register(self._socket, select.EPOLLOUT)

    def writable(self) -> None:
        """The socket has room, or the connection is made or refused."""
        if not self._connected:
            if code := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise ConnectionFailed(f"cannot connect: {os.strerror(code).lower()}")
            self._connected = True
            self._poll.modify(self._socket, select.EPOLLIN)
            self._protocol.send_request(self._protocol.connect())
            self._send_protocol()
            return
        unsent, self._unsent = bytes(self._unsent), bytearray()
        self._poll.modify(self._socket, select.EPOLLIN)
        self.send(unsent)

    def send(self, frames: bytes) -> None:
        """Send bytes of whole frames, now or when there is room.

        Raises:
            ConnectionFailed: The connection is gone.
        """
        sent = 0
        if not self._unsent:
            try:
                sent = self._socket.send(frames)
            except BlockingIOError:
                pass
            except OSError as exc:
                raise ConnectionFailed(f"the connection broke: {exc.strerror}") from exc
        if sent < len(frames):
            if not self._unsent:
                self._poll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)
            self._unsent += frames[sent:]

    def read(self) -> bytes:
        """What has come: nothing at the end.

        Raises:
            ConnectionFailed: The connection is gone.
        """
        try:
            return self._socket.recv(READ)
        except OSError as exc:
            raise ConnectionFailed(f"the connection broke: {exc.strerror}") from exc

    def messages(self, data: bytes) -> Iterator[bytes]:
        """The text messages that `data`, read just now, completes.

        Raises:
            ConnectionFailed: The server has closed, refused, or broken the rules.
        """
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                if event.fin and not self._fragments:
                    yield bytes(event.data)
                    continue
                self._fragments.append(bytes(event.data))
                if event.fin:
                    whole, self._fragments = b"".join(self._fragments), []
                    yield whole
        self._send_protocol()
        if (
            self._protocol.state is not State.OPEN
            and self._protocol.state is not State.CONNECTING
        ):
            close = self._protocol.close_rcvd
            told = f" ({close.code}) {close.reason}" if close else ""
            raise ConnectionFailed(f"the server closed the connection{told}")

    def close(self) -> None:
        """Say goodbye, and hang up."""
        self._poll.unregister(self._socket)
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            with contextlib.suppress(OSError):
                self._socket.send(b"".join(self._protocol.data_to_send()))
        self._socket.close()

    def _answered(self, response: Response) -> None:
        refused = self._protocol.handshake_exc
        if response.status_code != 101 or isinstance(refused, InvalidHandshake):
            raise ConnectionFailed(f"the server refused: HTTP {response.status_code}")

    def _send_protocol(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self.send(data)
