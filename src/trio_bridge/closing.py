"""The one place that turns the end of a session into a close code, a reason and words."""

from __future__ import annotations

from attrs import frozen

from trio_bridge.errors import BackendBroken, BackendUnavailable, BridgeError, KeyRefused
from trio_bridge.messages import Failure

REASON_BYTES = 123
"""What a WebSocket close frame has room for (RFC 6455, 5.5: 125 bytes with the code)."""


@frozen
class Ending:
    """How a session ends.

    `code` is a WebSocket close code; `error` is told in an `error` event before the close
    when the client did not ask for this end.
    """

    code: int
    reason: str
    error_code: str | None = None
    error: str | None = None

    def __attrs_post_init__(self) -> None:
        short = self.reason.encode()[:REASON_BYTES].decode(errors="ignore")
        object.__setattr__(self, "reason", short)


CLIENT_LEFT = Ending(1000, "the client has left")
GOING_AWAY = Ending(1001, "the server is shutting down")
CLIENT_TOO_SLOW = Ending(1008, "the client does not read what it is sent")


CODES = {"session_expired": 1001, "session_overrun": 1013, "no_capacity": 1013}
"""Close codes of failures by their own: 1001 for a session that has run its course, 1013 for
what need not happen again on the next try. All others get 1011."""


def ending_of(failure: Failure) -> Ending:
    """The end that a failure means which the client has been told of already."""
    return Ending(CODES.get(failure.code, 1011), failure.message)


def ending_for(exc: BaseException) -> Ending:
    """The end that an exception means for the session it escaped from.

    Of a group the first one that has words for the client counts.
    """
    if isinstance(exc, BaseExceptionGroup):
        endings = [ending_for(inner) for inner in exc.exceptions]
        known = [ending for ending in endings if ending.error_code != "internal_error"]
        return (known or endings)[0]
    if isinstance(exc, BackendUnavailable):
        return Ending(1013, str(exc), "no_capacity", str(exc))
    if isinstance(exc, BackendBroken):
        return Ending(1011, str(exc), "backend_failed", str(exc))
    if isinstance(exc, KeyRefused):
        reason = "invalid_request_error.invalid_api_key"
        return Ending(3000, reason, "invalid_api_key", str(exc))
    if isinstance(exc, BridgeError):
        return Ending(1011, str(exc), "server_error", str(exc))
    sentence = "The server had an error while serving this session."
    return Ending(1011, "internal error", "internal_error", sentence)
