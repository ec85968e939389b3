"""The voice server inside somebody else's Trio program, with the default Dora dataflow.

The program starts the server beside a task of its own, which prints who is talking, and
stops it after the given number of seconds (default: runs until Ctrl-C):

    python examples/embedded.py 60
"""

from __future__ import annotations

import math
import sys

import trio

import trio_bridge
from trio_bridge.settings import ServerSettings, Settings


async def watch(bridge: trio_bridge.Bridge) -> None:
    """Say how many sessions there are whenever that changes."""
    before = -1
    while True:
        if len(bridge.sessions) != before:
            before = len(bridge.sessions)
            print(before, "session(s)", flush=True)
        await trio.sleep(0.5)


async def main(seconds: float) -> None:
    settings = Settings(server=ServerSettings(port=0))
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            bridge = await nursery.start(trio_bridge.serve, settings)
            print("talk to", bridge.url, flush=True)
            nursery.start_soon(watch, bridge)


if __name__ == "__main__":
    try:
        trio.run(main, float(sys.argv[1]) if len(sys.argv) > 1 else math.inf)
    except* KeyboardInterrupt:
        print("bye")
