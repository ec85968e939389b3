"""What the language node asks of whatever answers: a request in, pieces and an end out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, Protocol, TypeAlias

import orjson
from attrs import field, fields, frozen

from trio_bridge.messages import Failure, ResponseRequest, Usage

CHARACTERS_PER_TOKEN: Final = 4
"""A common rule of thumb, for answers whose tokens nobody counted."""


@frozen
class Text:
    """More text of the answer."""

    text: str


@frozen
class ToolDelta:
    """More of a call's arguments; the first of a `call_id` opens the call."""

    call_id: str
    name: str
    arguments: str


@frozen
class ToolDone:
    """A call is complete; `arguments` is all of it."""

    call_id: str
    name: str
    arguments: str


Piece: TypeAlias = Text | ToolDelta | ToolDone
Give: TypeAlias = Callable[[Piece], None]


@frozen
class Finish:
    """How an answer ended."""

    status: Literal["completed", "incomplete", "cancelled", "failed"] = "completed"
    reason: str | None = None
    usage: Usage = field(factory=Usage)
    failure: Failure | None = None


class Answerer(Protocol):
    """Makes answers, many at once."""

    async def answer(self, request: ResponseRequest, give: Give) -> Finish:
        """Make one answer. Being cancelled stops it and everything it started.

        Args:
            request: What to answer.
            give: Takes each piece as it is made; never waits.

        Returns:
            The end of the answer; what went wrong is in it, not raised.
        """


def parse_request(data: str) -> ResponseRequest:
    """Read a `ResponseRequest` from JSON. Fields it does not know are passed over.

    Raises:
        ValueError: It is not such an object.
    """
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError("the request is not an object")
    known = {name: found[name] for name in _FIELDS if name in found}
    for name in ("items", "tools"):
        known[name] = _objects(name, known.get(name) or ())
    return ResponseRequest(**known)


_FIELDS = [attribute.name for attribute in fields(ResponseRequest)]


def _objects(name: str, found: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(found, list | tuple) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} of the request is not a list of objects")
    return tuple(found)


def content_text(item: dict[str, Any]) -> str:
    """The words of a message item, typed or spoken."""
    content = item.get("content")
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    words = (
        part.get("text") or part.get("transcript") for part in content if isinstance(part, dict)
    )
    return " ".join(word.strip() for word in words if isinstance(word, str)).strip()


def estimate_usage(request: ResponseRequest, given: Iterable[str]) -> Usage:
    """Tokens by their usual length, where nobody counted them."""
    asked = len(request.instructions) + len(orjson.dumps([request.items, request.tools]))
    answered = sum(len(text) for text in given)
    return Usage(_tokens(asked), _tokens(answered))


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)
