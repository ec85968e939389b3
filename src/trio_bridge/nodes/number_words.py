"""English numbers, as recognisers write them and people say them."""

from __future__ import annotations

import re
from typing import Final

_DIGITS: Final = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
]
_TEENS: Final = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"]
_UNITS: Final = [*_DIGITS, *_TEENS, "seventeen", "eighteen", "nineteen"]
_TENS: Final = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUES: Final = (
    {word: value for value, word in enumerate(_UNITS)}
    | {word: 10 * (index + 2) for index, word in enumerate(_TENS)}
    | {"hundred": 100, "thousand": 1000}
)
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+")

DIGITS_MAX: Final = 15
"""Longer numbers are passed over: nobody counts that far, and a float could not hold them."""


def find_numbers(text: str) -> list[float]:
    """The numbers in a text, in order: digits (`12`, `1,000`, `3.5`) or words (`forty two`,
    `a hundred and five`, `two thousand`)."""
    found: list[float] = []
    value: int | None = None
    for token in _TOKEN.findall(text.lower()):
        grown = None if value is None else _grown(value, token)
        if grown is None:
            if value is not None:
                found.append(float(value))
            grown = _VALUES.get(token)
            if token[0].isdigit() and len(token) <= DIGITS_MAX:
                found.append(_from_digits(token))
        value = grown
    if value is not None:
        found.append(float(value))
    return found


def _grown(value: int, token: str) -> int | None:
    """The number with one more word of it, or None if the word begins something else."""
    if token == "and":  # noqa: S105  no password
        return value if value and value % 100 == 0 else None
    new = _VALUES.get(token)
    if new is None:
        return None
    if new >= 100:
        return value * new if 0 < value < new else None
    hundreds = value > 0 and value % 100 == 0
    tens = value % 100 >= 20 and value % 10 == 0
    return value + new if hundreds or (tens and 0 < new < 10) else None


def _from_digits(token: str) -> float:
    # A comma before exactly three digits parts thousands, any other is a decimal point.
    whole, _, fraction = re.sub(r",(?=\d{3}(?!\d))", "", token).replace(",", ".").partition(".")
    return float(f"{whole}.{fraction.replace('.', '') or 0}")


def say_number(number: int) -> str:
    """A whole number under a thousand in words; larger ones in digits."""
    if number < 0:
        return f"minus {say_number(-number)}"
    if number < 20:
        return _UNITS[number]
    if number < 100:
        tens, unit = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_UNITS[hundreds]} hundred" + (f" and {say_number(rest)}" if rest else "")
    return f"{number:,}"
