"""The end of a dataflow on its ground."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import trio
from attrs import define, field
from trio.testing import MockClock

from trio_bridge.dora.descriptors.descriptor import Descriptor
from trio_bridge.dora.instances.deployment import Deployment
from trio_bridge.dora.runtimes.ground import Ground


@define
class StoppingGround:
    """Takes its time over each stop."""

    directory: Path = Path("/nowhere")
    failure: str | None = None
    takes: float = 0.1
    stops: list[str] = field(factory=list)

    async def stop(self, name: str) -> tuple[str, str] | None:
        self.stops.append(name)
        await trio.sleep(self.takes)
        return "asr", "exited with code 1"

    def log(self, node: str, descriptor: Path) -> str:
        return f"{node}: no model"


def deployed(ground: StoppingGround) -> Deployment:
    descriptor = cast("Descriptor", type("Flow", (), {"name": "flow"}))
    return Deployment("one", descriptor, cast("Ground", ground))


async def test_it_is_stopped_once(autojump_clock: MockClock) -> None:
    """Why it did not start is asked for first; then it ends like all others."""
    ground = StoppingGround()
    deployment = deployed(ground)
    error = await deployment.stop_and_explain(
        silent=None, fault=None, error=None, timed_out=False
    )
    assert str(error) == "node 'asr' failed: exited with code 1"
    assert await deployment.stop() is None
    assert ground.stops == ["one"]


async def test_a_stop_that_is_cut_short_is_made_up_for(autojump_clock: MockClock) -> None:
    ground = StoppingGround(takes=math.inf)
    deployment = deployed(ground)
    with trio.move_on_after(1):
        await deployment.stop()
    ground.takes = 0.1
    assert await deployment.stop() == ("asr", "exited with code 1")
    assert ground.stops == ["one", "one"]


async def test_where_nothing_runs_any_more_nothing_is_stopped() -> None:
    ground = StoppingGround(failure="the daemon has died")
    assert await deployed(ground).stop() is None
    assert not ground.stops
