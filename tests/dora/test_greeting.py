"""What a coordinator is told apart by, on a virtual clock."""

from __future__ import annotations

from importlib.metadata import version

import pytest
import trio
from trio.testing import MemoryReceiveStream, MockClock, memory_stream_pair

from trio_bridge.dora.runtimes.greeting import greet
from trio_bridge.errors import RuntimeFailed

LENGTH = 8
"""Bytes of the length that a coordinator before 1.0 begins to read a message with."""

REFUSED = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 3, len(REFUSED)])
async def test_one_of_our_kind_is_known_at_once(autojump_clock: MockClock, size: int) -> None:
    """However its answer is cut."""
    ours, theirs = memory_stream_pair()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(greet, ours, "a:1", 3)
        assert await theirs.receive_some()
        for at in range(0, len(REFUSED), size):
            await theirs.send_all(REFUSED[at : at + size])
    assert trio.current_time() == began


async def test_one_before_it_has_no_length_to_read(autojump_clock: MockClock) -> None:
    """It waits for more of it, and hears the end instead. With eight bytes of a request it
    would reserve so much memory that it aborts."""
    ours, theirs = memory_stream_pair()
    began = trio.current_time()
    with pytest.raises(RuntimeFailed) as caught:
        await greet(ours, "10.0.0.1:6012", 3)
    assert trio.current_time() == began + 3
    await ours.aclose()
    heard = theirs.receive_stream
    assert isinstance(heard, MemoryReceiveStream)
    assert len(b"".join([part async for part in heard])) < LENGTH
    words = str(caught.value)
    assert "10.0.0.1:6012 does not answer in 3 s: it hangs, or it is older than" in words
    assert f"the bridge has Dora {version('dora-rs')}" in words
    assert f"dora-rs-cli {version('dora-rs')}" in words


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HT"])
async def test_what_is_something_else(autojump_clock: MockClock, answer: bytes) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(answer)
    await theirs.aclose()
    with pytest.raises(RuntimeFailed, match="is no coordinator"):
        await greet(ours, "a:1", 3)
