"""Rows survive the way through Arrow, and what is no row is refused in plain words."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.dora.codec import ContractError, decode, encode
from trio_bridge.dora.contract import ROWS, Ack, Listen, Transcript, port_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SAMPLES = st.lists(st.floats(-1, 1, width=32), max_size=6).map(
    lambda values: np.array(values, np.float32)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False),
    "Float32": SAMPLES,
    "None": st.none(),
}


def rows_of(row_class: type) -> st.SearchStrategy[Any]:
    return st.builds(
        row_class,
        **{
            a.name: st.one_of(
                [VALUES[part] for part in row_class.__annotations__[a.name].split(" | ")]
            )
            for a in attrs.fields(row_class)
        },
    )


def as_plain(row: Any) -> dict[str, Any]:
    values = {a.name: getattr(row, a.name) for a in attrs.fields(type(row))}
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}


@pytest.mark.parametrize("row_class", sorted(set(ROWS.values()), key=str))
def test_rows_come_back_as_they_went(row_class: type) -> None:
    """Any rows of any class, also from the middle of a message."""

    @given(st.lists(rows_of(row_class), max_size=5), st.integers(0, 5))
    def check(rows: list[Any], start: int) -> None:
        array = encode(rows, row_class)
        back: list[Any] = decode(array, row_class)
        assert [as_plain(r) for r in back] == [as_plain(r) for r in rows]
        rest: list[Any] = decode(array.slice(start), row_class)
        assert [as_plain(r) for r in rest] == [as_plain(r) for r in rows[start:]]

    check()


def test_samples_are_the_receivers_own() -> None:
    """Audio does not keep the message it came in alive, and may be written to."""
    (row,) = decode(encode([Listen("s", 0, "audio", np.ones(4, np.float32))]), Listen)
    assert row.samples is not None
    assert row.samples.base is None
    assert row.samples.flags.writeable


def test_missing_columns_stand_for_their_defaults() -> None:
    """A node may leave out what it does not use, and send what nobody knows."""
    array = pa.array([{"session_id": "s", "utterance_id": "u", "event": "final", "x": 1}])
    assert decode(array, Transcript) == [Transcript("s", "u", "final")]


def test_nulls_stand_for_defaults_where_there_is_one() -> None:
    array = pa.array(
        [
            {"session_id": "s", "utterance_id": "u", "event": "final", "text": None},
            {"session_id": "s", "utterance_id": "u", "event": "final", "text": "yes"},
        ]
    )
    assert [row.text for row in decode(array, Transcript)] == ["", "yes"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([1.0]), "struct array is expected, not double"),
        (pa.array([{"session_id": "s", "seq": 0}]), "Listen.op is missing"),
        (pa.array([{"session_id": "s", "seq": "0", "op": "open"}]), "Listen.seq is string"),
        (pa.array([{"session_id": "s", "seq": 0, "op": None}]), "Listen.op is missing"),
        (
            pa.array(
                [
                    {"session_id": "s", "seq": 0, "op": None},
                    {"session_id": "s", "seq": 1, "op": "open"},
                ]
            ),
            "Listen.op is null",
        ),
        (
            pa.array([{"session_id": "s", "seq": 0, "op": "audio", "samples": [1, 2]}]),
            "Listen.samples is list<item: int64>",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(array: pa.Array, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        decode(array, Listen)


def test_a_value_of_the_wrong_type_is_named() -> None:
    with pytest.raises(ContractError, match=r"Ack\.received"):
        encode([Ack("asr", "", "many", 0, 0, 1)])  # type: ignore[arg-type]


def test_suffixes_are_not_part_of_a_port() -> None:
    assert port_of("ack-speech_monitor") == "ack"
    assert port_of("listen") == "listen"


def test_a_row_without_samples_imports_nothing() -> None:
    """`pyarrow.compute` comes in with some innocent calls, and holds a session up for 60 ms."""
    program = (
        "import sys, numpy\n"
        "from trio_bridge.dora import codec, contract\n"
        "codec.prepare(contract.ROWS.values())\n"
        "before = set(sys.modules)\n"
        "rows = [contract.Listen('s', 0, 'open'),\n"
        "        contract.Listen('s', 1, 'audio', numpy.ones(3, numpy.float32))]\n"
        "codec.decode(codec.encode(rows), contract.Listen)\n"
        "sys.exit(' '.join(set(sys.modules) - before))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""
