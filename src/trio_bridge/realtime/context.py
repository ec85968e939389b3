"""How much of a long conversation an answer is given: `truncation` with a retention ratio.

Tokens are estimated, since it is the language node that has the tokenizer: four characters of
text for one, and audio by its length. What was cut off stays cut off, so that a model's cache
of the beginning holds until the next cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import define, field

from trio_bridge.realtime.conversation import Item
from trio_bridge.realtime.events import Json

CHARACTERS_PER_TOKEN: Final = 4
IMAGE_TOKENS: Final = 1_000
HEARD_MS_PER_TOKEN: Final = 100
SPOKEN_MS_PER_TOKEN: Final = 50
"""Audio tokens as the protocol's own service counts them: one for 100 ms of the user's speech,
one for 50 ms of the assistant's."""


def item_tokens(item: Item) -> int:
    """About how many tokens an item is."""
    spoken_ms = 0.0 if item.spoken is None else item.spoken.audio_ms
    return (
        _text_tokens(item.body)
        + round(item.heard_ms / HEARD_MS_PER_TOKEN)
        + round(spoken_ms / SPOKEN_MS_PER_TOKEN)
    )


@define
class ContextWindow:
    """Where in the conversation what the model is shown begins."""

    _begin: Item | None = field(default=None, init=False)

    def fit(self, items: Sequence[Item], truncation: str | Json) -> Sequence[Item]:
        """The newest of the conversation's items that there is room for; at least one.

        Args:
            items: All of them, oldest first.
            truncation: The session's setting. Only a retention ratio with a limit of tokens
                cuts anything: the limits of models are known to nobody here.
        """
        if not isinstance(truncation, dict):
            return items
        limit = (truncation.get("token_limits") or {}).get("post_instructions")
        if limit is None:
            return items
        if self._begin is not None and self._begin in items:
            items = items[items.index(self._begin) :]
        tokens = [item_tokens(item) for item in items]
        total = sum(tokens)
        if total <= limit:
            return items
        wanted = truncation["retention_ratio"] * limit
        dropped = 0
        while total > wanted and dropped < len(items) - 1:
            total -= tokens[dropped]
            dropped += 1
        self._begin = items[dropped]
        return items[dropped:]


def _text_tokens(value: Any) -> int:
    if isinstance(value, str):
        return -(-len(value) // CHARACTERS_PER_TOKEN)
    if isinstance(value, dict):
        if value.get("type") == "input_image":
            return IMAGE_TOKENS
        return sum(_text_tokens(each) for key, each in value.items() if key in _SAID)
    if isinstance(value, list):
        return sum(_text_tokens(each) for each in value)
    return 0


_SAID: Final = frozenset({"content", "text", "transcript", "name", "arguments", "output"})
