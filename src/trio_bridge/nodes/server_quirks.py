"""What chat completions servers do not take, and what does instead. Pure.

Servers differ in the fields they know, and refuse a request for one that they do not. What a
refusal names is left out, or said in another way, and the request made again. A *refused* set
holds the names; it only ever grows.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

REFUSALS: Final = frozenset({400, 422})
"""Statuses that mean that the request itself is wrong."""

_DISPENSABLE: Final = frozenset(
    {"stream_options", "parallel_tool_calls", "reasoning_effort", "temperature"}
)
"""Without these an answer is less exact, yet an answer. Old servers cannot count tokens while
they stream, reasoning models have one temperature, all others no effort."""


def adapted(body: Json, refused: frozenset[str]) -> Json:
    """The request as a server takes it that has refused so much."""
    body = {name: value for name, value in body.items() if name not in refused & _DISPENSABLE}
    if "max_tokens" in refused and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    choice = body.get("tool_choice")
    if "tool_choice" in refused and isinstance(choice, dict):
        # Some know `required` but no names: with one tool to choose from it means the same.
        body["tools"] = [tool for tool in body["tools"] if _name(tool) == _name(choice)]
        body["tool_choice"] = "required"
    return body


def newly_refused(body: Json, refused: frozenset[str], reply: bytes) -> str | None:
    """What a refusal of `adapted(body, refused)` names that can be helped; None if nothing."""
    helpable = _DISPENSABLE & body.keys()
    if isinstance(body.get("tool_choice"), dict):
        helpable |= {"tool_choice"}
    named = {name for name in helpable if name.encode() in reply}
    if "max_tokens" in body and b"max_completion_tokens" in reply:
        named |= {"max_tokens"}
    return min(named - refused, default=None)


def _name(entry: Json) -> Any:
    return entry["function"]["name"]
