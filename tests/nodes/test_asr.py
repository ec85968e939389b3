"""Rows of `segment` and the utterances that they are about."""

from typing import Any

import numpy as np
import pytest
import trio

from trio_bridge.dora.contract import Segment, Transcript
from trio_bridge.nodes.asr import Recognition, settings_from
from trio_bridge.nodes.decoder_pool import DecoderPool
from trio_bridge.nodes.recognition import UnknownEngine
from trio_bridge.nodes.turns import Utterance


class Pool(DecoderPool):
    """A pool without processes: utterances wait for ever."""

    def __init__(self) -> None:
        super().__init__([], 1, print, print, 10)
        self.begun: list[Utterance] = []

    def begin(self, *args: Any) -> Utterance:
        self.begun.append(super().begin(*args))
        return self.begun[-1]


def segment(event: str, utterance_id: str = "u1", **fields: Any) -> Segment:
    return Segment("s", utterance_id, event, **fields)


async def test_rows_reach_their_utterance() -> None:
    pool = Pool()
    recognition = Recognition(pool)
    recognition.take(segment("start", data='{"language": "en"}'))
    recognition.take(segment("start", "u2", data="null"))
    loud = np.array([0.5, 2.0, -2.0, np.nan], np.float32)
    recognition.take(segment("audio", samples=loud))
    recognition.take(segment("end", item_id="item"))
    first, second = pool.begun
    assert first.settings == {"language": "en"}
    assert np.frombuffer(first.pending, np.int16).tolist() == [16384, 32767, -32768, 0]
    assert (first.ended, first.item_id) == (True, "item")
    assert (second.settings, second.ended) == ({}, False)
    assert first.session_id == second.session_id == "s"
    await trio.lowlevel.checkpoint()


async def test_a_close_drops_what_is_under_way() -> None:
    pool = Pool()
    recognition = Recognition(pool)
    recognition.take(segment("start"))
    recognition.take(segment("start", "u2"))
    assert recognition.sessions() == 1
    recognition.take(segment("close", ""))
    assert recognition.sessions() == 0
    assert all(utterance.dropped for utterance in pool.begun)
    await trio.lowlevel.checkpoint()


async def test_rows_for_what_is_not_under_way_are_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recognition = Recognition(Pool())
    recognition.take(segment("end"))
    recognition.take(segment("start"))
    recognition.forget(Transcript("s", "u1", "final"))
    recognition.take(segment("audio", samples=np.zeros(1, np.float32)))
    recognition.take(segment("start", "u2"))
    recognition.take(segment("drop", "u2"))
    recognition.take(segment("end", "u2"))
    assert len(capsys.readouterr().err.splitlines()) == 3
    await trio.lowlevel.checkpoint()


def test_the_environment_names_engine_and_workers() -> None:
    given = {"ASR_ENGINE": "pocketsphinx", "TRIO_BRIDGE_ASR_WORKERS": "3"}
    assert settings_from(given) == ("pocketsphinx", 3)
    assert settings_from({})[1] >= 1


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_no_workers_is_refused(workers: str) -> None:
    with pytest.raises(ValueError, match="TRIO_BRIDGE_ASR_WORKERS"):
        settings_from({"TRIO_BRIDGE_ASR_WORKERS": workers})


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UnknownEngine, match="there are: pocketsphinx"):
        settings_from({"ASR_ENGINE": "telepathy"})
