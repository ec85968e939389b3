"""The order of events, as a grammar for each dialect, and a reader that follows it event by
event.

A session is not one sentence but many, spoken at once: one per response, one per item, one per
transcript. Each of them is read on its own; `witness.py` tells which event belongs to which.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias

from attrs import define, field, frozen

from trio_bridge.realtime.wire import Dialect

GA: Final = """
response   = response.created
             (response.output_item.added | response.output_item.done)*
             response.done rate_limits.updated

message    = response.output_item.added conversation.item.added
             response.content_part.added (text | speech) response.content_part.done
             conversation.item.done response.output_item.done
call       = response.output_item.added conversation.item.added
             arguments
             conversation.item.done response.output_item.done

message_aside = response.output_item.added
             response.content_part.added (text | speech) response.content_part.done
             response.output_item.done
call_aside = response.output_item.added arguments response.output_item.done

text       = response.output_text.delta* response.output_text.done
speech     = (response.output_audio_transcript.delta | response.output_audio.delta)*
             response.output_audio.done response.output_audio_transcript.done
arguments  = response.function_call_arguments.delta*
             response.function_call_arguments.done?

turn       = (input_audio_buffer.speech_started input_audio_buffer.speech_stopped?
               | input_audio_buffer.timeout_triggered)?
             input_audio_buffer.committed
             conversation.item.added conversation.item.done
given      = conversation.item.added conversation.item.done

transcript = conversation.item.input_audio_transcription.delta*
             (conversation.item.input_audio_transcription.completed
               | conversation.item.input_audio_transcription.failed)
"""

BETA: Final = """
response   = response.created
             (response.output_item.added | response.output_item.done)*
             response.done rate_limits.updated

message    = response.output_item.added conversation.item.created
             response.content_part.added (text | speech) response.content_part.done
             response.output_item.done
call       = response.output_item.added conversation.item.created
             arguments
             response.output_item.done

message_aside = response.output_item.added
             response.content_part.added (text | speech) response.content_part.done
             response.output_item.done
call_aside = response.output_item.added arguments response.output_item.done

text       = response.text.delta* response.text.done
speech     = (response.audio_transcript.delta | response.audio.delta)*
             response.audio.done response.audio_transcript.done
arguments  = response.function_call_arguments.delta*
             response.function_call_arguments.done?

turn       = (input_audio_buffer.speech_started input_audio_buffer.speech_stopped?)?
             input_audio_buffer.committed conversation.item.created
given      = conversation.item.created

transcript = conversation.item.input_audio_transcription.delta*
             (conversation.item.input_audio_transcription.completed
               | conversation.item.input_audio_transcription.failed)
"""


class OutOfOrder(AssertionError):
    """An event came where the grammar has no place for it."""


@define
class Reading:
    """One sentence of the grammar, as far as it has been read."""

    rule: str
    dialect: Dialect = "ga"
    words: list[str] = field(factory=list, init=False)
    _rest: Node = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rest = _grammar(self.dialect)[self.rule]

    def read(self, word: str) -> None:
        """Take the next event's type.

        Raises:
            OutOfOrder: It cannot stand here.
        """
        rest = _after(self._rest, word)
        if rest is NEVER:
            can = sorted(_firsts(self._rest)) or ["nothing"]
            raise OutOfOrder(f"{self.rule}: {word} after {self.words}; here can be {can}")
        self.words.append(word)
        self._rest = rest

    @property
    def complete(self) -> bool:
        """Whether the sentence may end here."""
        return _may_end(self._rest)


# --- regular expressions over words, read by taking off one word at a time -----------------
# (Brzozowski's derivatives: what may follow a word is again such an expression.)


@frozen
class Never:
    """Matches nothing, not even nothing."""


@frozen
class Nothing:
    """Matches the end."""


@frozen
class Word:
    name: str


@frozen
class Both:
    """One after the other."""

    first: Node
    then: Node


@frozen
class Either:
    one: Node
    other: Node


@frozen
class Many:
    """Any number of it."""

    each: Node


Node: TypeAlias = Never | Nothing | Word | Both | Either | Many

NEVER: Final = Never()
NOTHING: Final = Nothing()


def _both(first: Node, then: Node) -> Node:
    if NEVER in (first, then):
        return NEVER
    if first == NOTHING:
        return then
    return Both(first, then)


def _either(one: Node, other: Node) -> Node:
    if one in (NEVER, other):
        return other
    return one if other == NEVER else Either(one, other)


def _may_end(node: Node) -> bool:
    match node:
        case Nothing() | Many():
            return True
        case Both(first, then):
            return _may_end(first) and _may_end(then)
        case Either(one, other):
            return _may_end(one) or _may_end(other)
        case _:
            return False


@lru_cache(maxsize=4096)
def _after(node: Node, word: str) -> Node:
    match node:
        case Word(name):
            return NOTHING if name == word else NEVER
        case Both(first, then):
            rest = _both(_after(first, word), then)
            return _either(rest, _after(then, word)) if _may_end(first) else rest
        case Either(one, other):
            return _either(_after(one, word), _after(other, word))
        case Many(each):
            return _both(_after(each, word), node)
        case _:
            return NEVER


def _firsts(node: Node) -> set[str]:
    match node:
        case Word(name):
            return {name}
        case Both(first, then):
            return _firsts(first) | (_firsts(then) if _may_end(first) else set())
        case Either(one, other):
            return _firsts(one) | _firsts(other)
        case Many(each):
            return _firsts(each)
        case _:
            return set()


# --- from text to expressions --------------------------------------------------------------

_TOKEN = re.compile(r"[\w.]+|[()|*?=]")


@lru_cache(maxsize=2)
def _grammar(dialect: Dialect) -> dict[str, Node]:
    text = GA if dialect == "ga" else BETA
    bodies = re.split(r"(?m)^(\w+)\s*=", text)[1:]
    rules = dict(zip(bodies[::2], (_TOKEN.findall(body) for body in bodies[1::2]), strict=True))
    return {name: _Parser(rules, list(body)).alternatives() for name, body in rules.items()}


@define
class _Parser:
    """Alternatives of sequences of words, rules and groups, each perhaps with `*` or `?`."""

    _rules: dict[str, list[str]]
    _tokens: list[str]

    def alternatives(self) -> Node:
        node = self._sequence()
        while self._tokens and self._tokens[0] == "|":
            self._tokens.pop(0)
            node = _either(node, self._sequence())
        return node

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._tokens and self._tokens[0] not in "|)":
            parts.append(self._repeated(self._single()))
        node: Node = NOTHING
        for part in reversed(parts):
            node = part if node == NOTHING else _both(part, node)
        return node

    def _single(self) -> Node:
        token = self._tokens.pop(0)
        if token == "(":  # noqa: S105
            node = self.alternatives()
            assert self._tokens.pop(0) == ")", "a group that does not close"
            return node
        if token in self._rules:
            return _Parser(self._rules, list(self._rules[token])).alternatives()
        return Word(token)

    def _repeated(self, node: Node) -> Node:
        if self._tokens and self._tokens[0] in "*?":
            return Many(node) if self._tokens.pop(0) == "*" else _either(node, NOTHING)
        return node
