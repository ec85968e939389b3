"""Items in order, and their bounds."""

from __future__ import annotations

import pytest
from tests.support.stage import Stage, user_says

from trio_bridge.realtime import conversation as conversation_module
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.conversation import Conversation, Item
from trio_bridge.realtime.problems import ProtocolError


def item(item_id: str, text: str = "") -> Item:
    content = [{"type": "input_text", "text": text}]
    return Item(
        item_id,
        {"type": "message", "status": "completed", "role": "user", "content": content},
    )


def order(stage: Stage) -> list[str]:
    return [each.id for each in stage.engine.conversation]


def test_items_go_where_the_client_puts_them() -> None:
    """At the end, first, or after another; the events tell what they then stand after."""
    stage = Stage()
    places = [("b", None), ("a", "root"), ("d", None), ("c", "b")]
    for item_id, after in places:
        create = user_says("x", id=item_id)
        told = stage.client(ev.ConversationItemCreate(create.item, after))
        assert told == ["conversation.item.added", "conversation.item.done"]
    assert order(stage) == ["a", "b", "c", "d"]
    added = [each for each in stage.said if isinstance(each, ev.ConversationItemAdded)]
    assert [each.previous_item_id for each in added] == [None, None, "b", "b"]
    assert "content" in added[0].item
    assert added[0].item["object"] == "realtime.item"


def test_an_item_without_an_id_is_given_one() -> None:
    """And can be found by it."""
    stage = Stage()
    stage.client(user_says("hi"))
    assert stage.client(ev.ConversationItemRetrieve(stage.item_id)) == [
        "conversation.item.retrieved"
    ]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (user_says("x", id="a"), "item_create_duplicate_item_id"),
        (user_says("x", id="root"), "item_create_duplicate_item_id"),
        (user_says("x", id="y" * 33), "string_above_max_length"),
        (
            ev.ConversationItemCreate(user_says("x").item, "nope"),
            "item_create_invalid_previous_item_id",
        ),
        (ev.ConversationItemRetrieve("nope"), "item_retrieve_invalid_item_id"),
        (ev.ConversationItemDelete("nope"), "item_delete_invalid_item_id"),
    ],
)
def test_what_cannot_be_done_changes_nothing(event: ev.ClientEvent, code: str) -> None:
    """An error by its code, and the conversation as it was."""
    stage = Stage()
    stage.client(user_says("x", id="a"))
    assert stage.client(event) == ["error"]
    assert stage.seen(ev.Error).code == code
    assert order(stage) == ["a"]


def test_a_deleted_item_is_gone() -> None:
    """Its id may be used again."""
    stage = Stage()
    stage.client(user_says("x", id="a"))
    assert stage.client(ev.ConversationItemDelete("a")) == ["conversation.item.deleted"]
    stage.client(user_says("y", id="a"))
    assert order(stage) == ["a"]


def test_what_was_shown_does_not_change_afterwards() -> None:
    """An item's JSON is a copy."""
    kept = item("a", "before")
    shown = kept.to_json()
    kept.body["content"][0]["text"] = "after"
    kept.body["status"] = "incomplete"
    assert shown["content"][0]["text"] == "before"
    assert shown["status"] == "completed"


def test_the_oldest_are_forgotten_beyond_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told; items under way and the newest are kept."""
    monkeypatch.setattr(conversation_module, "ITEMS_LIMIT", 3)
    stage = Stage()
    told = stage.client(*(user_says("x", id=f"i{n}") for n in range(5)))
    assert told.count("conversation.item.deleted") == 2
    assert order(stage) == ["i2", "i3", "i4"]


def test_weight_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few very large items push out what came before them, never themselves."""
    monkeypatch.setattr(conversation_module, "WEIGHT_LIMIT", 1000)
    conversation = Conversation("conv")
    conversation.append(item("a", "x" * 500))
    busy = item("busy")
    busy.body["status"] = "in_progress"
    conversation.append(busy)
    assert conversation.forget_oldest() == []
    conversation.append(item("b", "x" * 2000))
    assert conversation.forget_oldest() == ["a"]
    assert [each.id for each in conversation] == ["busy", "b"]


def test_a_promised_id_is_taken_until_it_is_released() -> None:
    """Speech that was announced and never came frees its id."""
    conversation = Conversation("conv")
    conversation.promise("a")
    with pytest.raises(ProtocolError):
        conversation.create(item("a"), None)
    conversation.release("a")
    conversation.create(item("a"), None)
    assert conversation.last_id == "a"
