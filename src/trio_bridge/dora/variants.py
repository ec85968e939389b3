"""What a dataflow may be started as: one variant for each choice of values of a session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from trio_bridge.errors import DataflowError

Choice: TypeAlias = tuple[tuple[str, str], ...]
"""The values that make a difference, each with its name, in order: what a variant is known by.
Empty for a dataflow that asks for none."""


def choose(allowed: Mapping[str, Sequence[str]], wishes: Mapping[str, str]) -> Choice:
    """The choice for a session: of the values it wishes for, where they are allowed. There are
    no more choices than the lists give, whatever clients send.

    Args:
        allowed: The names of values that make a difference → those allowed, the default first.
        wishes: Names → what a session would like.
    """
    return tuple(
        (name, wish if (wish := wishes.get(name, "")) in values else values[0])
        for name, values in allowed.items()
    )


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
