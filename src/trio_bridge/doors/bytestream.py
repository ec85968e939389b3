"""The bytes of a connection, read and written at the price that thousands of frames a second
can pay; plain or under TLS.

Trio's stream looks for bytes before it waits for them, and gives the loop up after every call.
On a plain socket a read here waits first, but for the first of a connection. Neither that one
nor a write takes a turn of the loop where it need not wait.
"""

from __future__ import annotations

import os
import ssl
from abc import ABC, abstractmethod
from typing import TypeAlias

import trio
from attrs import define, field

READ_BYTES = 64 * 1024
"""Bytes read at once: half a second of audio frames that have piled up."""

TlsStream: TypeAlias = trio.SSLStream[trio.SocketStream]


@define(eq=False)
class ByteStream(ABC):
    """A connected socket. One task reads, one writes; any may close.

    Attributes:
        torn: Part of a write may have left and the rest not: no frame can follow.
    """

    torn: bool = field(default=False, init=False)

    @abstractmethod
    async def read(self, limit: int = READ_BYTES) -> bytes:
        """What has arrived, from a byte to `limit`; empty at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """

    @abstractmethod
    def write_now(self, data: bytes) -> int:
        """Write what can leave without waiting; how many bytes those were.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of it; a cancellation on the way leaves the stream `torn`.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """
        self.torn = True
        await self._send_all(data)
        self.torn = False

    @abstractmethod
    async def _send_all(self, data: bytes | memoryview) -> None: ...

    @abstractmethod
    async def send_eof(self) -> None:
        """Say that nothing more comes."""

    @abstractmethod
    async def abort(self) -> None:
        """Close at once, whatever is under way."""


@define(eq=False)
class PlainBytes(ByteStream):
    """The bytes as they travel."""

    _stream: trio.SocketStream
    _fresh: bool = field(default=True, init=False)
    """Whether nothing was read: what a client says first is often there when it is accepted."""

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """See `ByteStream.read`."""
        while True:
            if not self._fresh:
                await trio.lowlevel.wait_readable(self._descriptor())
            self._fresh = False
            try:
                # Asked for again: once the socket is closed, its number may be another's.
                return os.read(self._descriptor(), limit)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc

    def write_now(self, data: bytes) -> int:
        """See `ByteStream.write_now`."""
        try:
            return os.write(self._descriptor(), data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise trio.BrokenResourceError(str(exc)) from exc

    async def _send_all(self, data: bytes | memoryview) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        """See `ByteStream.send_eof`."""
        await self._stream.send_eof()

    async def abort(self) -> None:
        """See `ByteStream.abort`."""
        await trio.aclose_forcefully(self._stream)

    def _descriptor(self) -> int:
        descriptor: int = self._stream.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection was closed")
        return descriptor


@define(eq=False)
class TlsBytes(ByteStream):
    """The bytes inside TLS records; see `secured`."""

    _stream: TlsStream

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """See `ByteStream.read`."""
        return bytes(await self._stream.receive_some(limit))

    def write_now(self, data: bytes) -> int:
        """See `ByteStream.write_now`: nothing, since what encrypts may have to wait."""
        del data
        return 0

    async def _send_all(self, data: bytes | memoryview) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        """See `ByteStream.send_eof`. TCP ends without the goodbye of TLS, for Trio's would
        end the reading as well; what is said above TLS tells its own end."""
        await self._stream.transport_stream.send_eof()

    async def abort(self) -> None:
        """See `ByteStream.abort`."""
        await trio.aclose_forcefully(self._stream)


async def secured(stream: trio.SocketStream, context: ssl.SSLContext) -> TlsBytes:
    """Shake hands with a client that speaks TLS. The caller sets the deadline.

    Raises:
        trio.BrokenResourceError: It speaks something else, or does not accept us.
    """
    # As HTTPS has it: the other side may hang up without the goodbye of TLS.
    tls: TlsStream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    await tls.do_handshake()
    return TlsBytes(tls)


async def linger(stream: ByteStream) -> None:
    """Say that nothing more comes, and read what the peer still sends until it hangs up.

    A socket closed with unread bytes resets the connection, and the reset may overtake what
    was written last. The caller sets the deadline.
    """
    try:
        await stream.send_eof()
        while await stream.read():
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return
