"""Whether coordinator or daemon still answer: one that hangs is as good as dead.

What a coordinator is asked is nothing: a connection on which all has been said at once, which
it ends in its turn, 0.5 ms later. A daemon is asked for a node that is not there. Its main loop
answers that, and not the task that takes connections, so that one which is stuck is noticed as
well. It takes 0.1 ms of its time, and waited for 80 ms at most where nodes flooded it. Neither
writes a line about it.

A coordinator's main loop could be asked in the same way, but it may wait for seconds for a
machine that is out of reach, and only starts and stops need it. Those have their own deadlines.
"""

from __future__ import annotations

from typing import Final

import trio

INTERVAL = 1.0
"""Seconds between two questions."""

PATIENCE = 2.5
"""Seconds for an answer, on machines without time for anything as well."""

_STEP = 0.25


def _node_config(node: bytes) -> bytes:
    """Dora's request for the configuration of a dynamic node: its eighth kind of request, the
    node's name, and when (never) and by whom that was asked."""
    request = b"\x08" + bytes([len(node)]) + node + b"\0" + b"\1" * 16
    return len(request).to_bytes(8, "little") + request


NOTHING: Final = b""
"""What any process answers that listens, by hanging up."""

A_NODE: Final = _node_config(b"trio_bridge-nobody")
"""What a daemon's main loop answers. One of another version that cannot read it hangs up."""


async def answers(port: int, question: bytes = NOTHING) -> bool:
    """Whether a process of this machine that listens at a port still does anything. One that
    has ended hangs no longer.

    Time in which this process has stood still is not counted: then the machine has, or all that
    runs on it has too little of it.
    """
    answered = trio.Event()
    waited = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_ask, port, question, answered)
        while waited < PATIENCE and not answered.is_set():
            began = trio.current_time()
            with trio.move_on_after(_STEP):
                await answered.wait()
            if trio.current_time() - began < 2 * _STEP:
                waited += _STEP
        nursery.cancel_scope.cancel()
    return answered.is_set()


async def _ask(port: int, question: bytes, answered: trio.Event) -> None:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            if question:
                await stream.send_all(question)
            await stream.send_eof()
            while await stream.receive_some():
                pass
    except (OSError, trio.BrokenResourceError):
        # It has ended, which others notice; or we have no more files, which says nothing.
        pass
    answered.set()
