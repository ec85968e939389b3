"""What one dataflow is started as: once for each choice of values of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from attrs import define, field

from trio_bridge.dora.template import Values
from trio_bridge.errors import DataflowError

T = TypeVar("T")


@define(eq=False)
class Variants(Generic[T]):
    """Makes a variant when the first session wishes for its values, and keeps it. There are no
    more of them than choices from the lists, whatever clients send.

    Args:
        allowed: The names of values that make a difference → those allowed, the default first.
        make: A variant, of a value for each name.
    """

    _allowed: Mapping[str, Sequence[str]]
    _make: Callable[[Values], T]
    _made: dict[tuple[str, ...], T] = field(factory=dict, init=False)

    def chosen(self, wishes: Mapping[str, str]) -> T:
        """The variant for a session: of the values it wishes for, where they are allowed."""
        values = {
            name: wish if (wish := wishes.get(name, "")) in allowed else allowed[0]
            for name, allowed in self._allowed.items()
        }
        key = tuple(values.values())
        if key not in self._made:
            self._made[key] = self._make(values)
        return self._made[key]

    @property
    def made(self) -> tuple[T, ...]:
        """All that there are, in the order in which they were first wished for."""
        return tuple(self._made.values())


def allowed_for(
    wanted: Iterable[str], listed: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """What the settings allow of the values that a dataflow asks for.

    Raises:
        DataflowError: One of them is not in the settings.
    """
    allowed = {}
    for name in sorted(wanted):
        if name not in listed:
            raise DataflowError(
                f"the dataflow asks for session.{name}: its values must be listed as {name!r} "
                "in the settings, under session_values"
            )
        allowed[name] = listed[name]
    return allowed
