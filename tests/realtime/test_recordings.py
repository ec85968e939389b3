"""What is kept of a session's sound."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.realtime.recordings import Recordings


def item(item_id: str, *kinds: str) -> dict[str, Any]:
    content = [{"type": kind, "transcript": None} for kind in kinds]
    return {"id": item_id, "type": "message", "content": content}


def audio_of(recordings: Recordings, item_id: str, kind: str = "input_audio") -> bytes | None:
    (part,) = recordings.shown(item(item_id, kind))["content"]
    return base64.b64decode(part["audio"]) if "audio" in part else None


def numbered(ms: int, first: int = 0) -> bytes:
    """PCM16 whose every sample says which millisecond it belongs to."""
    return b"".join((first + n).to_bytes(2, "little") * 24 for n in range(ms))


def test_a_turn_is_cut_out_of_the_input() -> None:
    """From its start to its end, over the edges of what was appended."""
    recordings = Recordings()
    for start in range(0, 1000, 20):
        recordings.hear(start, start + 20, numbered(20, start), "pcm")
    recordings.commit("a", 130, 555)
    assert audio_of(recordings, "a") == numbered(425, 130)
    recordings.commit("b", 555, 1000)
    assert audio_of(recordings, "b") == numbered(445, 555)
    recordings.commit("again", 130, 555)
    assert audio_of(recordings, "again") is None


def test_a_recording_is_whole_or_not_there() -> None:
    """Input that was forgotten, or changed its encoding, makes none."""
    recordings = Recordings()
    recordings.hear(0, 100, numbered(100), "pcm")
    recordings.hear(100, 200, numbered(100, 100), "pcm")
    recordings.forget_input(100)
    recordings.commit("late", 50, 200)
    assert audio_of(recordings, "late") is None
    recordings.hear(200, 300, bytes(4_800), "pcm")
    recordings.hear(300, 400, bytes(800), "pcmu")
    recordings.commit("mixed", 200, 400)
    assert audio_of(recordings, "mixed") is None
    recordings.hear(400, 500, b"\1" * 800, "pcmu")
    recordings.commit("telephone", 450, 500)
    assert audio_of(recordings, "telephone") == b"\1" * 400


def test_speech_is_kept_as_it_leaves_and_as_far_as_it_was_heard() -> None:
    """A cut holds for what is added later, too."""
    recordings = Recordings()
    recordings.open("a", "pcm")
    recordings.add("a", numbered(100))
    recordings.add("nobody", numbered(100))
    assert audio_of(recordings, "a", "output_audio") == numbered(100)
    recordings.cut("a", 150)
    recordings.add("a", numbered(100, 100))
    recordings.add("a", numbered(100, 200))
    assert audio_of(recordings, "a", "output_audio") == numbered(150)
    recordings.cut("a", 0)
    assert audio_of(recordings, "a", "output_audio") == b""
    recordings.forget("a")
    assert audio_of(recordings, "a", "output_audio") is None
    recordings.cut("a", 0)


def test_each_content_has_its_own() -> None:
    """Text has none, and an item without content stays as it is."""
    recordings = Recordings()
    recordings.put("a", 1, b"\1\2", "pcm")
    shown = recordings.shown(item("a", "input_text", "input_audio"))
    assert ["audio" in part for part in shown["content"]] == [False, True]
    call = {"id": "c", "type": "function_call"}
    assert recordings.shown(call) == call


def test_the_oldest_is_let_go_first_and_said_so_once() -> None:
    """Items go before input; the hook is called at the first."""
    said: list[int] = []
    recordings = Recordings(limit=100)
    recordings.on_let_go = lambda: said.append(recordings.let_go)
    recordings.put("old", 0, bytes(40), "pcm")
    recordings.put("new", 0, bytes(40), "pcm")
    recordings.hear(0, 1, bytes(40), "pcm")
    assert audio_of(recordings, "old") is None
    assert audio_of(recordings, "new") == bytes(40)
    recordings.hear(1, 20, bytes(1000), "pcm")
    recordings.commit("turn", 0, 20)
    assert audio_of(recordings, "turn") is None
    assert audio_of(recordings, "new") is None
    assert (said, recordings.let_go) == ([1], 3)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("hear"), st.integers(0, 60)),
            st.tuples(st.just("commit"), st.integers(0, 200)),
            st.tuples(st.just("add"), st.integers(0, 60)),
            st.tuples(st.just("open"), st.integers(0, 3)),
            st.tuples(st.just("cut"), st.integers(0, 3)),
            st.tuples(st.just("forget"), st.integers(0, 3)),
        )
    )
)
def test_no_more_is_kept_than_there_is_room_for(steps: list[tuple[str, int]]) -> None:
    """Whatever is done, and the count is that of what is there."""
    recordings = Recordings(limit=150)
    clock = 0.0
    for number, (step, value) in enumerate(steps):
        match step:
            case "hear":
                recordings.hear(clock, clock + value / 24, bytes(2 * value), "pcm")
                clock += value / 24
            case "commit":
                recordings.commit(f"turn{number}", max(0.0, clock - value), clock)
            case "add":
                recordings.add(f"item{value % 4}", bytes(2 * value))
            case "open":
                recordings.open(f"item{value}", "pcm")
            case "cut":
                recordings.cut(f"item{value}", 0.5)
            case _:
                recordings.forget(f"item{value}")
        kept = sum(len(piece.data) for piece in recordings._input) + sum(
            len(piece) for each in recordings._kept.values() for piece in each.pieces
        )
        assert kept == recordings._size <= 150


@pytest.mark.parametrize("encoding", ["pcm", "pcmu", "pcma"])
def test_a_given_recording_comes_back_as_it_was(encoding: Any) -> None:
    """Whatever it is written in."""
    recordings = Recordings()
    recordings.put("a", 0, b"\1\2\3\4", encoding)
    assert audio_of(recordings, "a") == b"\1\2\3\4"
