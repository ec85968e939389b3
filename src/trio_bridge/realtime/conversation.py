"""The truth about a conversation: its items, in order, and what of them was heard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from attrs import define, field

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Json
from trio_bridge.realtime.recordings import Recordings
from trio_bridge.realtime.spoken import SpokenText

ITEMS_LIMIT = 4096
"""Items a conversation remembers: more turns than an hour of talk has. Beyond it the oldest
are forgotten, as `truncation: auto` says."""

WEIGHT_LIMIT = 64 * 1024 * 1024
"""Characters a conversation remembers: three of the largest frames. Most of it can only be
images; the oldest items are forgotten beyond it."""

TRUNCATE_SLACK_MS = 20
"""How far past the end of an item's audio it may be truncated: clients round up, and count
what their resampler added. One usual frame."""

ROOT = "root"
"""The `previous_item_id` that puts an item first."""


@define(eq=False)
class Item:
    """A conversation item.

    Attributes:
        id: Its id.
        body: Its GA JSON without `id` and `object`.
        spoken: The speech of an assistant's item, as far as it has left.
        awaits_transcript: The user's speech in it is still being transcribed.
        sealed: It was truncated: what is said in it from here on was not heard.
        heard_ms: How long the user's speech in it is.
        weight: What it took to remember when it was added, in characters or so. (Speech that
            is added to it later is bounded by what one response may say.)
    """

    id: str
    body: Json
    spoken: SpokenText | None = None
    awaits_transcript: bool = False
    sealed: bool = False
    heard_ms: float = 0.0
    weight: int = field(default=0, init=False)

    def to_json(self) -> Json:
        """The item as it is on the wire; a copy, so that later changes do not show in it."""
        body = dict(self.body)
        if "content" in body:
            body["content"] = [dict(part) for part in body["content"]]
        if self.about_mcp:  # the only items that are not called objects
            return {"id": self.id, **body}
        return {"id": self.id, "object": "realtime.item", **body}

    @property
    def about_mcp(self) -> bool:
        """It is about an MCP server."""
        return str(self.body["type"]).startswith("mcp_")

    def set_transcript(self, text: str | None) -> None:
        """What was said in the item's only audio content."""
        self.body["content"][0]["transcript"] = text


def _weight(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_weight(each) for each in value.values())
    if isinstance(value, list):
        return sum(_weight(each) for each in value)
    return 0


@define
class Conversation:
    """Items in order. An id that was promised for an item to come is taken already."""

    id: str
    recordings: Recordings = field(factory=Recordings)
    _items: list[Item] = field(factory=list, init=False)
    _by_id: dict[str, Item] = field(factory=dict, init=False)
    _promised: set[str] = field(factory=set, init=False)
    _weight: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __contains__(self, item: object) -> bool:
        return isinstance(item, Item) and self._by_id.get(item.id) is item

    def __len__(self) -> int:
        return len(self._items)

    def get(self, item_id: str) -> Item | None:
        """The item of this id."""
        return self._by_id.get(item_id)

    def taken(self, item_id: str) -> bool:
        """Whether an id names an item, or one to come, or a place."""
        return item_id in self._by_id or item_id in self._promised or item_id == ROOT

    def promise(self, item_id: str) -> None:
        """Keep an id for an item to come."""
        self._promised.add(item_id)

    def release(self, item_id: str) -> None:
        """The item that an id was kept for does not come."""
        self._promised.discard(item_id)

    def previous_of(self, item: Item) -> str | None:
        """The id of the item before this one; None for the first."""
        # Nearly always it is one of the last few, so the search goes from the end.
        for index in range(len(self._items) - 1, 0, -1):
            if self._items[index] is item:
                return self._items[index - 1].id
        return None

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._items[-1].id if self._items else None

    def append(self, item: Item) -> None:
        """Add an item of ours at the end."""
        self._insert(len(self._items), item)

    def create(self, item: Item, previous_item_id: str | None) -> None:
        """Add a client's item: after another, first (`root`), or at the end (None).

        Raises:
            ProtocolError: Its id is taken, or there is no such item to put it after.
        """
        if self.taken(item.id):
            raise problems.duplicate_item(item.id)
        if previous_item_id is None:
            index = len(self._items)
        elif previous_item_id == ROOT:
            index = 0
        elif (previous := self._by_id.get(previous_item_id)) is not None:
            index = self._items.index(previous) + 1
        else:
            raise problems.unknown_previous_item(previous_item_id)
        self._insert(index, item)

    def find(
        self, item_id: str, operation: Literal["deleting", "retrieving", "truncating"]
    ) -> Item:
        """The item that the client wants to do something with.

        Raises:
            ProtocolError: There is none.
        """
        item = self._by_id.get(item_id)
        if item is None:
            raise problems.item_not_found(operation, item_id)
        return item

    def remove(self, item: Item) -> None:
        """Forget an item."""
        self._items.remove(item)
        self._weight -= item.weight
        del self._by_id[item.id]
        self.recordings.forget(item.id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> int:
        """Forget what of an item's speech was not heard: its transcript keeps the words
        spoken by then.

        Args:
            item_id: An item of the assistant's that was spoken.
            content_index: Which of its contents; speech is the only one.
            audio_end_ms: How much of its audio was played, in ms; up to `TRUNCATE_SLACK_MS`
                past its end is taken as its end.

        Returns:
            The position it was cut at, in ms.

        Raises:
            ProtocolError: There is no such speech, or it is shorter.
        """
        item = self.find(item_id, "truncating")
        if item.spoken is None:
            raise problems.truncate_not_audio()
        if content_index != 0:
            raise problems.invalid_value("content_index", content_index, ["0"])
        if audio_end_ms < 0:
            raise problems.number_too_small("audio_end_ms", 0, audio_end_ms)
        have_ms = int(item.spoken.audio_ms)
        if audio_end_ms > have_ms + TRUNCATE_SLACK_MS:
            raise problems.truncate_past_end(have_ms, audio_end_ms)
        item.spoken.cut(audio_end_ms)
        item.sealed = True
        item.set_transcript(item.spoken.text)
        self.recordings.cut(item.id, audio_end_ms)
        return audio_end_ms

    @property
    def has_assistant_audio(self) -> bool:
        """Whether the assistant has spoken, and so has a voice that cannot change."""
        return any(item.spoken is not None and item.spoken.audio_ms > 0 for item in self)

    def forget_oldest(self) -> list[str]:
        """Drop the oldest items until the conversation is within its bounds.

        Returns:
            The ids of those dropped. Items still being made are kept.
        """
        dropped: list[str] = []
        if len(self._items) <= ITEMS_LIMIT and self._weight <= WEIGHT_LIMIT:
            return dropped
        for item in self._items[:-1]:
            if len(self._items) <= ITEMS_LIMIT and self._weight <= WEIGHT_LIMIT:
                break
            if item.body.get("status") == "in_progress":
                continue
            dropped.append(item.id)
            self.remove(item)
        return dropped

    def _insert(self, index: int, item: Item) -> None:
        self._promised.discard(item.id)
        item.weight = _weight(item.body)
        self._weight += item.weight
        self._items.insert(index, item)
        self._by_id[item.id] = item
