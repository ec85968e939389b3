"""How finished what somebody says sounds, judged from the words alone.

A recogniser's words are all there is: lower case, no punctuation, the last ones perhaps wrong.
So nothing is parsed. The end of the sentence is looked at first, since that is where English
says that more is to come (`and`, `the`, `my number is five five`), then its beginning, since
that is where it says what would complete it. Rules stand in order, the first that knows wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from attrs import frozen

Rule = Callable[["_Sentence"], float | None]

UNFINISHED: Final = 0.0
"""Nobody stops here: `and`, `um`, `the`, a number half dictated."""

HARDLY: Final = 0.2
"""Few sentences end here, or a recogniser might have misheard the end: `with`, `they`."""

UNDECIDED: Final = 0.5
"""As likely as not; also what there is to say while no word has been understood."""

LIKELY: Final = 0.8
"""Nothing is missing, though more could follow."""

FINISHED: Final = 1.0
"""A question, an order, a closing: it is the other's turn."""


def how_finished(text: str, language: str | None = None) -> float | None:
    """How finished an utterance sounds, from 0 (it goes on) to 1 (it is over).

    Args:
        text: All its words so far, as a recogniser gives them.
        language: As the session names it (`en`, `en-GB`, `de`); None for English.

    Returns:
        The judgement; None for a language of which nothing is known.
    """
    if language and not _ENGLISH.match(language):
        return None
    words = _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    if not words:
        return UNDECIDED
    sentence = _Sentence(tuple(words))
    judged = (rule(sentence) for rule in _RULES)
    return next((score for score in judged if score is not None), LIKELY)


