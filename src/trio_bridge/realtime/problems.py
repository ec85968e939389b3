"""Everything a client can get wrong, in the protocol's own words.

Each function builds (and does not raise) one row of the protocol's error table: a
`ProtocolError` whose `code`, `message` and `param` are those that the published clients know
and, in places, match on. The session goes on after each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from trio_bridge.errors import BridgeError
from trio_bridge.realtime.events import Error

Kind: TypeAlias = Literal["invalid_request_error", "server_error", "rate_limit_error"]

QUOTED_VALUE_LIMIT = 100
"""Characters of a client's own value that an error repeats: enough to recognise it by, and no
way to have megabytes sent back."""

MIN_COMMIT_MS = 100
"""The shortest input audio that may be committed, in ms."""

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""The largest single append, decoded, in bytes."""

_JSON_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class ProtocolError(BridgeError):
    """A client's event cannot be carried out.

    Attributes:
        message: The sentence for the client, as `str()` of the exception too.
        code: The protocol's short name for the problem.
        param: Path of the field at fault, such as ``session.tools[0].name``.
        kind: The error's `type` on the wire.
        client_event_id: The `event_id` of the event at fault, where the frame had one.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: Kind = "invalid_request_error",
        client_event_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.kind: Kind = kind
        self.client_event_id = client_event_id

    def to_event(self, event_id: str) -> Error:
        """The `error` event that reports this, under the server's `event_id`."""
        return Error(
            event_id=event_id,
            kind=self.kind,
            message=self.message,
            code=self.code,
            param=self.param,
            client_event_id=self.client_event_id,
        )


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    if len(text) > QUOTED_VALUE_LIMIT:
        text = text[:QUOTED_VALUE_LIMIT] + "…"
    return f"'{text}'"


