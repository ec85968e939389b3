"""Whether coordinator or daemon still answer: one that hangs is as good as dead.

What they are asked is nothing: a connection on which all has been said at once, which both end
in their turn, 0.5 ms later. Neither writes a line about it.
"""

from __future__ import annotations

import trio

INTERVAL = 1.0
"""Seconds between two questions."""

PATIENCE = 2.5
"""Seconds for an answer, on machines without time for anything as well."""

_STEP = 0.25


async def answers(port: int) -> bool:
    """Whether a process of this machine that listens at a port still does anything. One that
    has ended hangs no longer.

    Time in which this process has stood still is not counted: then the machine has, or all that
    runs on it has too little of it.
    """
    answered = trio.Event()
    waited = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask, port, answered)
        while waited < PATIENCE and not answered.is_set():
            began = trio.current_time()
            with trio.move_on_after(_STEP):
                await answered.wait()
            if trio.current_time() - began < 2 * _STEP:
                waited += _STEP
        nursery.cancel_scope.cancel()
    return answered.is_set()


async def _ask(port: int, answered: trio.Event) -> None:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_eof()
            while await stream.receive_some():
                pass
    except (OSError, trio.BrokenResourceError):
        # It has ended, which others notice; or we have no more files, which says nothing.
        pass
    answered.set()
