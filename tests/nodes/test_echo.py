"""The loopback answers what it hears, and only whom it hears."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from attrs import define, field

from trio_bridge.dora.contract import Answer, Cancel, Listen
from trio_bridge.nodes.echo import OUTPUT_RATE, Echo
from trio_bridge.nodes.host import NodeIO


@define
class Recorder:
    rows: list[Answer] = field(factory=list)

    def send(self, port: str, row: Any) -> None:
        assert port == "answer"
        self.rows.append(row)

    def events(self) -> list[tuple[str, str, str, int]]:
        return [(r.session_id, r.response_id, r.event, r.seq) for r in self.rows]


def make() -> tuple[Echo, Recorder]:
    recorder = Recorder()
    return Echo(cast("NodeIO", recorder)), recorder


def audio(session_id: str, value: float = 0.5, frames: int = 320) -> Listen:
    return Listen(session_id, 0, "audio", np.full(frames, value, np.float32))


def op(session_id: str, name: str) -> Listen:
    return Listen(session_id, 0, name)


def test_the_first_audio_opens_and_the_commit_ends() -> None:
    echo, out = make()
    for row in (op("s", "open"), audio("s"), audio("s"), op("s", "commit"), audio("s")):
        echo.listen(row)
    assert out.events() == [
        ("s", "echo-1", "open", 0),
        ("s", "echo-1", "audio", 1),
        ("s", "echo-1", "audio", 2),
        ("s", "echo-1", "audio", 3),
        ("s", "echo-1", "done", 4),
        ("s", "echo-2", "open", 0),
        ("s", "echo-2", "audio", 1),
    ]
    parts = [r.samples for r in out.rows[:5] if r.samples is not None]
    assert {r.sample_rate for r in out.rows if r.samples is not None} == {OUTPUT_RATE}
    assert abs(sum(map(len, parts)) - 4 * 320) <= 100


def test_a_cancel_mutes_until_the_turn_ends() -> None:
    echo, out = make()
    echo.listen(op("s", "open"))
    echo.listen(audio("s"))
    heard = len(out.rows)
    echo.cancel(Cancel("s", "echo-1"))
    echo.listen(audio("s"))
    echo.listen(op("s", "commit"))
    assert len(out.rows) == heard
    echo.listen(audio("s"))
    assert out.events()[heard] == ("s", "echo-2", "open", 0)


def test_a_cancel_of_another_response_does_nothing() -> None:
    echo, out = make()
    echo.listen(op("s", "open"))
    echo.listen(audio("s"))
    echo.cancel(Cancel("s", "echo-9"))
    echo.cancel(Cancel("nobody", "echo-1"))
    echo.listen(op("s", "commit"))
    assert out.rows[-1].event == "done"


def test_a_closed_session_is_forgotten() -> None:
    """And audio that trails behind the close makes no new one."""
    echo, out = make()
    echo.listen(op("s", "open"))
    echo.listen(audio("s"))
    assert len(echo) == 1
    echo.listen(op("s", "close"))
    heard = len(out.rows)
    echo.listen(audio("s"))
    echo.listen(op("s", "close"))
    assert (len(echo), len(out.rows)) == (0, heard)


def test_a_commit_with_nothing_said_is_no_response() -> None:
    echo, out = make()
    echo.listen(op("s", "open"))
    echo.listen(op("s", "commit"))
    assert out.rows == []
