"""What Dora itself does not take is told in terms of the user's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trio_bridge.dora.descriptors.dataflow_file import find_dataflow, read_descriptor
from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.descriptors.validation import validate, validate_alone
from trio_bridge.errors import DataflowError


def echo(folder: Path, **more: Any) -> Descriptor:
    """The dataflow `echo`, with more keys on its node."""
    document = yaml.safe_load(find_dataflow("echo").read_text())
    for node in document["nodes"]:
        if node["id"] == "echo":
            node.update(more)
    path = folder / "mine.yml"
    path.write_text(yaml.safe_dump(document))
    return read_descriptor(path)


async def test_what_ships_passes(tmp_path: Path) -> None:
    """There is no coordinator to be asked."""
    await validate_alone(read_descriptor(find_dataflow("voice")), tmp_path)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"cpu_affinity": "x"},
            "node 'echo', cpu_affinity: invalid type: string \"x\", expected a sequence",
        ),
        ({"max_log_size": "x"}, "node 'echo', max_log_size: unknown byte size unit: `X`"),
        ({"branch": "x"}, "`git` source required when using branch, tag, or rev"),
    ],
)
async def test_dora_names_nodes_and_keys(
    tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    """And no line of a file that is not the user's."""
    with pytest.raises(DataflowError) as caught:
        await validate_alone(echo(tmp_path, **more), tmp_path)
    assert str(caught.value).startswith("dora does not accept the dataflow: ")
    assert str(caught.value).endswith(words)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "told", "node"),
    [
        ("nodes[1].inputs.a: it is bad", "node 'echo', inputs.a: it is bad", "echo"),
        ("nodes[0]: it is bad", "node 'bridge': it is bad", "bridge"),
        ("nodes[9]: it is bad", "nodes[9]: it is bad", None),
        ("node `bridge-check` is bad", "node `bridge` is bad", None),
        ("Could not resolve `max_log_size` configuration: x", None, None),
    ],
)
async def test_names_for_numbers(
    tmp_path: Path, said: str, told: str | None, node: str | None
) -> None:
    async def dora(file: Path) -> None:
        assert yaml.safe_load(file.read_text())["nodes"]
        raise DataflowError(said)

    with pytest.raises(DataflowError) as caught:
        await validate(echo(tmp_path), tmp_path, dora)
    assert str(caught.value) == (told or said)
    assert caught.value.node == node
