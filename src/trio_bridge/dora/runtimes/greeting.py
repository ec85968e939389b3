"""Whether a coordinator can be spoken to, before the `dora` program does.

From 1.0 on coordinators speak HTTP. An earlier one takes the first eight bytes of a request for
the length of a message, exabytes, and aborts: to ask it anything would end somebody's Dora.
What is sent here is no request, which HTTP refuses at once, and too short to be a length.
"""

from __future__ import annotations

from importlib.metadata import version

import trio

from trio_bridge.errors import RuntimeFailed

NO_REQUEST = b"\0\0\0\0"
ANSWER = b"HTTP/"


async def greet(stream: trio.abc.Stream, address: str, patience: float) -> None:
    """See whether a coordinator of our kind is at the other end.

    Args:
        stream: A connection to it.
        address: For words.
        patience: Seconds for its answer.

    Raises:
        RuntimeFailed: It is something else, or silent.
    """
    said = b""
    with trio.move_on_after(patience) as waiting:
        try:
            await stream.send_all(NO_REQUEST)
            while len(said) < len(ANSWER) and (more := await stream.receive_some()):
                said += more
        except trio.BrokenResourceError:
            pass
    ours = version("dora-rs")
    if waiting.cancelled_caught and not said:
        raise RuntimeFailed(
            f"the dora coordinator at {address} does not answer in {patience:g} s: it hangs, "
            f"or it is older than Dora 1.0, and the bridge has Dora {ours}. Run coordinator "
            f"and daemons with dora-rs-cli {ours}, or name another --coordinator"
        )
    if not said.startswith(ANSWER):
        raise RuntimeFailed(
            f"what listens at {address} is no coordinator of Dora 1.0 or later, and the bridge "
            f"has Dora {ours}: the two cannot work together. Run coordinator and daemons with "
            f"dora-rs-cli {ours}, or name another --coordinator"
        )
