"""YAML that is refused before anything is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trio_bridge.dora.descriptors.document import MOST_LEVELS, MOST_VALUES, read_document
from trio_bridge.errors import DataflowError

TENFOLD = "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
    for before, name in zip("abcde", "bcdef", strict=True)
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "flow.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodes: []\nenv: {}\nnodes: []", ", line 3: the key 'nodes' is there twice"),
        ("nodes:\n - {id: a, inputs: {a: b, a: c}}", ", line 2: the key 'a' is there twice"),
        ("nodes: " + "[" * 9000, f", line 1: it is nested more than {MOST_LEVELS} levels deep"),
        ("nodes: " + "[" * 60 + "]" * 60, f"nested more than {MOST_LEVELS} levels deep"),
        ("nodes: &x\n  - *x", ", line 1: an alias stands in what it is an alias of"),
        (f"a: &a [1]\n{TENFOLD}\nnodes: *f", f"it has more than {MOST_VALUES} values"),
        ('nodes:\n  - "\\0"', ", line 2: there is a text with a null character"),
        ("a: 1\n\tb: 2", " is not YAML, line 2: found character"),
        ("nodes: [", " is not YAML, line 1: "),
        ("? [a]\n: 1", " is not YAML, line 1: found unhashable key"),
        ("a: 9999-99-99\nnodes: {}", "has no list of nodes"),
        ("a: !!timestamp 9999-99-99\nnodes: []", " is not YAML: "),
        ("- a", "has no list of nodes"),
        ("", "has no list of nodes"),
        (b"\xff\xfe\xfd", "cannot be read: "),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataflowError) as caught:
        read_document(path)
    assert f"the dataflow {path}" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_read(tmp_path: Path) -> None:
    """A mark of the encoding, a date as it stands there, what is repeated or changed."""
    text = "\ufeffd: &d {a: 2024-01-01, b: 1}\nnodes: [*d, {<<: *d, b: 2}]"
    one = {"a": "2024-01-01", "b": 1}
    assert read_document(written(tmp_path, text))["nodes"] == [one, {**one, "b": 2}]
