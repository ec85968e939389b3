"""Responses: text, speech, function calls, out of band, and how they end before their time."""

from __future__ import annotations

from typing import Final

from tests.conformance.script import (
    Asked,
    Gets,
    Like,
    Name,
    Script,
    Step,
    asked,
    event,
    gets,
    reports,
    says,
)
from tests.conformance.scripts.parts import (
    ANSWER,
    BY_HAND,
    IN_TEXT,
    OPENED,
    QUESTION,
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
    place,
    session,
    speech,
    spoken,
    written,
)

from trio_bridge.messages import (
    Cancel,
    Configure,
    Failure,
    Respond,
    ResponseFinished,
    ResponseOpened,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    Usage,
)
from trio_bridge.realtime.events import Json

NOTHING_ASKED = Asked(())
LOOK = {
    "type": "function",
    "name": "look",
    "description": "d",
    "parameters": {"type": "object"},
}
TOOLS = (session(tools=[LOOK], tool_choice="auto"), UPDATED)
CALL, OTHER_CALL = Name("the call"), Name("the other call")
ASIDE, SECOND = Name("the response aside"), Name("the second response")
ASIDE_ITEM = Name("what is said aside")


def call_opens(item: Name, call_id: str, index: int) -> tuple[Json, ...]:
    body = {
        "id": item,
        "type": "function_call",
        "status": "in_progress",
        "name": "look",
        "call_id": call_id,
        "arguments": "",
    }
    return (
        event("response.output_item.added", response_id=R, output_index=index, item=body),
        event("conversation.item.added", item=body),
    )


def call_told(item: Name, call_id: str, index: int, delta: str) -> Json:
    return event(
        "response.function_call_arguments.delta",
        response_id=R,
        item_id=item,
        output_index=index,
        call_id=call_id,
        delta=delta,
    )


def call_closes(item: Name, call_id: str, index: int, arguments: str) -> tuple[Json, ...]:
    body = {
        "id": item,
        "type": "function_call",
        "status": "completed",
        "name": "look",
        "call_id": call_id,
        "arguments": arguments,
    }
    return (
        event(
            "response.function_call_arguments.done",
            response_id=R,
            item_id=item,
            output_index=index,
            call_id=call_id,
            name="look",
            arguments=arguments,
        ),
        event("conversation.item.done", item=body),
        event("response.output_item.done", response_id=R, output_index=index, item=body),
    )


def output_given(call_id: str, output: str, previous: Name) -> tuple[Step, ...]:
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return (
        says("conversation.item.create", item=item),
        Gets(added({**item, "status": "completed"}, previous_item_id=previous)),
    )


TEXT = Script(
    "a text turn",
    [
        OPENED,
        *IN_TEXT,
        asked(Configure),
        *asks(),
        gets(created(conversation_id=Like("^conv_"), metadata=None, usage=None)),
        asked(Respond),
        reports(TextDelta(R, "Good ")),
        gets(*opens(kind="text"), *written("Good ")),
        reports(TextDelta(R, "day."), ResponseFinished(R, usage=Usage(12, 5, cached_tokens=3))),
        gets(
            *written("day."),
            *closes("Good day.", kind="text"),
            *done(
                status="completed",
                status_details=None,
                output=[
                    {
                        "id": ANSWER,
                        "role": "assistant",
                        "content": [{"type": "output_text", "text": "Good day."}],
                    }
                ],
                usage={
                    "total_tokens": 17,
                    "input_tokens": 12,
                    "output_tokens": 5,
                    "input_token_details": {"cached_tokens": 3},
                },
            ),
        ),
        NOTHING_ASKED,
    ],
)

SPEECH = Script(
    "an answer aloud",
    [
        OPENED,
        *asks(),
        gets(created(output_modalities=["audio"])),
        reports(speech("Good "), speech(""), speech("day.")),
        gets(*opens(), *spoken("Good "), *spoken("day.")),
        reports(ResponseFinished(R)),
        gets(
            *closes("Good day."),
            *done(
                status="completed",
                status_details=None,
                output=[{"content": [{"type": "output_audio", "transcript": "Good day."}]}],
            ),
        ),
    ],
)

EMPTY = Script(
    "an answer without a word",
    [
        OPENED,
        *asks(),
        gets(created()),
        reports(ResponseFinished(R)),
        gets(*done(status="completed", output=[])),
    ],
)

UNASKED = Script(
    "an answer of the backend's own accord",
    [
        OPENED,
        reports(ResponseOpened("mine")),
        gets(created()),
        reports(speech("Hello.", response="mine")),
        gets(*opens(), *spoken("Hello.")),
        reports(ResponseFinished("mine")),
        gets(*closes("Hello."), *done()),
    ],
)

