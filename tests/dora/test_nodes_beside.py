"""A real dataflow with nodes of other people's beside the bridge's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio
import yaml

from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.descriptors.dataflow_file import find_dataflow
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.errors import DataflowError
from trio_bridge.messages import AudioDelta, InputAudio

pytestmark = pytest.mark.e2e

CRASHES = """
import sys
from dora import Node
for event in Node():
    if event["type"] == "INPUT":
        sys.exit(3)
"""
OPERATOR = """
from dora import DoraStatus
class Operator:
    def on_event(self, event, send_output):
        return DoraStatus.CONTINUE
"""


def written(folder: Path, *nodes: object) -> DoraSettings:
    document = yaml.safe_load(find_dataflow("echo").read_text())
    document["nodes"] += nodes
    (folder / "crashes.py").write_text(CRASHES)
    (folder / "eye.py").write_text(OPERATOR)
    flow = folder / "flow.yml"
    flow.write_text(yaml.safe_dump(document))
    return DoraSettings(str(flow), max_instances=1)


async def test_what_becomes_of_them_does_sessions_no_harm(tmp_path: Path) -> None:
    """One hears what the bridge's node says and crashes; one is an operator."""
    sound = {"source": "echo/answer", "queue_size": 1}
    settings = written(
        tmp_path,
        {"id": "recorder", "path": "crashes.py", "inputs": {"sound": sound}},
        {
            "id": "eye",
            "operator": {"python": "eye.py", "inputs": {"t": "dora/timer/millis/100"}},
        },
    )
    async with open_dora_backend(settings) as backend:
        (instance,) = backend.instances
        deployment = instance._deployment

        def running() -> set[str]:
            return set(deployment.ground.processes.pids(deployment._file))

        async with backend.session("s") as session:
            session.send(InputAudio(np.zeros(320, np.float32)))
            with trio.fail_after(5):
                while running() != {"echo", "eye"}:  # noqa: ASYNC110  Dora tells nobody
                    await trio.sleep(0.02)
                session.send(InputAudio(np.full(320, 0.5, np.float32)))
                async for event in session.events:
                    if isinstance(event, AudioDelta) and event.samples.max() > 0.4:
                        break
        assert instance.warm


async def test_one_that_never_attaches_is_named(tmp_path: Path) -> None:
    """Dora lets no node begin before all are there, and fails them all."""
    settings = written(tmp_path, {"id": "camera", "path": "python", "args": "-c pass"})
    with pytest.raises(DataflowError, match="node 'camera' failed: exited before") as caught:
        async with open_dora_backend(settings):
            """It does not come up."""
    assert caught.value.node == "camera"
