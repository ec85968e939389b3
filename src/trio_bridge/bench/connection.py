"""One WebSocket of the load generator: a socket that never waits, and frames made beforehand.

The protocol machine of `websockets` shakes hands, parses what comes and answers pings. What is
sent again and again does not go through it: `text_frame` makes a masked frame once. Under
`wss://` the socket is one of OpenSSL's, which never waits either.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
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
    tls: ssl.SSLContext | None = None
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, ca: Path | None = None, key: str = "") -> Address:
        """Look up a `ws://` or `wss://` address.

        Args:
            url: The address.
            ca: A PEM file with certificates to trust. Default: those that this machine trusts.
            key: Sent as the bearer token, if it is not empty.

        Raises:
            ConnectionFailed: It is something else, there is no such host, or `ca` cannot be
                used.
        """
        try:
            uri = parse_uri(url)
            found = socket.getaddrinfo(uri.host, uri.port, type=socket.SOCK_STREAM)
        except (InvalidURI, ValueError) as exc:
            raise ConnectionFailed(f"{url!r} is no WebSocket address") from exc
        except OSError as exc:
            raise ConnectionFailed(f"{uri.host}: {exc.strerror}") from exc
        family, _, _, _, place = found[0]
        return cls(uri, family, place, _trust(ca) if uri.secure else None, key)


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as exc:
        raise ConnectionFailed(f"cannot use {ca}: no certificates in PEM there") from exc


@define(eq=False)
class Connection:
    """A connection to be made, open, or at its end."""

    _address: Address
    _poll: select.epoll
    _socket: socket.socket = field(init=False)
    _protocol: ClientProtocol = field(init=False)
    _unsent: bytearray = field(factory=bytearray, init=False)
    _connected: bool = field(default=False, init=False)
    _shaking: bool = field(default=False, init=False)
    """TLS shakes hands."""
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
            if self._address.tls is None:
                self._request()
                return
            self._shaking = True
            # The descriptor stays the same, and so does what is known of it to the poll.
            self._socket = self._address.tls.wrap_socket(
                self._socket,
                server_hostname=self._address.uri.host,
                do_handshake_on_connect=False,
            )
        if self._shaking:
            self._shake()
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
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError as exc:
                raise ConnectionFailed(f"the connection broke: {exc.strerror}") from exc
        if sent < len(frames):
            if not self._unsent:
                self._poll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)
            self._unsent += frames[sent:]

    def read(self) -> bytes | None:
        """What has come: empty at the end, None if it is nothing whole yet.

        Raises:
            ConnectionFailed: The connection is gone.
        """
        if self._shaking:
            self._shake()
            return None
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                return _records(self._socket)
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

    def _shake(self) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)  # noqa: S101
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._poll.modify(self._socket, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._poll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)
        except ssl.SSLCertVerificationError as exc:
            why = exc.verify_message
            raise ConnectionFailed(f"its certificate is not trusted: {why}") from exc
        except OSError as exc:
            raise ConnectionFailed("cannot connect: it does not speak TLS") from exc
        else:
            self._shaking = False
            self._request()

    def _request(self) -> None:
        self._poll.modify(self._socket, select.EPOLLIN)
        request = self._protocol.connect()
        if self._address.key:
            request.headers["Authorization"] = f"Bearer {self._address.key}"
        self._protocol.send_request(request)
        self._send_protocol()

    def _answered(self, response: Response) -> None:
        refused = self._protocol.handshake_exc
        if response.status_code != 101 or isinstance(refused, InvalidHandshake):
            raise ConnectionFailed(f"the server refused: HTTP {response.status_code}")

    def _send_protocol(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self.send(data)


def _records(secure: ssl.SSLSocket) -> bytes | None:
    """All that has come over TLS: what it holds back itself, the poll does not see."""
    came = []
    try:
        while piece := secure.recv(READ):
            came.append(piece)
        came.append(b"")
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        pass
    # An end that comes with data is seen again at the next read.
    return b"".join(came) if came else None
