"""Which tools the built-in responder calls: those that are named, one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from trio_bridge.messages import ResponseRequest

Json = dict[str, Any]

_LITTLE_WORDS = frozenset(
    {"get", "set", "fetch", "do", "run", "call", "make", "the", "a", "of"}
)
_CLAUSE_ENDS = re.compile(r"\b(?:and|then|also)\b|[,;.?!]", re.IGNORECASE)


@frozen
class Turn:
    """What has been done about the latest thing that the user said.

    Attributes:
        called: Names of the tools called.
        answers: The tools that have answered, by name, and what they did, in the order of the
            calls. An output without a call has no name.
    """

    called: frozenset[str] = frozenset()
    answers: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, request: ResponseRequest) -> Turn:
        """Read it from a conversation."""
        items = request.items
        users = [i for i, item in enumerate(items) if item.get("role") == "user"]
        since = items[users[-1] + 1 :] if users else items
        names = {
            item.get("call_id"): str(item.get("name") or "")
            for item in items
            if item.get("type") == "function_call"
        }
        outputs = {
            item.get("call_id"): item.get("output")
            for item in since
            if item.get("type") == "function_call_output"
        }
        order = [*(call for call in names if call in outputs), *outputs.keys() - names.keys()]
        return cls(
            frozenset(names.get(item.get("call_id"), "") for item in since if _is_call(item)),
            tuple((names.get(call, ""), outputs[call]) for call in order),
        )


def choose_calls(
    request: ResponseRequest, heard: str, called: frozenset[str] = frozenset()
) -> list[tuple[Json, str]]:
    """The tools to call now, each with the words that are about it.

    Without parallel calls they come one at a time, each when the one before it was answered.

    Args:
        request: Says which tools there are, and how free the choice is.
        heard: What the user said.
        called: Names of the tools that were called for it already.
    """
    tools = [
        tool
        for tool in request.tools
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
    ]
    choice = request.tool_choice
    if choice == "none" or not tools:
        return []
    if isinstance(choice, dict):
        forced = [tool for tool in tools if tool["name"] == choice.get("name")]
        return [(tool, heard) for tool in forced[:1] if not called]
    named = _named(tools, heard)
    if not named and choice == "required" and not called:
        named = tools[:1]
    open_ = [tool for tool in named if tool["name"] not in called]
    chosen = open_ if request.parallel_tool_calls else open_[:1]
    return [(tool, _about(tool, heard) if len(named) > 1 else heard) for tool in chosen]


def _named(tools: Sequence[Json], heard: str) -> list[Json]:
    """The tools whose names were said, in the order in which they were.

    Of tools whose words are all among another's, the most exact one is meant:
    `set_timer_volume` and not `set_timer`; of two alike, the one of which more was said.
    """
    said = _words(heard)
    by_words: dict[frozenset[str], Json] = {}
    for tool in tools:
        words = name_words(tool["name"])
        if words and set(words) <= set(said):
            key = frozenset(words)
            if key not in by_words or _said_of(tool, said) > _said_of(by_words[key], said):
                by_words[key] = tool
    exact = [key for key in by_words if not any(key < other for other in by_words)]
    exact.sort(key=lambda key: max(said.index(word) for word in key))
    return [by_words[key] for key in exact]


def _said_of(tool: Json, said: Sequence[str]) -> int:
    return sum(word in said for word in _all_name_words(tool["name"]))


def _about(tool: Json, heard: str) -> str:
    """The part of a sentence in which a tool is named; all of it if the name is spread out."""
    words = set(name_words(tool["name"]))
    parts = _CLAUSE_ENDS.split(heard)
    return next((part.strip() for part in parts if words <= set(_words(part))), heard)


def name_words(name: str) -> list[str]:
    """The words of a tool's name that somebody would say: `getWeather` → `weather`."""
    words = _all_name_words(name)
    return [word for word in words if word not in _LITTLE_WORDS] or words


def _all_name_words(name: str) -> list[str]:
    return _words(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _is_call(item: Json) -> bool:
    return item.get("type") == "function_call"
