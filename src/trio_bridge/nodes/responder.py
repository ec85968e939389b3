"""The built-in responder: answers without a language model, so that a fresh install talks.

It understands a handful of English phrases and is honest about it. Instructions and temperature
mean nothing to it; tools, tool choice and the output limit do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import orjson
import trio
from attrs import define, field

from trio_bridge.messages import ResponseRequest
from trio_bridge.nodes.answering import (
    Finish,
    Give,
    Piece,
    Text,
    ToolDelta,
    ToolDone,
    content_text,
    estimate_usage,
)
from trio_bridge.nodes.number_words import find_numbers, say_number
from trio_bridge.nodes.tool_arguments import ArgumentFiller
from trio_bridge.nodes.tool_choice import Turn, choose_calls, name_words

Json = dict[str, Any]

COUNT_MAX: Final = 200
"""Numbers it will count at most: about two and a half minutes of speech."""

HEARD_MAX: Final = 400
"""Characters it repeats of what it heard."""

INTRODUCTION: Final = (
    " I am the built-in responder. To talk to a language model, set TRIO_BRIDGE_LLM_URL."
)
NOT_HEARD: Final = "Sorry, I did not catch that. Could you say it again?"
ABILITIES: Final = (
    "I can tell the time and the date, count, repeat what you say,"
    " and call the tools of this session."
)

_GREETING = re.compile(r"^(hello|hi|hey|good (morning|afternoon|evening))\b", re.IGNORECASE)
_HELP = re.compile(r"\b(help|what can you do|who are you)\b", re.IGNORECASE)
_COUNT = re.compile(r"\bcount\b", re.IGNORECASE)
_TIME = re.compile(r"\b(what time|the time|time is it)\b", re.IGNORECASE)
_DATE = re.compile(r"\b(the date|today|what day|which day|what date)\b", re.IGNORECASE)


def local_now() -> datetime:
    """The time where this machine is."""
    return datetime.now().astimezone()


@define
class Responder:
    """Answers at once, from rules."""

    now: Callable[[], datetime] = field(default=local_now)

    async def answer(self, request: ResponseRequest, give: Give) -> Finish:
        """See `Answerer.answer`. A word counts as a token for `max_output_tokens`."""
        await trio.lowlevel.checkpoint()
        left = request.max_output_tokens
        given = []
        finish = Finish()
        for piece in respond(request, self.now()):
            if isinstance(piece, Text):
                if left is not None and left <= 0:
                    finish = Finish("incomplete", "max_output_tokens")
                    break
                left = None if left is None else left - 1
            given.append(piece.text if isinstance(piece, Text) else piece.arguments)
            give(piece)
        return Finish(finish.status, finish.reason, estimate_usage(request, given))


def respond(request: ResponseRequest, now: datetime) -> Iterator[Piece]:
    """What to answer, a word or a call at a time. Pure: same in, same out, but for call ids."""
    heard = _heard(request)
    turn = Turn.of(request)
    # An output without its call was wanted from somewhere: nothing is called on top of it.
    known = all(name for name, _ in turn.answers)
    calls = choose_calls(request, heard or "", turn.called) if known else []
    if calls:
        for tool, said in calls:
            yield from _call(tool, said, now)
    elif turn.answers:
        yield from _say(request, _results(turn.answers))
    else:
        yield from _say(request, _reply(heard, now))


def _heard(request: ResponseRequest) -> str | None:
    """The words of the latest user message; None if there has been none."""
    for item in reversed(request.items):
        if item.get("type") == "message" and item.get("role") == "user":
            return content_text(item)
    return None


def _reply(heard: str | None, now: datetime) -> str:
    if heard is None:
        return "Hello! I am listening."
    if not re.search(r"\w", heard):
        return NOT_HEARD
    if _COUNT.search(heard):
        return _count(heard)
    if _TIME.search(heard):
        return f"It is {now.hour % 12 or 12}:{now:%M} {now:%p}."
    if _DATE.search(heard):
        return f"Today is {now:%A}, {now.day} {now:%B} {now.year}."
    if _HELP.search(heard):
        return ABILITIES
    if _GREETING.search(heard):
        return "Hello! What can I do for you?"
    return f"You said: {heard[:HEARD_MAX].rstrip(' .')}."


def _count(heard: str) -> str:
    numbers = [int(number) for number in find_numbers(heard)]
    match numbers:
        case []:
            first, last = 1, 10
        case [last]:
            first = 1
        case [first, last, *_]:
            pass
    if re.search(r"\b(down|backwards?)\b", heard, re.IGNORECASE) and first < last:
        first, last = last, first
    step = 1 if last >= first else -1
    counted = range(first, last + step, step)[:COUNT_MAX]
    # A sentence for every ten, as one would take breath.
    tens = [counted[start : start + 10] for start in range(0, len(counted), 10)]
    return " ".join(", ".join(map(say_number, ten)).capitalize() + "." for ten in tens)


def _say(request: ResponseRequest, text: str) -> Iterator[Text]:
    if not any(item.get("role") == "assistant" for item in request.items):
        text += INTRODUCTION
    for word in re.findall(r"\s*\S+", text):
        yield Text(word)


def _results(answers: Sequence[tuple[str, Any]]) -> str:
    """What the tools answered; with several, which of them did."""
    if len(answers) == 1:
        return f"The answer is: {_in_words(answers[0][1])}."
    words = (" ".join(name_words(name)) or "another tool" for name, _ in answers)
    return " ".join(
        f"For {name}, the answer is: {_in_words(output)}."
        for name, (_, output) in zip(words, answers, strict=True)
    )


def _in_words(output: Any) -> str:
    """A tool's output as it can be spoken: JSON loses its brackets and quotes."""
    text = str(output if output is not None else "").strip()
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text
    return (_flat(found) or "nothing")[:HEARD_MAX].rstrip(" .")


def _flat(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(
                f"{key} {_flat(one)}".replace("_", " ") for key, one in value.items()
            )
        case list():
            return ", ".join(map(_flat, value))
        case bool():
            return "yes" if value else "no"
        case None:
            return "nothing"
        case _:
            return str(value)


def _call(tool: Json, heard: str, now: datetime) -> Iterator[Piece]:
    schema = tool.get("parameters")
    filler = ArgumentFiller(schema if isinstance(schema, dict) else {}, heard, now)
    call_id = f"call_{uuid4().hex[:24]}"
    arguments = orjson.dumps(filler.fill()).decode()
    yield ToolDelta(call_id, tool["name"], arguments)
    yield ToolDone(call_id, tool["name"], arguments)
