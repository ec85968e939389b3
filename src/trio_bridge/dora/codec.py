"""Rows of the contract ↔ Arrow struct arrays.

A struct array has one child column per field of the row class, in any order. A column that is
missing stands for its field's default, so that a node written against an older contract keeps
working; a column nobody knows is ignored for the same reason.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
import numpy as np
import pyarrow as pa
from attrs import frozen

from trio_bridge.errors import DataflowError

T = TypeVar("T")

SAMPLES = pa.list_(pa.float32())
"""The type of an audio column: mono samples in [-1, 1]."""

_ARROW: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    np.ndarray: SAMPLES,
}
_ACCEPTS: dict[type, Callable[[pa.DataType], bool]] = {
    str: lambda t: bool(pa.types.is_string(t) or pa.types.is_large_string(t)),
    int: lambda t: bool(pa.types.is_integer(t)),
    float: lambda t: bool(pa.types.is_floating(t) or pa.types.is_integer(t)),
    np.ndarray: lambda t: bool(
        (pa.types.is_list(t) or pa.types.is_large_list(t))
        and pa.types.is_floating(t.value_type)
    ),
}
_REQUIRED: Any = object()


class ContractError(DataflowError):
    """A message does not keep the contract."""


@frozen
class _Column:
    name: str
    kind: type
    optional: bool
    default: Any

    @property
    def absent(self) -> Any:
        """What a null stands for."""
        return None if self.default is _REQUIRED else self.default


@cache
def _columns(row_class: type) -> tuple[_Column, ...]:
    attrs.resolve_types(row_class)
    return tuple(_column(row_class, attribute) for attribute in attrs.fields(row_class))


def _column(row_class: type, attribute: attrs.Attribute[Any]) -> _Column:
    union = get_origin(attribute.type) in (Union, types.UnionType)
    members = get_args(attribute.type) if union else (attribute.type,)
    kinds = [get_origin(m) or m for m in members if m is not types.NoneType]
    if len(kinds) != 1 or kinds[0] not in _ARROW:
        raise TypeError(f"{row_class.__name__}.{attribute.name}: no column for this type")
    default = _REQUIRED if attribute.default is attrs.NOTHING else attribute.default
    return _Column(attribute.name, kinds[0], types.NoneType in members, default)


@cache
def schema(row_class: type) -> pa.StructType:
    """The Arrow type of a port whose rows are `row_class`."""
    return pa.struct(
        [pa.field(c.name, _ARROW[c.kind], nullable=c.optional) for c in _columns(row_class)]
    )


def prepare(row_classes: Iterable[type]) -> None:
    """Send a row of each class to and fro, in this process alone.

    What Arrow and attrs look up on first use takes some 10 ms: better before the first words of
    a session than in the middle of them.
    """
    blank: dict[type, Any] = {str: "", int: 0, float: 0.0, np.ndarray: np.zeros(1, np.float32)}
    for row_class in set(row_classes):
        row = row_class(*(blank[column.kind] for column in _columns(row_class)))
        decode(encode([row]), row_class)


def encode(rows: Sequence[Any], row_class: type | None = None) -> pa.StructArray:
    """Put rows of one class into a struct array, in order.

    Args:
        rows: Instances of one row class of the contract.
        row_class: Needed only where `rows` may be empty.

    Raises:
        ContractError: A value does not fit its column.
    """
    row_class = row_class or type(rows[0])
    arrays = []
    for column in _columns(row_class):
        values = [getattr(row, column.name) for row in rows]
        try:
            if not values or (values[0] is None and all(value is None for value in values)):
                # So are most columns of most messages; this takes a quarter of the time.
                arrays.append(pa.nulls(len(values), _ARROW[column.kind]))
            elif column.kind is np.ndarray:
                arrays.append(_join(values))
            else:
                arrays.append(pa.array(values, _ARROW[column.kind]))
        except (pa.ArrowException, TypeError, ValueError) as exc:
            raise ContractError(f"{row_class.__name__}.{column.name}: {exc}") from exc
    return pa.StructArray.from_arrays(arrays, fields=_fields(row_class))


@cache
def _fields(row_class: type) -> list[pa.Field]:
    return list(schema(row_class))


def _join(values: list[np.ndarray[Any, Any] | None]) -> pa.ListArray:
    # One array of values and its offsets: an element at a time would cost 20 ns a sample.
    parts = [np.asarray(v, np.float32) for v in values if v is not None]
    if any(part.ndim != 1 for part in parts):
        raise ValueError("samples must be one-dimensional")
    lengths = (0 if v is None else len(v) for v in values)
    offsets = np.fromiter(accumulate(lengths, initial=0), np.int32, len(values) + 1)
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
    marked = offsets
    if len(parts) < len(values):
        # A null offset makes a null list. The parameter `mask` would say it plainer, but
        # imports pyarrow.compute: 60 ms in the middle of a session, and memory.
        missing = np.array([v is None for v in values] + [False], dtype=bool)
        marked = pa.array(offsets, mask=missing)
    return pa.ListArray.from_arrays(marked, pa.array(joined))


def decode(array: pa.Array, row_class: type[T]) -> list[T]:
    """Take a struct array apart into rows.

    Sample arrays are copies and belong to whoever gets the row: a view would keep the whole
    message, and Dora's shared memory behind it, alive for as long as one session's audio.

    Raises:
        ContractError: It is no struct array, a column that must be there is not, has another
            type, or holds a null.
    """
    if not isinstance(array, pa.StructArray):
        raise ContractError(
            f"{row_class.__name__}: a struct array is expected, not {array.type}"
        )
    kind: type = row_class
    count = len(array)
    columns: list[list[Any]] = []
    for column, place in _layout(array.type, kind):
        required = column.default is _REQUIRED and not column.optional
        if place is None:
            if required and count:
                raise ContractError(f"{row_class.__name__}.{column.name} is missing")
            columns.append([column.absent] * count)
            continue
        child = array.field(place)
        nulls = child.null_count
        if nulls and required:
            raise ContractError(f"{row_class.__name__}.{column.name} is null")
        if nulls == count:
            columns.append([None if column.optional else column.default] * count)
            continue
        values = _split(child) if column.kind is np.ndarray else child.to_pylist()
        if nulls and not column.optional:
            values = [column.default if value is None else value for value in values]
        columns.append(values)
    return [row_class(*values) for values in zip(*columns, strict=True)]


_Layout: TypeAlias = tuple[tuple[_Column, int | None], ...]
"""The columns of a row class, each with its place in the arrays of a type, if it has one."""

_LAYOUTS: dict[type, tuple[pa.StructType, _Layout]] = {}
"""Row class → the type of its arrays that was seen last, and its layout. A node sends one type
again and again, and a look at each column's name and type took half of the decoding."""


