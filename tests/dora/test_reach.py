"""How far pings have come, and whom a dataflow waits for."""

from __future__ import annotations

from trio_bridge.dora.descriptors.dataflow_file import find_dataflow, read_descriptor
from trio_bridge.dora.instances.reach import Reach

ECHO = read_descriptor(find_dataflow("echo"))


def reach() -> Reach:
    return Reach({(node, "") for node in ECHO.nodes} | ECHO.reached())


async def test_all_is_reached_when_every_input_is() -> None:
    waiting = reach()
    for node, input_id in sorted(ECHO.reached()):
        assert not waiting.all.is_set()
        waiting.reached(node, input_id)
    assert waiting.all.is_set()
    waiting.reached("echo", "listen")


async def test_the_silent_node_is_one_that_has_said_nothing() -> None:
    waiting = reach()
    assert waiting.silent(ECHO) == "echo"
    waiting.reached("echo", "")
    # It lives, but nothing comes back from it.
    waiting.reached("echo", "listen")
    assert waiting.silent(ECHO) == "echo"
    for node, input_id in ECHO.reached():
        waiting.reached(node, input_id)
    assert waiting.silent(ECHO) is None
