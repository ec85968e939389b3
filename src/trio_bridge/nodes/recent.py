"""A dict that forgets its oldest entries."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@define(eq=False)
class Recent(Generic[K, V]):
    """Keeps at most `limit` entries: those put last."""

    limit: int
    _entries: dict[K, V] = field(factory=dict, init=False)

    def put(self, key: K, value: V) -> None:
        """Remember an entry, as the newest."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self.limit:
            del self._entries[next(iter(self._entries))]

    def get(self, key: K, default: V) -> V:
        return self._entries.get(key, default)

    def pop(self, key: K, default: V) -> V:
        return self._entries.pop(key, default)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)