FUNCTION = Script(
    "a function call, its output and the answer to it",
    [
        OPENED,
        *IN_TEXT,
        *TOOLS,
        *asks(),
        gets(created()),
        reports(
            ToolCallDelta(R, "c1", "look", '{"at":'),
            ToolCallDelta(R, "c1", "look", '"sky"}'),
            ToolCallDone(R, "c1", "look", '{"at":"sky"}'),
        ),
        gets(
            *call_opens(CALL, "c1", 0),
            call_told(CALL, "c1", 0, '{"at":'),
            *call_closes(CALL, "c1", 0, '{"at":"sky"}'),
        ),
        reports(ResponseFinished(R)),
        gets(
            *done(
                status="completed",
                output=[{"type": "function_call", "arguments": '{"at":"sky"}'}],
            )
        ),
        *output_given("c1", "blue", CALL),
        says("response.create"),
        gets(created(SECOND)),
        reports(TextDelta(SECOND, "Blue."), ResponseFinished(SECOND)),
        gets(
            *opens(response=SECOND, kind="text"),
            *written("Blue.", response=SECOND),
            *closes("Blue.", response=SECOND, kind="text"),
            *done(SECOND),
        ),
    ],
)

FUNCTIONS = Script(
    "two calls beside a message, outputs the other way round",
    [
        OPENED,
        *IN_TEXT,
        *TOOLS,
        *asks(),
        gets(created()),
        reports(
            TextDelta(R, "A moment."),
            ToolCallDelta(R, "c1", "look", "{"),
            ToolCallDelta(R, "c2", "look", "[]"),
        ),
        gets(
            *opens(kind="text"),
            *written("A moment."),
            *call_opens(CALL, "c1", 1),
            call_told(CALL, "c1", 1, "{"),
            *call_opens(OTHER_CALL, "c2", 2),
            call_told(OTHER_CALL, "c2", 2, "[]"),
        ),
        reports(ToolCallDone(R, "c2", "look", "[]"), ToolCallDone(R, "c1", "look", "{}")),
        gets(
            *call_closes(OTHER_CALL, "c2", 2, "[]"),
            call_told(CALL, "c1", 1, "}"),
            *call_closes(CALL, "c1", 1, "{}"),
        ),
        reports(ResponseFinished(R)),
        gets(
            *closes("A moment.", kind="text"),
            *done(
                status="completed",
                output=[
                    {"type": "message"},
                    {"type": "function_call", "call_id": "c1"},
                    {"type": "function_call", "call_id": "c2"},
                ],
            ),
        ),
        *output_given("c2", "two", OTHER_CALL),
        *output_given("c1", "one", Name("the output")),
        says("response.create"),
        gets(created(SECOND)),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

CHOSEN = Script(
    "a function that must be called",
    [
        OPENED,
        *IN_TEXT,
        *TOOLS,
        *asks(response={"tool_choice": {"type": "function", "name": "look"}}),
        gets(created()),
        reports(ToolCallDone(R, "c1", "look", "{}"), ResponseFinished(R)),
        gets(
            *call_opens(CALL, "c1", 0),
            call_told(CALL, "c1", 0, "{}"),
            *call_closes(CALL, "c1", 0, "{}"),
            *done(),
        ),
        says("response.create", response={"tool_choice": "none"}),
        gets(created(SECOND)),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

OUT_OF_BAND = Script(
    "a response beside the conversation's own",
    [
        OPENED,
        *IN_TEXT,
        *asks(),
        gets(created()),
        reports(TextDelta(R, "Go")),
        gets(*opens(kind="text"), *written("Go")),
        says(
            "response.create",
            response={
                "conversation": "none",
                "metadata": {"topic": "mood"},
                "input": [{"type": "item_reference", "id": QUESTION}, message("Which mood?")],
            },
        ),
        gets(created(ASIDE, conversation_id=None, metadata={"topic": "mood"})),
        reports(TextDelta(ASIDE, "Calm")),
        gets(
            event("response.output_item.added", response_id=ASIDE, item={"id": ASIDE_ITEM}),
            event("response.content_part.added", **place(ASIDE_ITEM, ASIDE)),
            *written("Calm", ASIDE_ITEM, ASIDE),
        ),
        reports(TextDelta(R, "od.")),
        gets(*written("od.")),
        reports(TextDelta(ASIDE, "."), ResponseFinished(ASIDE)),
        gets(
            *written(".", ASIDE_ITEM, ASIDE),
            event("response.output_text.done", text="Calm.", **place(ASIDE_ITEM, ASIDE)),
            event("response.content_part.done", **place(ASIDE_ITEM, ASIDE)),
            event("response.output_item.done", response_id=ASIDE),
            *done(
                ASIDE,
                status="completed",
                conversation_id=None,
                metadata={"topic": "mood"},
                output=[{"id": ASIDE_ITEM, "status": "completed"}],
            ),
        ),
        reports(ResponseFinished(R)),
        gets(*closes("Good.", kind="text"), *done()),
        says("conversation.item.retrieve", item_id=ASIDE_ITEM),
        gets(error("item_retrieve_invalid_item_id")),
    ],
)

CANCELLED = Script(
    "an answer that the client cancels",
    [
        OPENED,
        *BY_HAND,
        *asks(),
        gets(created()),
        reports(speech("One two three.", 1.0)),
        gets(*opens(), *spoken("One two three.")),
        asked(Configure, Configure, Respond),
        says("response.cancel"),
        gets(
            *closes("One two three.", status="incomplete"),
            *done(
                status="cancelled",
                status_details={"type": "cancelled", "reason": "client_cancelled"},
                output=[{"status": "incomplete"}],
            ),
        ),
        asked(Cancel),
        reports(speech("late", 0.1), TextDelta(R, "late"), ResponseFinished(R)),
        says("response.cancel", event_id="again"),
        gets(error("response_cancel_not_active", event_id="again")),
        says("response.cancel", response_id=R),
        gets(
            error("response_cancel_not_active", message=Like("^Cancellation failed")),
        ),
    ],
)

CANCELLED_BY_ID = Script(
    "two answers, each cancelled by its id",
    [
        OPENED,
        *IN_TEXT,
        *asks(),
        gets(created()),
        says("response.create", response={"conversation": "none"}),
        gets(created(ASIDE, conversation_id=None)),
        says("response.cancel", response_id=ASIDE),
        gets(*done(ASIDE, status="cancelled", output=[])),
        reports(TextDelta(R, "Still here.")),
        gets(*opens(kind="text"), *written("Still here.")),
        says("response.cancel", response_id=R),
        gets(
            *closes("Still here.", kind="text", status="incomplete"), *done(status="cancelled")
        ),
        reports(TextDelta(ASIDE, "late"), TextDelta(R, "late")),
        *asks("And now?", Name("the next question")),
        gets(created(SECOND)),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

MAX_TOKENS = Script(
    "an answer that reaches its limit of tokens",
    [
        OPENED,
        *IN_TEXT,
        *asks(response={"max_output_tokens": 3}),
        gets(created(max_output_tokens=3)),
        reports(
            TextDelta(R, "One two thr"),
            ResponseFinished(R, "incomplete", "max_output_tokens", Usage(3, 3)),
        ),
        gets(
            *opens(kind="text"),
            *written("One two thr"),
            *closes("One two thr", kind="text", status="incomplete"),
            *done(
                status="incomplete",
                status_details={"type": "incomplete", "reason": "max_output_tokens"},
                usage={"output_tokens": 3},
            ),
        ),
    ],
)

CALL_CUT = Script(
    "a function call that breaks off is none",
    [
        OPENED,
        *TOOLS,
        *asks(),
        gets(created()),
        reports(ToolCallDelta(R, "c1", "look", '{"a')),
        gets(*call_opens(CALL, "c1", 0), call_told(CALL, "c1", 0, '{"a')),
        says("response.cancel"),
        gets(
            event("conversation.item.done", item={"id": CALL, "status": "incomplete"}),
            event("response.output_item.done", item={"id": CALL, "status": "incomplete"}),
            *done(status="cancelled"),
        ),
    ],
)

FAILED = Script(
    "an answer that fails, and one that does not",
    [
        OPENED,
        *IN_TEXT,
        *asks(),
        gets(created()),
        reports(
            TextDelta(R, "Well"),
            ResponseFinished(R, "failed", failure=Failure("model_down", "It is down.")),
        ),
        gets(
            *opens(kind="text"),
            *written("Well"),
            *closes("Well", kind="text", status="incomplete"),
            *done(
                status="failed",
                status_details={
                    "type": "failed",
                    "error": {"type": "server_error", "code": "model_down"},
                },
            ),
        ),
        says("response.create"),
        gets(created(SECOND)),
        reports(ResponseFinished(SECOND)),
        gets(*done(SECOND)),
    ],
)

METADATA = Script(
    "what a response was created with",
    [
        OPENED,
        *asks(
            response={
                "metadata": {"client_event_id": "x1", "n": "1"},
                "output_modalities": ["text"],
                "instructions": "Be brief.",
                "tools": [LOOK],
                "tool_choice": "required",
                "max_output_tokens": 7,
            },
            event_id="r1",
        ),
        gets(
            created(
                metadata={"client_event_id": "x1", "n": "1"},
                output_modalities=["text"],
                max_output_tokens=7,
            )
        ),
        reports(TextDelta(R, "Yes."), ResponseFinished(R)),
        gets(
            *opens(kind="text"),
            *written("Yes."),
            *closes("Yes.", kind="text"),
            *done(status="completed", metadata={"client_event_id": "x1", "n": "1"}),
        ),
    ],
)

BUSY = Script(
    "a second response while one is active",
    [
        OPENED,
        *asks(),
        gets(created()),
        says("response.create", event_id="agents_js_response_create_2"),
        gets(
            error(
                "conversation_already_has_active_response",
                event_id="agents_js_response_create_2",
                message=Like("already has an active response in progress: resp_"),
            )
        ),
        reports(ResponseFinished(R)),
        gets(*done()),
    ],
)

SCRIPTS: Final = [
    TEXT,
    SPEECH,
    EMPTY,
    UNASKED,
    FUNCTION,
    FUNCTIONS,
    CHOSEN,
    OUT_OF_BAND,
    CANCELLED,
    CANCELLED_BY_ID,
    MAX_TOKENS,
    CALL_CUT,
    FAILED,
    METADATA,
    BUSY,
]
