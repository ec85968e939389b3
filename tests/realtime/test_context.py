"""How much of a conversation a model is shown."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.realtime.context import IMAGE_TOKENS, ContextWindow, item_tokens
from trio_bridge.realtime.conversation import Item
from trio_bridge.realtime.spoken import SpokenText


def saying(tokens: int) -> Item:
    part = {"type": "input_text", "text": "x" * 4 * tokens}
    return Item("i", {"type": "message", "role": "user", "content": [part]})


def keeping(ratio: float, limit: int | None) -> dict[str, Any]:
    limits = {} if limit is None else {"token_limits": {"post_instructions": limit}}
    return {"type": "retention_ratio", "retention_ratio": ratio, **limits}


def test_tokens_are_estimated_by_what_is_said() -> None:
    """Text by its characters, audio by its length, images at a flat rate."""
    assert item_tokens(saying(5)) == 5
    call = {"type": "function_call", "name": "f" * 4, "arguments": "{}", "call_id": "c" * 30}
    assert item_tokens(Item("i", call)) == 2
    image = {"type": "input_image", "image_url": "data:" + "x" * 100_000}
    body = {"type": "message", "role": "user", "content": [image]}
    assert item_tokens(Item("i", body)) == IMAGE_TOKENS
    assert item_tokens(Item("i", {"type": "message"}, heard_ms=2_000)) == 20
    assert item_tokens(Item("i", {"type": "message"}, spoken=SpokenText("", 2_000))) == 40


def test_without_a_limit_of_tokens_everything_is_shown() -> None:
    """Whatever the mode is called."""
    items = [saying(1_000_000)] * 3
    for truncation in ("auto", "disabled", keeping(0.5, None)):
        assert ContextWindow().fit(items, truncation) == items


def test_a_cut_goes_below_the_limit_and_holds() -> None:
    """The beginning stays where it is until the limit is reached again."""
    window = ContextWindow()
    items = [saying(10) for _ in range(10)]
    assert list(window.fit(items, keeping(0.5, 100))) == items
    items.append(saying(10))
    assert list(window.fit(items, keeping(0.5, 100))) == items[6:]
    items += [saying(10) for _ in range(5)]
    assert list(window.fit(items, keeping(0.5, 100))) == items[6:]
    items.append(saying(10))
    assert list(window.fit(items, keeping(0.5, 100))) == items[12:]


def test_the_last_item_is_always_shown() -> None:
    """It is what is to be answered; and an item that was deleted is no beginning."""
    window = ContextWindow()
    items = [saying(10), saying(1_000)]
    assert list(window.fit(items, keeping(0.0, 5))) == items[1:]
    assert list(window.fit([saying(1)], keeping(0.0, 5)))
    assert list(window.fit([], keeping(0.0, 5))) == []


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=30),
    st.floats(0, 1),
    st.integers(0, 300),
)
def test_what_is_shown_is_the_end_of_the_conversation(
    sizes: list[int], ratio: float, limit: int
) -> None:
    """As much as fits, or the last item."""
    window = ContextWindow()
    items: list[Item] = []
    for size in sizes:
        items.append(saying(size))
        shown = list(window.fit(items, keeping(ratio, limit)))
        assert shown == items[-len(shown) :]
        assert sum(map(item_tokens, shown)) <= limit or len(shown) == 1
