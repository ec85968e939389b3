"""One instance, as `GET /health` shows it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.dora.test_node_config import environment

from trio_bridge.dora.contract import Ack
from trio_bridge.dora.descriptors.node_config import read_node_config
from trio_bridge.dora.instances.condition import MOST_NOTED
from trio_bridge.dora.instances.conduct import NOTES_AT_ONCE
from trio_bridge.dora.instances.instance import Instance
from trio_bridge.dora.joined import JoinedDora
from trio_bridge.dora.node_events import Batch


async def test_an_instance_that_finds_the_disk_full_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a bridge that tries again and again gathers folders."""

    def full(path: Path, _: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    instance = Instance("x", 1, read_node_config(environment()), JoinedDora(tmp_path))
    with pytest.raises(OSError, match="No space left"):
        await instance.run(1.0)
    assert not list(tmp_path.iterdir())


async def test_what_its_nodes_get_wrong_is_counted(tmp_path: Path) -> None:
    """Messages that were lost, and those that could not be used, each by themselves."""
    instance = Instance("x", 1, read_node_config(environment()), JoinedDora(tmp_path))
    instance._condition.bad_message("echo", "no row")
    instance._condition.bad_message("echo", "no row")
    instance._condition.missing(3, "echo", "answer")
    status = instance.status("warm")
    assert (status["badMessages"], status["lostMessages"]) == (2, 3)


async def test_news_of_its_nodes_is_logged(tmp_path: Path) -> None:
    """From a node that goes on; more than there can be of news is left out."""
    instance = Instance("x", 1, read_node_config(environment()), JoinedDora(tmp_path))
    told = Ack("echo", "", -1, 0, 0, 1, note="a worker died" + "!" * 2 * MOST_NOTED)
    quiet = Ack("echo", "", -1, 0, 0, 1)
    with capture_logs() as logs:
        for _ in range(1000):
            instance._dialogue.take(Batch("ack-echo", [told, quiet]))
    assert len(logs) == NOTES_AT_ONCE
    assert logs[0]["log_level"] == "warning"
    assert logs[0]["node"] == "echo"
    assert logs[0]["note"].startswith("a worker died!")
    assert len(logs[0]["note"]) == MOST_NOTED