_ENGLISH = re.compile(r"en(g|glish)?(?![a-z])", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# --- words ----------------------------------------------------------------------------------

_FILLERS = _set("um uh uhm umm uhh er erm ah hmm mm mmm")
_OPENERS = _set("so well okay ok now then and but please hey hi hello oh yes yeah no alright")

_JOINING = _set(
    "and or but because cause if unless until while whereas although though since whether "
    "that's because than as plus nor"
)
_LEADING = _set(
    "a an the my your our their its every each another these those very quite rather extremely "
    "i he let's i'm you're we're they're i'll you'll we'll they'll he'll she'll it'll i'd we'd "
    "they'd he'd i've you've we've they've gonna wanna gotta whose"
)
_TRAILING = _set(
    "to of for with from at by into onto about between during without within toward towards "
    "against among per via like regarding "
    "we they is are was were be been am will would can could should may might must shall "
    "do does did have has had isn't aren't wasn't don't doesn't didn't won't can't couldn't "
    "shouldn't wouldn't not some his "
    "who what which where when why how maybe perhaps basically actually usually also just only "
    "both either neither even so called named it's that's there's what's where's who's he's "
    "she's"
)
_PARTICLES = _set("on off in out up down over back away around through along")

_WH = _set("what who whom whose which where when why how")
_WH_IS = _set("what's who's where's when's how's why's what're who're")
_AUXILIARIES = _set(
    "is are was were am do does did have has had will would can could should may might must "
    "shall isn't aren't wasn't weren't don't doesn't didn't haven't hasn't won't wouldn't "
    "can't couldn't shouldn't"
)
_BEING = _set("is are was were isn't aren't wasn't weren't")
_PERSONS = _set("i you he she it we they")
_SUBJECTS = _PERSONS | _set("this that there these those")
_STRANDED = _set("to of for with from at by into about like on in")
_SUBORDINATING = _set("if when whenever because while although though unless until once since")

_DIGITS = _set("zero oh o one two three four five six seven eight nine double triple nought")
_COUNTS = _DIGITS | _set(
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty "
    "thirty forty fifty sixty seventy eighty ninety hundred thousand"
)
_NUMBERED = _set("number code pin zip postcode phone telephone account card digits password")

_REPLIES = _set(
    "yes yeah yep no nope okay ok sure right exactly correct hello hi hey oh absolutely great "
    "perfect never nothing"
)
_CLOSINGS = _set("okay ok thanks please bye goodbye stop cancel enough help continue")
_CLOSING_PHRASES = re.compile(
    r"\b(thank you( (so|very) much)?|thanks( a lot)?|(good|all) (night|morning|right|bye)"
    r"|that's (it|all|right|fine|everything)|that (is|will be) all|of course|go ahead"
    r"|(why|maybe|course|probably|definitely|absolutely|certainly) not|never mind"
    r"|no problem|not at all|see you( \w+)?|(think|hope|guess|suppose) so|for now"
    r"|yes (i|it|we|they) \w+|no (i|it|we|they) (\w+n't|\w+ not))$"
)
_HOLDING = re.compile(
    r"\b(hold on|hang on|wait|(just )?a (moment|second|minute)|one (moment|second|minute)"
    r"|let me (see|think|check|look)|i (mean|guess|think|suppose)|you know|kind of|sort of"
    r"|for example|such as|and then|in order|(i|we|you)('d| would) like|(i|we) (want|need)"
    r"|tell me|how about|what about|(can|could|would|will) (you|i|we)( please)?|(do|did) you)$"
)
_PHRASAL = _set(
    "turn switch come go log sign get pick put shut close wake give hang sit stand slow speed "
    "back move write look bring take check hurry carry calm run start lie"
)
_ORDERS = re.compile(r"^(please|can you|could you|would you|will you|just|now|then|and|you) ")


@frozen
class _Sentence:
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def last(self) -> str:
        return self.words[-1]

    @property
    def core(self) -> tuple[str, ...]:
        """The words after `well`, `okay so` and their like."""
        at = 0
        while at < len(self.words) - 1 and self.words[at] in _OPENERS | _FILLERS:
            at += 1
        return self.words[at:]

    @property
    def asks_for_something(self) -> bool:
        """Whether it begins as `what`, `where` and `how` questions do."""
        core = self.core
        if core[0] in _WH_IS:
            return True
        # `When I get home` begins no question; `what colour is it` and `how many are` do.
        begins = core[0] in _WH and core[1:2] != () and core[1] not in _PERSONS
        return begins and any(word in _AUXILIARIES for word in core[1:4])

    @property
    def asks(self) -> bool:
        core = self.core
        inverted = len(core) > 1 and core[0] in _AUXILIARIES and core[1] not in _AUXILIARIES
        return inverted or self.asks_for_something


# --- rules ----------------------------------------------------------------------------------


def _searching_for_words(sentence: _Sentence) -> float | None:
    if sentence.last in _FILLERS or _HOLDING.search(sentence.text):
        return UNFINISHED
    return None


def _dictating(sentence: _Sentence) -> float | None:
    """Digits one by one, or what was announced as a number: nobody knows how long it gets."""
    run = list(takewhile(_is_digits, reversed(sentence.words)))
    if sum(len(word) if word.isdecimal() else 1 for word in run) >= _LONGEST_NUMBER:
        return UNDECIDED
    announced = any(word in _NUMBERED for word in sentence.words)
    if len(run) > 2 or (announced and (run or sentence.last in _COUNTS)):
        return UNFINISHED
    if sentence.asks:
        return None
    if len(run) == 2:
        return UNFINISHED
    return HARDLY if sentence.last in {"number", "code", "pin", "zip"} else None


_LONGEST_NUMBER: Final = 10
"""Digits of a telephone number: one more may come, but need not."""


def _is_digits(word: str) -> bool:
    return word.isdecimal() or word in _DIGITS


def _closing(sentence: _Sentence) -> float | None:
    closed = sentence.last in _CLOSINGS or _CLOSING_PHRASES.search(sentence.text)
    return FINISHED if closed or _REPLIES.issuperset(sentence.words) else None


def _ends_as_questions_do(sentence: _Sentence) -> float | None:
    """`Where are you from`, `who is he`, `do you know what time it is`: at the end of a
    question words may stand that end nothing else."""
    core = sentence.core
    if len(core) < 2:
        return None
    before, last = core[-2], core[-1]
    if last in _SUBJECTS and before in _BEING | _WH_IS:
        return FINISHED if len(core) > 2 or before in _WH_IS else UNDECIDED
    if last in _SUBJECTS and before in _AUXILIARIES:
        return HARDLY
    if last in _STRANDED and sentence.asks_for_something:
        free = before in _SUBJECTS | {"come", "go", "up"} or before.endswith("ing")
        return LIKELY if free else HARDLY
    embedded = any(word in _WH for word in core[1:-2])
    return LIKELY if embedded and before in _SUBJECTS and last in _BEING else None


def _ends_in_a_particle(sentence: _Sentence) -> float | None:
    if sentence.last not in _PARTICLES:
        return None
    order = _ORDERS.sub("", " ".join(sentence.core)).split()
    return LIKELY if order and order[0] in _PHRASAL else UNDECIDED


def _leads_on(sentence: _Sentence) -> float | None:
    if sentence.last in _JOINING | _LEADING:
        return UNFINISHED
    return HARDLY if sentence.last in _TRAILING else None


def _condition(sentence: _Sentence) -> float | None:
    """`If it rains tomorrow`: what then?"""
    core = sentence.core
    if core[0] not in _SUBORDINATING or sentence.asks:
        return None
    clauses = sum(word.partition("'")[0] in _SUBJECTS for word in core)
    return HARDLY if clauses < 2 and "then" not in core and len(core) < _ONE_CLAUSE else None


_ONE_CLAUSE: Final = 8
"""Words in which a condition alone finds room."""


def _asking(sentence: _Sentence) -> float | None:
    if sentence.asks:
        return FINISHED if len(sentence.core) > 2 else UNDECIDED
    return None


def _too_short(sentence: _Sentence) -> float | None:
    """One or two words may be all, or the beginning of anything."""
    return UNDECIDED if len(sentence.core) < 3 else None


_RULES: Final[tuple[Rule, ...]] = (
    _searching_for_words,
    _dictating,
    _closing,
    _ends_as_questions_do,
    _ends_in_a_particle,
    _leads_on,
    _condition,
    _asking,
    _too_short,
)
