"""Every way a session ends has its close code."""

from __future__ import annotations

import pytest

from trio_bridge.closing import REASON_BYTES, Ending, ending_for, ending_of
from trio_bridge.errors import BackendBroken, BackendUnavailable, DataflowError
from trio_bridge.messages import Failure


@pytest.mark.parametrize(
    ("exc", "code", "error_code"),
    [
        (BackendUnavailable("all places are taken"), 1013, "no_capacity"),
        (BackendBroken("it has gone"), 1011, "backend_failed"),
        (DataflowError("it is wrong", node="asr"), 1011, "server_error"),
        (RuntimeError("secret detail"), 1011, "internal_error"),
        (ExceptionGroup("", [RuntimeError(), BackendBroken("gone")]), 1011, "backend_failed"),
    ],
)
def test_an_exception_becomes_a_code(exc: Exception, code: int, error_code: str) -> None:
    """The client is told what it can use; the detail of a surprise stays in the log."""
    ending = ending_for(exc)
    assert (ending.code, ending.error_code) == (code, error_code)
    assert "secret" not in f"{ending.reason}{ending.error}"


@pytest.mark.parametrize(
    ("code", "close"), [("session_expired", 1001), ("session_overrun", 1013), ("gone", 1011)]
)
def test_a_failure_that_was_told_becomes_a_code(code: str, close: int) -> None:
    """It is not told twice."""
    assert ending_of(Failure(code, "why")) == Ending(close, "why")


def test_a_reason_fits_a_close_frame() -> None:
    """In bytes, without a torn character."""
    assert Ending(1011, "é" * 100).reason == "é" * (REASON_BYTES // 2)
