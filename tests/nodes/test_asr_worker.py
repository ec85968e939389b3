"""What a worker says to its orders, with an engine of the test's own and no process."""

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest

from trio_bridge.nodes import asr_worker
from trio_bridge.nodes.asr_worker import AUDIO, BEGIN, DROP, END, order
from trio_bridge.nodes.recognition import ENGINES, Heard, Kind, UnknownEngine, engine_kind


class Parrot:
    """Says the bytes that it heard."""

    def __init__(self) -> None:
        self.heard = b""
        self.dropped = 0

    def begin(self, settings: Mapping[str, Any]) -> None:
        self.heard = f"{settings.get('language')}:".encode()

    def feed(self, pcm: bytes) -> None:
        self.heard += pcm

    def partial(self) -> str:
        return self.heard.decode()

    def finish(self) -> Heard:
        return Heard(self.heard.decode())

    def drop(self) -> None:
        self.dropped += 1


def replies(*orders: bytes) -> list[dict[str, Any]]:
    out = io.BytesIO()
    asr_worker.serve(Parrot(), io.BytesIO(b"".join(orders)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def begin() -> bytes:
    return order(BEGIN, b'{"language": "en"}')


def test_it_says_that_it_is_ready_and_ends_with_its_input() -> None:
    assert replies() == [{"ready": True}]


def test_an_utterance_gets_a_final() -> None:
    said = replies(begin(), order(AUDIO, b"ab"), order(AUDIO, b"cd"), order(END))
    assert said[1:] == [{"final": "en:abcd"}]


def test_why_an_engine_does_not_start_is_one_line() -> None:
    told = asr_worker.reason(
        RuntimeError("size mismatch:\n\ta is [1]\n\tb is [2]\n" + "c" * 999)
    )
    assert told.startswith("RuntimeError: size mismatch: a is [1] b is [2] ccc")
    assert len(told) == asr_worker.REASON_MOST


def test_partials_come_when_they_are_due_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr_worker, "PARTIAL_EVERY", 0.0)
    said = replies(begin(), order(AUDIO, b"ab"), order(AUDIO), order(AUDIO, b"c"))
    assert said[1:] == [{"partial": "en:ab"}, {"partial": "en:abc"}]


def test_a_dropped_utterance_gets_no_final() -> None:
    assert replies(begin(), order(AUDIO, b"ab"), order(DROP))[1:] == [{"dropped": True}]


def test_an_unknown_engine_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownEngine, match="pocketsphinx"):
        engine_kind("telepathy")
    assert all(engine_kind(name) is kind for name, kind in ENGINES.items())


def test_a_recogniser_without_a_model_takes_what_its_libraries_take() -> None:
    assert Kind("some.engine", 1.0, libraries=7).memory({}) == 7