def _layout(struct: pa.StructType, row_class: type) -> _Layout:
    known = _LAYOUTS.get(row_class)
    if known is not None and known[0].equals(struct):
        return known[1]
    places = {each.name: index for index, each in enumerate(struct)}
    layout = tuple((c, _place(struct, row_class, c, places)) for c in _columns(row_class))
    _LAYOUTS[row_class] = (struct, layout)
    return layout


def _place(
    struct: pa.StructType, row_class: type, column: _Column, places: dict[str, int]
) -> int | None:
    place = places.get(column.name)
    if place is None or pa.types.is_null(struct[place].type):
        return None
    found = struct[place].type
    if not _ACCEPTS[column.kind](found):
        where = f"{row_class.__name__}.{column.name}"
        raise ContractError(f"{where} is {found}, not {_ARROW[column.kind]}")
    return place


def _split(child: pa.Array) -> list[np.ndarray[Any, Any] | None]:
    offsets = child.offsets.to_numpy().tolist()
    values = np.asarray(child.values.to_numpy(zero_copy_only=False), np.float32)
    if not child.null_count:
        return [values[start:end].copy() for start, end in pairwise(offsets)]
    # Not `child.is_valid()`: it imports pyarrow.compute, too.
    present = [value.is_valid for value in child]
    return [
        values[start:end].copy() if there else None
        for (start, end), there in zip(pairwise(offsets), present, strict=True)
    ]
