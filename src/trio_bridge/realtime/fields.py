"""Reading a client's JSON object field by field, refusing what does not fit.

A *check* takes a value and its path and returns what the field means, or raises
`ProtocolError` with that path as `param`. Nothing is ever coerced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from trio_bridge.realtime import problems
from trio_bridge.realtime.events import Json

T = TypeVar("T")
D = TypeVar("D")

Check: TypeAlias = Callable[[Any, str], T]


@frozen
class Fields:
    """A JSON object and its path in the event."""

    data: Json
    path: str

    def get(self, name: str, check: Check[T], *, absent: D, null: D) -> T | D:
        """The field `name`, checked.

        Args:
            name: The field's key.
            check: Says what a value means, or refuses it.
            absent: What an absent field means.
            null: What an explicit null means.

        Raises:
            ProtocolError: `check` refused the value.
        """
        if name not in self.data:
            return absent
        value = self.data[name]
        return null if value is None else check(value, self.path_of(name))

    def get_or(self, name: str, check: Check[T], default: D) -> T | D:
        """The field `name`, checked; absent and null both mean `default`.

        Raises:
            ProtocolError: `check` refused the value.
        """
        return self.get(name, check, absent=default, null=default)

    def require(self, name: str, check: Check[T]) -> T:
        """The field `name`, which must be there.

        Raises:
            ProtocolError: It is absent or null, or `check` refused it.
        """
        if self.data.get(name) is None:
            raise problems.missing_field(self.path_of(name))
        return check(self.data[name], self.path_of(name))

    def nested(self, name: str) -> Fields:
        """The object under `name`; an absent or null one reads as empty.

        Raises:
            ProtocolError: It is something other than an object.
        """
        empty: Json = {}
        return Fields(self.get_or(name, an_object, empty), self.path_of(name))

    def path_of(self, name: str) -> str:
        """Where the field `name` stands in the event."""
        return f"{self.path}.{name}"


def a_string(value: Any, path: str) -> str:
    """A string of any length."""
    if not isinstance(value, str):
        raise problems.wrong_type(path, "a string", value)
    return value


def a_name(value: Any, path: str) -> str:
    """A string that is not empty."""
    name = a_string(value, path)
    if not name:
        raise problems.string_too_short(path, 1, 0)
    return name


def a_boolean(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise problems.wrong_type(path, "a boolean", value)
    return value


def an_object(value: Any, path: str) -> Json:
    """A JSON object."""
    if not isinstance(value, dict):
        raise problems.wrong_type(path, "an object", value)
    return value


def an_array_of(check: Check[T], *, at_most: int | None = None) -> Check[tuple[T, ...]]:
    """An array, of `at_most` so many elements, whose every element passes `check`."""

    def array(value: Any, path: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise problems.wrong_type(path, "an array", value)
        if at_most is not None and len(value) > at_most:
            raise problems.too_many_elements(path, at_most, len(value))
        return tuple(check(each, f"{path}[{index}]") for index, each in enumerate(value))

    return array


def one_of(*choices: str) -> Check[str]:
    """One of these strings."""

    def choice(value: Any, path: str) -> str:
        if a_string(value, path) not in choices:
            raise problems.invalid_value(path, value, choices)
        return str(value)

    return choice


def an_integer(low: int, high: int) -> Check[int]:
    """An integer in [low, high]; a boolean is none."""

    def integer(value: Any, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise problems.wrong_type(path, "an integer", value)
        return _in_range(value, path, low, high)

    return integer


def a_number(low: float, high: float) -> Check[float]:
    """A number in [low, high], as a float; a boolean is none."""

    def number(value: Any, path: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise problems.wrong_type(path, "a decimal number", value)
        return float(_in_range(value, path, low, high))

    return number


N = TypeVar("N", int, float)


def _in_range(value: N, path: str, low: N, high: N) -> N:
    if value < low:
        raise problems.number_too_small(path, low, value)
    if value > high:
        raise problems.number_too_large(path, high, value)
    return value
