"""Everything a client can get wrong, and what it is told; the session goes on each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tests.conformance.script import (
    Appends,
    Gets,
    Like,
    Says,
    Script,
    Step,
    gets,
    reports,
    says,
)
from tests.conformance.scripts.parts import (
    ANSWER,
    BY_HAND,
    IN_TEXT,
    OPENED,
    UPDATED,
    R,
    added,
    asks,
    closes,
    created,
    done,
    error,
    message,
    opens,
    session,
    speech,
    spoken,
    written,
)

from trio_bridge.messages import ResponseFinished, TextDelta
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.wire import Dialect

SPOKEN: Final[tuple[Step, ...]] = (
    *asks(),
    gets(created()),
    reports(speech("Hm.", 0.3), ResponseFinished(R)),
    gets(*opens(), *spoken("Hm."), *closes("Hm."), *done()),
)
"""The assistant has said something aloud, 300 ms of it."""

WRITTEN: Final[tuple[Step, ...]] = (
    *IN_TEXT,
    *asks(),
    gets(created()),
    reports(TextDelta(R, "Hm."), ResponseFinished(R)),
    gets(*opens(kind="text"), *written("Hm."), *closes("Hm.", kind="text"), *done()),
)
BUSY: Final[tuple[Step, ...]] = (*asks(), gets(created()))
ANSWERED: Final[tuple[Step, ...]] = (reports(ResponseFinished(R)), gets(*done()))
ONE_ITEM: Final[tuple[Step, ...]] = (
    says("conversation.item.create", item=message("Hello.", id="one")),
    Gets(added({"id": "one"})),
)


def wrong(
    title: str,
    code: str | None,
    param: str | None,
    says_wrong: Says,
    *,
    text: str = "",
    after: Iterable[Step] = (),
    then: Iterable[Step] = (),
    strict: bool = False,
    dialects: tuple[Dialect, ...] = ("ga", "beta"),
) -> Script:
    """A client does one thing wrong, and goes on."""
    frame = says_wrong.event
    if isinstance(frame, dict):
        frame = {"event_id": "the_wrong_one", **frame}
    event_id = "the_wrong_one" if isinstance(frame, dict) else None
    return Script(
        f"wrong: {title}",
        [
            OPENED,
            *after,
            Says(frame),
            gets(error(code, param, event_id=event_id, message=Like(text))),
            session(),
            UPDATED,
            *then,
        ],
        strict=strict,
        dialects=dialects,
    )


def appended(audio: Any) -> Says:
    return says("input_audio_buffer.append", audio=audio)


def truncated(item_id: str, ms: int, content_index: int = 0) -> Says:
    return says(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=ms,
    )


def item(given: Json, **more: Any) -> Says:
    return says("conversation.item.create", item=given, **more)


def response(**fields: Any) -> Says:
    return says("response.create", response=fields)


def tool(number: int) -> Json:
    return {"type": "function", "name": f"f{number}"}


FRAMES = [
    wrong("no JSON", "invalid_json", None, Says("{nope"), text="failed to parse JSON value"),
    wrong("a binary frame", "invalid_event", None, Says(b"{}")),
    wrong("no object", "invalid_event", None, Says("[1]")),
    wrong("no type", "invalid_event", None, Says('{"session": {}}')),
    wrong(
        "an unknown type", "invalid_value", "type", says("nope"), text="Invalid value: 'nope'"
    ),
    wrong("a type that is no string", "invalid_type", "type", Says('{"type": 1}')),
    wrong(
        "a buffer that only WebRTC has",
        "invalid_value",
        "type",
        says("output_audio_buffer.clear"),
    ),
    wrong(
        "a long event_id",
        "string_above_max_length",
        "event_id",
        Says('{"type": "response.cancel", "event_id": "' + "x" * 513 + '"}'),
    ),
    wrong(
        "an unknown field",
        "unknown_parameter",
        "session.nope",
        session(nope=1),
        strict=True,
    ),
]

SETTINGS = [
    wrong(
        "no session.type",
        "missing_required_parameter",
        "session.type",
        says("session.update", session={"output_modalities": ["text"]}),
        dialects=("ga",),
    ),
    wrong("no session", "missing_required_parameter", "session", says("session.update")),
    wrong(
        "a session that is none", "invalid_type", "session", says("session.update", session=1)
    ),
    wrong(
        "a low rate",
        "integer_below_min_value",
        "session.audio.input.format.rate",
        session(audio={"input": {"format": {"type": "audio/pcm", "rate": 16000}}}),
        dialects=("ga",),
    ),
    wrong(
        "an unknown format",
        "invalid_value",
        "session.audio.output.format.type",
        session(audio={"output": {"format": {"type": "opus"}}}),
    ),
    wrong(
        "an unknown turn detection",
        "invalid_value",
        "session.audio.input.turn_detection.type",
        session(audio={"input": {"turn_detection": {"type": "magic"}}}),
    ),
    wrong(
        "a threshold out of range",
        "decimal_above_max_value",
        "session.audio.input.turn_detection.threshold",
        session(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 1.5}}}),
    ),
    wrong(
        "a short idle timeout",
        "integer_below_min_value",
        "session.audio.input.turn_detection.idle_timeout_ms",
        session(
            audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 10}}}
        ),
        dialects=("ga",),
    ),
    wrong(
        "text and audio at once",
        "invalid_value",
        "session.output_modalities",
        session(output_modalities=["text", "audio"]),
        dialects=("ga",),
    ),
    wrong(
        "too many tokens",
        "integer_above_max_value",
        "session.max_output_tokens",
        session(max_output_tokens=4097),
    ),
    wrong(
        "a tool without a name",
        "missing_required_parameter",
        "session.tools[0].name",
        session(tools=[{"type": "function"}]),
    ),
    wrong(
        "too many tools",
        "array_above_max_length",
        "session.tools",
        session(tools=[tool(number) for number in range(129)]),
    ),
    wrong(
        "too slow a voice",
        "decimal_below_min_value",
        "session.audio.output.speed",
        session(audio={"output": {"speed": 0.1}}),
    ),
    wrong(
        "another voice",
        "cannot_update_voice",
        None,
        session(audio={"output": {"voice": "verse"}}),
        after=SPOKEN,
    ),
]

INPUT = [
    wrong("no audio", "missing_required_parameter", "audio", says("input_audio_buffer.append")),
    wrong(
        "no base64",
        "invalid_value",
        "audio",
        appended("?!"),
        text="Expected base64-encoded audio bytes",
    ),
    wrong(
        "nothing to commit",
        "input_audio_buffer_commit_empty",
        None,
        says("input_audio_buffer.commit"),
        text=r"Expected at least 100ms of audio, but buffer only has 0.00ms of audio\.$",
    ),
    wrong(
        "too little to commit",
        "input_audio_buffer_commit_empty",
        None,
        says("input_audio_buffer.commit"),
        text=r"only has 99.00ms of audio\.$",
        after=[*BY_HAND, Appends(99)],
    ),
    wrong(
        "half a sample",
        "invalid_value",
        None,
        says("input_audio_buffer.commit"),
        after=[*BY_HAND, Appends(200), appended("AAAA")],
    ),
]

ITEMS = [
    wrong(
        "an id that is taken",
        "item_create_duplicate_item_id",
        None,
        item(message("x", id="one")),
        after=ONE_ITEM,
    ),
    wrong(
        "a long id",
        "string_above_max_length",
        "item.id",
        item(message("x", id="x" * 33)),
    ),
    wrong(
        "a place after nothing",
        "item_create_invalid_previous_item_id",
        "previous_item_id",
        item(message("x"), previous_item_id="nobody"),
    ),
    wrong("no item", "missing_required_parameter", "item", says("conversation.item.create")),
    wrong("an unknown kind", "invalid_value", "item.type", item({"type": "song"})),
    wrong(
        "an unknown role",
        "invalid_value",
        "item.role",
        item({"type": "message", "role": "king", "content": []}),
    ),
    wrong(
        "content of another role",
        "invalid_value",
        "item.content[0].type",
        item({"type": "message", "role": "system", "content": [{"type": "input_audio"}]}),
    ),
    wrong(
        "an output of no call",
        "missing_required_parameter",
        "item.call_id",
        item({"type": "function_call_output", "output": "x"}),
    ),
    wrong(
        "nothing to delete",
        "item_delete_invalid_item_id",
        None,
        says("conversation.item.delete", item_id="x"),
        text="^Error deleting item: the item with id 'x' does not exist.$",
    ),
    wrong(
        "nothing to retrieve",
        "item_retrieve_invalid_item_id",
        None,
        says("conversation.item.retrieve", item_id="x"),
        text="^Error retrieving item: the item with id 'x' does not exist.$",
    ),
    wrong(
        "nothing to truncate",
        "item_truncate_invalid_item_id",
        None,
        truncated("x", 0),
        text="^Error truncating item: the item with id 'x' does not exist.$",
    ),
    wrong(
        "truncated past the end",
        "invalid_value",
        None,
        truncated(ANSWER, 5000),
        text="^Audio content of 300ms is already shorter than 5000ms$",
        after=SPOKEN,
    ),
    wrong(
        "truncated text",
        "unsupported_content_type",
        None,
        truncated(ANSWER, 0),
        text="^Only model output audio messages can be truncated$",
        after=WRITTEN,
    ),
    wrong(
        "truncated before the beginning",
        "integer_below_min_value",
        "audio_end_ms",
        truncated(ANSWER, -1),
        after=SPOKEN,
    ),
]

RESPONSES = [
    wrong(
        "a response too many",
        "conversation_already_has_active_response",
        None,
        says("response.create"),
        after=BUSY,
        then=ANSWERED,
    ),
    wrong(
        "nothing to cancel",
        "response_cancel_not_active",
        None,
        says("response.cancel"),
        text="^Cancellation failed: no active response found$",
    ),
    wrong(
        "another response cancelled",
        "response_cancel_not_active",
        None,
        says("response.cancel", response_id="resp_x"),
        after=BUSY,
        then=ANSWERED,
    ),
    wrong(
        "metadata that is no text",
        "invalid_type",
        "response.metadata.n",
        response(metadata={"n": 1}),
    ),
    wrong(
        "too much metadata",
        "object_above_max_properties",
        "response.metadata",
        response(metadata={f"k{number}": "" for number in range(17)}),
    ),
    wrong(
        "an unknown conversation",
        "invalid_value",
        "response.conversation",
        response(conversation="mine"),
    ),
    wrong(
        "a reference to nothing",
        "item_reference_invalid_item_id",
        "response.input[0].id",
        response(input=[{"type": "item_reference", "id": "nobody"}]),
    ),
    wrong(
        "a tool that is not declared",
        "invalid_value",
        "response.tool_choice",
        response(tool_choice={"type": "function", "name": "look"}),
    ),
    wrong(
        "too few tokens",
        "integer_below_min_value",
        "response.max_output_tokens",
        response(max_output_tokens=0),
    ),
]

SCRIPTS: Final = [*FRAMES, *SETTINGS, *INPUT, *ITEMS, *RESPONSES]
