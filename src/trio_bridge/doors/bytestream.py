"""The bytes under a WebSocket, at the price that thousands of frames a second can pay.

Trio's stream looks for bytes before it waits for them, and gives the loop up after every call.
Here a read waits first, and a write that the socket takes at once takes no turn of the loop.
"""

from __future__ import annotations

import os

import trio
from attrs import define, field

READ_BYTES = 64 * 1024
"""Bytes read at once: half a second of audio frames that have piled up."""


@define(eq=False)
class ByteStream:
    """A connected socket. One task reads, one writes; any may close.

    Attributes:
        torn: Part of a write may have left and the rest not: no frame can follow.
    """

    _stream: trio.SocketStream
    torn: bool = field(default=False, init=False)

    async def read(self) -> bytes:
        """What has arrived, at least a byte; empty at the end of the stream.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """
        while True:
            await trio.lowlevel.wait_readable(self._descriptor())
            try:
                # Asked for again: once the socket is closed, its number may be another's.
                return os.read(self._descriptor(), READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise trio.BrokenResourceError(str(exc)) from exc

    def write_now(self, data: bytes) -> int:
        """Write what the socket takes without waiting; how many bytes those were.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """
        try:
            return os.write(self._descriptor(), data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise trio.BrokenResourceError(str(exc)) from exc

    async def write(self, data: bytes | memoryview) -> None:
        """Write all of it; a cancellation on the way leaves the stream `torn`.

        Raises:
            trio.BrokenResourceError: The connection is lost.
            trio.ClosedResourceError: `abort` was called.
        """
        self.torn = True
        await self._stream.send_all(data)
        self.torn = False

    async def send_eof(self) -> None:
        """Say that nothing more comes."""
        await self._stream.send_eof()

    async def abort(self) -> None:
        """Close at once, whatever is under way."""
        await trio.aclose_forcefully(self._stream)

    def _descriptor(self) -> int:
        descriptor: int = self._stream.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the connection was closed")
        return descriptor
