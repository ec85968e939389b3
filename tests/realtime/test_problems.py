"""The error table: codes and words that published clients match on."""

from __future__ import annotations

import pytest

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Error
from trio_bridge.realtime.problems import ProtocolError

TABLE: list[tuple[ProtocolError, str | None, str]] = [
    (
        problems.buffer_too_small(0),
        "input_audio_buffer_commit_empty",
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
        "audio, but buffer only has 0.00ms of audio.",
    ),
    (
        problems.already_active("resp_1"),
        "conversation_already_has_active_response",
        "Conversation already has an active response in progress: resp_1. Wait until the "
        "response is finished before creating a new one.",
    ),
    (
        problems.cancel_not_active(),
        "response_cancel_not_active",
        "Cancellation failed: no active response found",
    ),
    (
        problems.item_not_found("deleting", "x"),
        "item_delete_invalid_item_id",
        "Error deleting item: the item with id 'x' does not exist.",
    ),
    (
        problems.item_not_found("retrieving", "x"),
        "item_retrieve_invalid_item_id",
        "Error retrieving item: the item with id 'x' does not exist.",
    ),
    (
        problems.item_not_found("truncating", "x"),
        "item_truncate_invalid_item_id",
        "Error truncating item: the item with id 'x' does not exist.",
    ),
    (
        problems.truncate_past_end(40, 50),
        "invalid_value",
        "Audio content of 40ms is already shorter than 50ms",
    ),
    (
        problems.cannot_update_voice(),
        "cannot_update_voice",
        "Cannot update a conversation's voice if assistant audio is present.",
    ),
    (
        problems.bad_base64(),
        "invalid_value",
        "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got an "
        "invalid value.",
    ),
    (
        problems.session_expired(60),
        "session_expired",
        "Your session hit the maximum duration of 60 minutes.",
    ),
    (
        problems.invalid_value("type", "nope", ("a", "b", "c")),
        "invalid_value",
        "Invalid value: 'nope'. Supported values are: 'a', 'b', and 'c'.",
    ),
    (
        problems.missing_field("session.type"),
        "missing_required_parameter",
        "Missing required parameter: 'session.type'.",
    ),
    (
        problems.number_too_small("audio.rate", 24000, 16000),
        "integer_below_min_value",
        "Invalid 'audio.rate': integer below minimum value. Expected a value >= 24000, but got "
        "16000 instead.",
    ),
]


@pytest.mark.parametrize(("problem", "code", "message"), TABLE)
def test_a_problem_is_told_in_the_protocols_words(
    problem: ProtocolError, code: str | None, message: str
) -> None:
    """Some clients go by the code, some by the sentence."""
    problem.client_event_id = "mine"
    assert problem.to_event("event_1") == Error(
        event_id="event_1",
        kind="invalid_request_error",
        message=message,
        code=code,
        param=problem.param,
        client_event_id="mine",
    )
    assert str(problem) == message
