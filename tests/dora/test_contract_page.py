"""The node on the page about the contract works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from trio_bridge.dora.backend import open_dora_backend
from trio_bridge.dora.settings import DoraSettings
from trio_bridge.messages import AudioDelta, Commit, ResponseFinished, ResponseOpened

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).parents[2] / "docs" / "dora-contract.md"


async def test_the_example_answers(tmp_path: Path) -> None:
    for language, name in (("python", "beep.py"), ("yaml", "beep.yml")):
        block = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert block is not None
        (tmp_path / name).write_text(block[1])
    async with (
        open_dora_backend(DoraSettings(str(tmp_path / "beep.yml"))) as backend,
        backend.session("one") as session,
    ):
        session.send(Commit("item"))
        with trio.fail_after(5):
            assert await session.events.receive() == ResponseOpened("beep-1")
            audio = await session.events.receive()
            assert isinstance(audio, AudioDelta)
            assert (len(audio.samples), audio.sample_rate, audio.text) == (8000, 16000, "Beep.")
            assert await session.events.receive() == ResponseFinished("beep-1")
        # Long enough for a node whose heartbeats did not count to be given up.
        await trio.sleep(2.5)
        assert backend.instances[0].warm
        assert backend.instances[0].lost == 0
