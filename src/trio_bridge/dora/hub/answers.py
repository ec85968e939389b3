"""What is known of a response of a hub dataflow while it is made, and of its sentences."""

from __future__ import annotations

import math
from collections import deque

from attrs import define, field

from trio_bridge.messages import Failure, ResponseRequest

_IDEOGRAPHIC = "\u2e80"
"""From here on come the scripts of East Asia and their punctuation."""


@define(eq=False)
class Answer:
    """A response: `question` is what the language node was asked for it, in a session."""

    response_id: str
    session_id: str
    number: int
    question: str
    speaks: bool
    deadline: float = math.inf
    begun: bool = False
    said_something: bool = False
    asked_again: bool = False
    text_over: bool = False
    cancelled: bool = False
    status: str = ""
    written: int = 0
    """Characters given to the segmenter; blanks do not count, since it trims."""
    flushed: bool = False
    """The segmenter has been told that this is all."""
    segmented: int = 0
    all_segmented: bool = False
    sentences: deque[str] = field(factory=deque)
    said: str = ""
    """The sentence that came last."""
    spoken: float = 0.0
    open_until: float = -math.inf
    """Until then audio of its last sentence may still be on its way."""
    credit: float = 0.0
    failure: Failure | None = None


@define(eq=False)
class Sentence:
    """What the voice was given to say."""

    number: int
    answer: Answer
    text: str
    deadline: float
    pieces: int = 0
    """Messages of audio that have come."""
    completed: bool = False
    """The voice says so; its audio may still be on its way."""


def weight(text: str) -> int:
    """Characters, blanks not counted."""
    return sum(not character.isspace() for character in text)


def continued(before: str, text: str) -> str:
    """A sentence as it stands behind another: the segmenter trims, and Chinese and Japanese
    have no blanks between sentences."""
    if not before or before[-1].isspace() or text[0].isspace():
        return text
    return text if before[-1] >= _IDEOGRAPHIC or text[0] >= _IDEOGRAPHIC else f" {text}"


def question_of(request: ResponseRequest) -> str:
    """What was said since the last answer."""
    parts: list[str] = []
    for item in reversed(request.items):
        if item.get("role") == "assistant":
            break
        if item.get("type") == "message":
            said = (p.get("text") or p.get("transcript") or "" for p in item["content"])
            parts.append(" ".join(words for words in said if words))
    return "\n".join(part for part in reversed(parts) if part.strip())
