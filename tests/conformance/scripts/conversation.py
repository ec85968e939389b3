"""Items: created, placed, retrieved, deleted and truncated."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from tests.conformance.script import (
    Appends,
    Asked,
    Gets,
    Like,
    Name,
    Script,
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
    R,
    added,
    asks,
    closes,
    committed,
    created,
    done,
    error,
    message,
    opens,
    place,
    speech,
    spoken,
    understood,
    written,
)

from trio_bridge.messages import Clear, Commit, Configure, ResponseFinished, TextDelta
from trio_bridge.realtime.events import Json

FIRST, LAST = Name("the first item"), Name("the last item")
SOUND: Final = bytes(range(200)) * 48
"""200 ms."""

EVERY_KIND: Final[list[Json]] = [
    message("Hello.", id="said_1"),
    {
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "Be kind."}],
    },
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Good day."}],
    },
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "Good evening."}],
    },
    {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": "Is it?"}],
    },
    {"type": "function_call", "name": "look", "call_id": "c1", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "blue"},
]

KINDS = Script(
    "items of every kind",
    [
        OPENED,
        *(
            step
            for item in EVERY_KIND
            for step in (
                says("conversation.item.create", item=item),
                Gets(added({"object": "realtime.item", "status": "completed", **item})),
            )
        ),
    ],
)

PLACES = Script(
    "items first, last and in between",
    [
        OPENED,
        says("conversation.item.create", item=message("b", id="b")),
        Gets(added({"id": "b"}, previous_item_id=None)),
        says("conversation.item.create", item=message("a", id="a"), previous_item_id="root"),
        Gets(added({"id": "a"}, previous_item_id=None)),
        says("conversation.item.create", item=message("d", id="d"), previous_item_id="b"),
        Gets(added({"id": "d"}, previous_item_id="b")),
        says("conversation.item.create", item=message("c", id="c"), previous_item_id="b"),
        Gets(added({"id": "c"}, previous_item_id="b")),
        says("conversation.item.create", item=message("e"), previous_item_id=None),
        Gets(added({"id": Name("e")}, previous_item_id="d")),
        says("conversation.item.create", item=message("x"), previous_item_id="nobody"),
        gets(error("item_create_invalid_previous_item_id", "previous_item_id")),
    ],
)

DELETED = Script(
    "an item that is retrieved, deleted, and is no more",
    [
        OPENED,
        says("conversation.item.create", item=message("Hello.", id="said_1")),
        Gets(added({"id": "said_1"})),
        says("conversation.item.retrieve", item_id="said_1"),
        gets(
            event(
                "conversation.item.retrieved",
                item={"id": "said_1", "content": [{"type": "input_text", "text": "Hello."}]},
            )
        ),
        says("conversation.item.delete", item_id="said_1"),
        gets(event("conversation.item.deleted", item_id="said_1")),
        says("conversation.item.retrieve", item_id="said_1", event_id="e1"),
        gets(error("item_retrieve_invalid_item_id", event_id="e1")),
        says("conversation.item.create", item=message("Again.", id="said_1")),
        Gets(added({"id": "said_1"}, previous_item_id=None)),
    ],
)

DELETED_WHILE_SAID = Script(
    "an item that is deleted while it is being said",
    [
        OPENED,
        *IN_TEXT,
        *asks(),
        gets(created()),
        reports(TextDelta(R, "Good ")),
        gets(*opens(kind="text"), *written("Good ")),
        says("conversation.item.delete", item_id=ANSWER),
        gets(event("conversation.item.deleted", item_id=ANSWER)),
        reports(TextDelta(R, "day."), ResponseFinished(R)),
        gets(
            *written("day."),
            *(
                each
                for each in closes("Good day.", kind="text")
                if each["type"] != "conversation.item.done"
            ),
            *done(),
        ),
        says("conversation.item.create", item=message("Next.")),
        Gets(added({"id": LAST}, previous_item_id=QUESTION)),
    ],
)

TRUNCATED = Script(
    "an answer that was heard in part",
    [
        OPENED,
        *asks(),
        gets(created()),
        reports(speech("One two ", 0.5), speech("three four.", 0.5), ResponseFinished(R)),
        gets(
            *opens(),
            *spoken("One two "),
            *spoken("three four."),
            *closes("One two three four."),
            *done(),
        ),
        # A few milliseconds past the end is its end; a client rounds up.
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=1001),
        gets(event("conversation.item.truncated", item_id=ANSWER, content_index=0)),
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=500),
        gets(
            event(
                "conversation.item.truncated",
                item_id=ANSWER,
                content_index=0,
                audio_end_ms=500,
            )
        ),
        says("conversation.item.retrieve", item_id=ANSWER),
        gets(
            event(
                "conversation.item.retrieved",
                item={
                    "id": ANSWER,
                    "content": [{"type": "output_audio", "transcript": Like("^One two ?$")}],
                },
            )
        ),
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=0),
        gets(event("conversation.item.truncated", audio_end_ms=0)),
        says("conversation.item.retrieve", item_id=ANSWER),
        gets(
            event(
                "conversation.item.retrieved",
                item={"content": [{"type": "output_audio", "transcript": ""}]},
            )
        ),
    ],
)

TRUNCATED_WHILE_SAID = Script(
    "an answer that is truncated while it is being said",
    [
        OPENED,
        *asks(),
        gets(created()),
        reports(speech("One two.", 0.5)),
        gets(*opens(), *spoken("One two.")),
        says("conversation.item.truncate", item_id=ANSWER, content_index=0, audio_end_ms=500),
        gets(event("conversation.item.truncated", item_id=ANSWER)),
        reports(speech(" Three.", 0.5), ResponseFinished(R)),
        gets(
            *spoken(" Three."),
            event("response.output_audio.done", **place(ANSWER)),
            event(
                "response.output_audio_transcript.done",
                transcript="One two. Three.",
                **place(ANSWER),
            ),
            event("response.content_part.done", **place(ANSWER)),
            event("conversation.item.done", item={"id": ANSWER}),
            event(
                "response.output_item.done",
                item={"content": [{"type": "output_audio", "transcript": "One two."}]},
            ),
            *done(),
        ),
    ],
)

HEARD_AGAIN = Script(
    "the audio of what was said, by either side",
    [
        OPENED,
        *BY_HAND,
        Appends(200),
        says("input_audio_buffer.commit"),
        gets(*committed()),
        understood("Hello.", "x1", QUESTION),
        says("conversation.item.retrieve", item_id=QUESTION),
        gets(
            event(
                "conversation.item.retrieved",
                item={
                    "id": QUESTION,
                    "content": [
                        {
                            "type": "input_audio",
                            "transcript": "Hello.",
                            "audio": b64encode(bytes(9600)).decode(),
                        }
                    ],
                },
            )
        ),
        says("response.create"),
        gets(created()),
        reports(speech("Hm.", 0.1), ResponseFinished(R)),
        gets(*opens(), *spoken("Hm."), *closes("Hm."), *done()),
        says("conversation.item.retrieve", item_id=ANSWER),
        gets(
            event(
                "conversation.item.retrieved",
                item={
                    "id": ANSWER,
                    "content": [
                        {
                            "type": "output_audio",
                            "transcript": "Hm.",
                            "audio": b64encode(bytes(4800)).decode(),
                        }
                    ],
                },
            )
        ),
    ],
)

GIVEN_ALOUD = Script(
    "a message that comes with its sound",
    [
        OPENED,
        *BY_HAND,
        asked(Configure, Configure),
        says(
            "conversation.item.create",
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio", "audio": b64encode(SOUND).decode()}],
            },
        ),
        Gets(added({"id": FIRST, "content": [{"type": "input_audio", "transcript": None}]})),
        asked(Clear, Configure, Commit, Configure),
        says("response.create"),
        gets(created()),
        Asked(()),
        understood("Hello.", "x1", FIRST),
        reports(ResponseFinished(R)),
        gets(*done()),
        says("conversation.item.retrieve", item_id=FIRST),
        gets(
            event(
                "conversation.item.retrieved",
                item={
                    "content": [
                        {
                            "type": "input_audio",
                            "transcript": "Hello.",
                            "audio": b64encode(SOUND).decode(),
                        }
                    ]
                },
            )
        ),
    ],
)

SCRIPTS: Final = [
    KINDS,
    PLACES,
    DELETED,
    DELETED_WHILE_SAID,
    TRUNCATED,
    TRUNCATED_WHILE_SAID,
    HEARD_AGAIN,
    GIVEN_ALOUD,
]
