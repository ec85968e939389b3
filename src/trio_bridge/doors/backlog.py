"""Connections that wait to be accepted, taken in bunches.

Trio accepts one in a turn of the loop. Where many sessions talk a turn takes tens of
milliseconds, and those who connect together wait for each other.
"""

from __future__ import annotations

import errno
import socket

import trio
from attrs import define, field

ACCEPTED_IN_A_ROW = 32
"""Connections that are accepted without letting others run: 2 ms of work."""

_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.EPROTONOSUPPORT,
        errno.ESOCKTNOSUPPORT,
        errno.ETIMEDOUT,
        *(getattr(errno, name) for name in ("ENONET", "ENOSR") if hasattr(errno, name)),
    }
)
"""What accept(2) says of a connection that broke before it was accepted, or that a firewall
does not allow; the next may be whole."""


@define(eq=False)
class Backlog(trio.abc.Listener[trio.SocketStream]):
    """A listener on a TCP socket, made by `of`.

    Attributes:
        socket: Listens, and does not block.
    """

    socket: socket.socket
    _in_a_row: int = field(default=0, init=False)

    @classmethod
    def of(cls, listener: trio.SocketListener) -> Backlog:
        """Listen in the place of `listener`, which is closed."""
        theirs = listener.socket
        ours = socket.fromfd(theirs.fileno(), theirs.family, theirs.type)
        ours.settimeout(0)
        theirs.close()
        return cls(ours)

    async def accept(self) -> trio.SocketStream:
        """The next connection. Takes a turn of the loop only where it has to wait, or after
        `ACCEPTED_IN_A_ROW` others.

        Raises:
            OSError: As of accept(2), such as when there are no more descriptors.
        """
        if 0 < self._in_a_row < ACCEPTED_IN_A_ROW:
            stream = self._accept()
            if stream is not None:
                self._in_a_row += 1
                return stream
        while True:
            self._in_a_row = 0
            await trio.lowlevel.wait_readable(self.socket)
            stream = self._accept()
            if stream is not None:
                self._in_a_row = 1
                return stream

    def _accept(self) -> trio.SocketStream | None:
        try:
            accepted, _ = self.socket.accept()
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno in _GONE:
                return None
            self._in_a_row = 0
            raise
        return trio.SocketStream(trio.socket.from_stdlib_socket(accepted))

    async def aclose(self) -> None:
        """Listen no more; a second time it does nothing."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """The same, at once."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
