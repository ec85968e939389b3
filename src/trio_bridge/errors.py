"""What can go wrong, as exceptions of our own. Each message is fit for a user to read."""

from __future__ import annotations


class BridgeError(Exception):
    """The root of every error that trio_bridge raises on purpose."""


class SettingsError(BridgeError):
    """A setting is missing, misspelt or impossible."""


class AddressError(BridgeError):
    """The address to listen on cannot be had (in use, not ours, not permitted)."""


class KeyRefused(BridgeError):
    """A client's key is forged or has expired. The message does not repeat it."""


class RuntimeFailed(BridgeError):
    """The Dora runtime (coordinator or daemon) did not start, or died."""


class DataflowError(BridgeError):
    """A dataflow is wrong or did not come up.

    Attributes:
        node: The node at fault, where it is known.
        log: The last lines that the node (or the runtime) printed.
    """

    def __init__(self, message: str, *, node: str | None = None, log: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.log = log


class BackendUnavailable(BridgeError):
    """No backend can take this session now.

    Attributes:
        retry_after: Seconds after which it is worth trying again.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendBroken(BridgeError):
    """The backend of a running session can no longer serve it."""


class TransportClosed(BridgeError):
    """The peer is gone, or the connection was closed from this side.

    Attributes:
        code: The WebSocket close code, where the peer gave one.
        reason: The peer's reason, perhaps empty.
    """

    def __init__(self, message: str, *, code: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class TransportStuck(TransportClosed):
    """The peer did not take a message in time: it was dropped."""