def _listed(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return ", ".join(quoted[:-1]) + f", and {quoted[-1]}"


# --- frames --------------------------------------------------------------------------------


def invalid_json() -> ProtocolError:
    """The frame is not JSON (or nested deeper, or with larger numbers, than is sane)."""
    return ProtocolError(
        "Invalid event: failed to parse JSON value. Please check the value to ensure it is "
        "valid JSON. (Common errors include trailing commas, missing closing brackets, "
        "missing quotation marks, etc.)",
        code="invalid_json",
    )


def binary_frame() -> ProtocolError:
    """The frame is a binary one."""
    return ProtocolError(
        "Invalid event: expected a text message with a JSON object, but got a binary message.",
        code="invalid_event",
    )


def not_an_object(value: Any) -> ProtocolError:
    """The frame is JSON, but not an object."""
    return ProtocolError(
        f"Invalid event: expected an object, but got {_json_name(value)} instead.",
        code="invalid_event",
    )


def too_complex(limit: int) -> ProtocolError:
    """The frame has more brackets and commas than anybody needs."""
    return ProtocolError(
        f"Invalid event: too many values. Expected at most {limit} objects, arrays and commas "
        "in one event.",
        code="invalid_event",
    )


def missing_type() -> ProtocolError:
    """The event has no `type`."""
    return ProtocolError("Invalid event: missing required field 'type'.", code="invalid_event")


def unknown_type(tag: str, known: Sequence[str]) -> ProtocolError:
    """The event's `type` is none of `known`."""
    return invalid_value("type", tag, known)


# --- fields --------------------------------------------------------------------------------


def missing_field(param: str) -> ProtocolError:
    """A required field is absent."""
    return ProtocolError(
        f"Missing required parameter: '{param}'.",
        code="missing_required_parameter",
        param=param,
    )


def wrong_type(param: str, expected: str, value: Any) -> ProtocolError:
    """A field is of another JSON type; `expected` reads like "an array of strings"."""
    return ProtocolError(
        f"Invalid type for '{param}': expected {expected}, "
        f"but got {_json_name(value)} instead.",
        code="invalid_type",
        param=param,
    )


def invalid_value(param: str, value: Any, supported: Sequence[str]) -> ProtocolError:
    """A field holds none of the values it may hold."""
    return ProtocolError(
        f"Invalid value: {_quoted(value)}. Supported values are: {_listed(supported)}.",
        code="invalid_value",
        param=param,
    )


def invalid_combination(
    param: str, values: Sequence[str], supported: Sequence[Sequence[str]]
) -> ProtocolError:
    """An array of values that are each allowed, and not together."""
    combinations = " and ".join(str(list(each)) for each in supported)
    return ProtocolError(
        f"Invalid value: {_quoted(list(values))}. Supported combinations are: {combinations}.",
        code="invalid_value",
        param=param,
    )


def undeclared_tool(param: str, name: str) -> ProtocolError:
    """A tool choice names a function that `tools` does not declare."""
    return ProtocolError(
        f"Tool choice {_quoted(name)} not found in 'tools' parameter.",
        code="invalid_value",
        param=param,
    )


def unknown_parameter(param: str) -> ProtocolError:
    """A field that the protocol does not know, where such are refused."""
    return ProtocolError(
        f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param
    )


def number_too_small(param: str, limit: float, value: float) -> ProtocolError:
    """A number is below its minimum; an integer limit and value make it an integer's error."""
    kind = _number_kind(limit, value)
    return ProtocolError(
        f"Invalid '{param}': {kind} below minimum value. "
        f"Expected a value >= {limit}, but got {value} instead.",
        code=f"{kind}_below_min_value",
        param=param,
    )


def number_too_large(param: str, limit: float, value: float) -> ProtocolError:
    """A number is above its maximum; an integer limit and value make it an integer's error."""
    kind = _number_kind(limit, value)
    return ProtocolError(
        f"Invalid '{param}': {kind} above maximum value. "
        f"Expected a value <= {limit}, but got {value} instead.",
        code=f"{kind}_above_max_value",
        param=param,
    )


def string_too_long(param: str, limit: int, length: int) -> ProtocolError:
    """A string has `length` characters where `limit` are allowed."""
    return ProtocolError(
        f"Invalid '{param}': string too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {length} instead.",
        code="string_above_max_length",
        param=param,
    )


def string_too_short(param: str, limit: int, length: int) -> ProtocolError:
    """A string has `length` characters where at least `limit` are needed."""
    return ProtocolError(
        f"Invalid '{param}': string too short. Expected a string with minimum length {limit}, "
        f"but got a string with length {length} instead.",
        code="string_below_min_length",
        param=param,
    )


def too_many_properties(param: str, limit: int, count: int) -> ProtocolError:
    """An object has `count` entries where `limit` are allowed."""
    return ProtocolError(
        f"Invalid '{param}': too many properties. Expected an object with at most {limit} "
        f"properties, but got an object with {count} properties instead.",
        code="object_above_max_properties",
        param=param,
    )


def too_many_elements(param: str, limit: int, count: int) -> ProtocolError:
    """An array has `count` elements where `limit` are allowed."""
    return ProtocolError(
        f"Invalid '{param}': array too long. Expected an array with maximum length {limit}, "
        f"but got an array with length {count} instead.",
        code="array_above_max_length",
        param=param,
    )


# --- session -------------------------------------------------------------------------------


def cannot_update_voice() -> ProtocolError:
    """The voice is fixed once the session has spoken."""
    return ProtocolError(
        "Cannot update a conversation's voice if assistant audio is present.",
        code="cannot_update_voice",
    )


def session_expired(minutes: int) -> ProtocolError:
    """The session has lasted as long as a session may. A close follows."""
    return ProtocolError(
        f"Your session hit the maximum duration of {minutes} minutes.", code="session_expired"
    )


# --- input audio ---------------------------------------------------------------------------


def bad_base64(param: str = "audio") -> ProtocolError:
    """Audio that is not base64."""
    return ProtocolError(
        f"Invalid '{param}'. Expected base64-encoded audio bytes (mono PCM16 at 24kHz) but got "
        "an invalid value.",
        code="invalid_value",
        param=param,
    )


def append_too_large(size: int, param: str = "audio") -> ProtocolError:
    """Audio decodes to `size` bytes, more than `MAX_APPEND_BYTES`."""
    return ProtocolError(
        f"Invalid '{param}': audio too large. Expected at most {MAX_APPEND_BYTES} bytes of "
        f"decoded audio (15 MiB), but got {size} bytes instead.",
        code="string_above_max_length",
        param=param,
    )


def buffer_too_small(ms: float) -> ProtocolError:
    """A commit of `ms` of audio: none, or too little to be speech."""
    return ProtocolError(
        "Error committing input audio buffer: buffer too small. Expected at least "
        f"{MIN_COMMIT_MS}ms of audio, but buffer only has {ms:.2f}ms of audio.",
        code="input_audio_buffer_commit_empty",
    )


def odd_byte() -> ProtocolError:
    """A commit in the middle of a sample."""
    return ProtocolError(
        "Error committing input audio buffer: the audio ends in the middle of a 16-bit sample "
        "(an odd number of bytes was appended).",
        code="invalid_value",
    )


# --- conversation --------------------------------------------------------------------------


def duplicate_item(item_id: str) -> ProtocolError:
    """An item of this id is in the conversation already."""
    return ProtocolError(
        f"Error adding item: the item with id {_quoted(item_id)} already exists in the "
        "conversation.",
        code="item_create_duplicate_item_id",
    )


def unknown_previous_item(item_id: str) -> ProtocolError:
    """The item after which another was to be put does not exist."""
    return ProtocolError(
        f"Error adding item: the previous item with id {_quoted(item_id)} does not exist.",
        code="item_create_invalid_previous_item_id",
        param="previous_item_id",
    )


_OPERATION_CODES = {
    "deleting": "item_delete_invalid_item_id",
    "retrieving": "item_retrieve_invalid_item_id",
    "truncating": "item_truncate_invalid_item_id",
}


def item_not_found(
    operation: Literal["deleting", "retrieving", "truncating"], item_id: str
) -> ProtocolError:
    """There is no item of this id."""
    return ProtocolError(
        f"Error {operation} item: the item with id {_quoted(item_id)} does not exist.",
        code=_OPERATION_CODES[operation],
    )


def unheard_audio(param: str) -> ProtocolError:
    """An item's sound has no transcript, and now is not the time to make one."""
    return ProtocolError(
        "An item's audio can be transcribed where it is the only content of a user message, is "
        "added to the conversation, and nobody is speaking. Give its transcript, or append it "
        "to the input audio buffer.",
        code="unsupported_value",
        param=param,
    )


def truncate_past_end(have_ms: int, want_ms: int) -> ProtocolError:
    """The item has only `have_ms` of audio, and was to be cut at `want_ms`."""
    return ProtocolError(
        f"Audio content of {have_ms}ms is already shorter than {want_ms}ms",
        code="invalid_value",
    )


def truncate_not_audio() -> ProtocolError:
    """The content to truncate is not speech of the assistant."""
    return ProtocolError(
        "Only model output audio messages can be truncated", code="unsupported_content_type"
    )


# --- responses -----------------------------------------------------------------------------


def already_active(response_id: str) -> ProtocolError:
    """A response in the conversation is still being made."""
    return ProtocolError(
        f"Conversation already has an active response in progress: {response_id}. Wait until "
        "the response is finished before creating a new one.",
        code="conversation_already_has_active_response",
    )


def cancel_not_active() -> ProtocolError:
    """There is no response to cancel."""
    return ProtocolError(
        "Cancellation failed: no active response found", code="response_cancel_not_active"
    )


def unknown_reference(param: str, item_id: str) -> ProtocolError:
    """A response's input refers to an item that does not exist."""
    return ProtocolError(
        f"Error creating response: the item with id {_quoted(item_id)} does not exist.",
        code="item_reference_invalid_item_id",
        param=param,
    )


def too_many_responses(limit: int) -> ProtocolError:
    """So many responses are under way that no other can be."""
    return ProtocolError(
        f"Too many responses in progress: at most {limit} can be made at once.",
        code="too_many_responses",
        kind="rate_limit_error",
    )


def _json_name(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "something else")


def _number_kind(limit: float, value: float) -> str:
    integers = isinstance(limit, int) and isinstance(value, int)
    return "integer" if integers else "decimal"
