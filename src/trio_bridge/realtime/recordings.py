"""The sound of a conversation, as it went over the wire, for whoever retrieves an item.

What the user said is cut out of the input when it is committed; what the assistant said is
added as it leaves. A recording is whole or it is not there: when there is no more room the
oldest is let go, and the item keeps its text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import pybase64
from attrs import define, field

from trio_bridge.audio.encodings import CODINGS, Encoding
from trio_bridge.realtime.events import Json

KEPT_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of audio kept for one session: nearly six minutes of PCM16, half an hour of G.711. A
client that shows what was said retrieves an item soon after it is there; a server of a hundred
sessions must have the room for all of them."""

UNSPOKEN_KEPT_MS: Final = 35_000
"""Input that nobody has spoken in is kept so long while speech is being looked for: the longest
prefix padding, and the longest idle timeout. A longer silence would crowd out what was said."""

_AUDIO_CONTENT = ("input_audio", "output_audio")


@define
class _Heard:
    """A piece of input, from `start` to `end` on the session's audio clock, in ms."""

    start: float
    end: float
    data: bytes
    encoding: Encoding


@define
class _Recording:
    encoding: Encoding
    pieces: list[bytes] = field(factory=list)
    size: int = 0
    limit: int | None = None


@define
class Recordings:
    """The audio of one session's items.

    Args:
        limit: Bytes of audio that are kept, input that is not committed included.

    Attributes:
        let_go: How many recordings were let go for want of room.
        on_let_go: Called at the first of them.
    """

    limit: int = KEPT_LIMIT
    let_go: int = field(default=0, init=False)
    on_let_go: Callable[[], None] | None = field(default=None, init=False)
    _input: deque[_Heard] = field(factory=deque, init=False)
    _kept: dict[tuple[str, int], _Recording] = field(factory=dict, init=False)
    _size: int = field(default=0, init=False)

    # --- the input -------------------------------------------------------------------------

    def hear(self, start_ms: float, end_ms: float, data: bytes, encoding: Encoding) -> None:
        """Keep input, in whole samples, that may be committed."""
        self._input.append(_Heard(start_ms, end_ms, data, encoding))
        self._size += len(data)
        if self._size > self.limit:
            self._make_room()

    def forget_input(self, before_ms: float) -> None:
        """Input that ended before a moment will not be committed."""
        while self._input and self._input[0].end <= before_ms:
            self._size -= len(self._input.popleft().data)

    def input_from(self, start_ms: float) -> list[tuple[bytes, Encoding]]:
        """What is kept of the input from a moment on, in pieces of one encoding."""
        return [
            (_between(piece, start_ms, piece.end), piece.encoding)
            for piece in self._input
            if piece.end > start_ms
        ]

    def commit(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """Input becomes an item's recording. There is none if not all of it is kept, or its
        encoding changed in the middle."""
        turn = [piece for piece in self._input if piece.end > start_ms and piece.start < end_ms]
        encodings = {piece.encoding for piece in turn}
        self.forget_input(end_ms)
        if turn and turn[0].start <= start_ms and len(encodings) == 1:
            data = b"".join(_between(piece, start_ms, end_ms) for piece in turn)
            self.put(item_id, 0, data, encodings.pop())

    # --- items -----------------------------------------------------------------------------

    def put(self, item_id: str, content_index: int, data: bytes, encoding: Encoding) -> None:
        """Keep the whole recording of one of an item's contents."""
        self.open(item_id, encoding, content_index)
        self._add((item_id, content_index), data)

    def open(self, item_id: str, encoding: Encoding, content_index: int = 0) -> None:
        """A recording begins, to which is added."""
        self._drop((item_id, content_index))
        self._kept[item_id, content_index] = _Recording(encoding)

    def add(self, item_id: str, data: bytes) -> None:
        """More of what an item says has left. Nothing is kept of an item that has no recording
        (any more)."""
        self._add((item_id, 0), data)

    def cut(self, item_id: str, ms: float) -> None:
        """What an item says from `ms` on was not heard."""
        recording = self._kept.get((item_id, 0))
        if recording is None:
            return
        coding = CODINGS[recording.encoding]
        recording.limit = round(ms * coding.sample_rate / 1000) * coding.width
        whole = b"".join(recording.pieces)[: recording.limit]
        self._size += len(whole) - recording.size
        recording.pieces, recording.size = [whole], len(whole)

    def forget(self, item_id: str) -> None:
        """The item is gone."""
        for key in [key for key in self._kept if key[0] == item_id]:
            self._drop(key)

    def shown(self, item: Json) -> Json:
        """An item as `conversation.item.retrieved` shows it: with the audio of its contents,
        where it is kept, in base64."""
        content = [
            self._with_audio(item["id"], index, part)
            for index, part in enumerate(item.get("content", ()))
        ]
        return item | {"content": content} if content else item

    # --- room ------------------------------------------------------------------------------

    def _with_audio(self, item_id: str, index: int, part: Json) -> Json:
        recording = self._kept.get((item_id, index))
        if recording is None or part["type"] not in _AUDIO_CONTENT:
            return part
        audio = b"".join(recording.pieces)
        return part | {"audio": pybase64.b64encode_as_string(audio)}

    def _add(self, key: tuple[str, int], data: bytes) -> None:
        recording = self._kept.get(key)
        if recording is None:
            return
        if recording.limit is not None:
            data = data[: recording.limit - recording.size]
        recording.pieces.append(data)
        recording.size += len(data)
        self._size += len(data)
        if self._size > self.limit:
            self._make_room()

    def _drop(self, key: tuple[str, int]) -> None:
        recording = self._kept.pop(key, None)
        if recording is not None:
            self._size -= recording.size

    def _make_room(self) -> None:
        while self._size > self.limit:
            oldest = next(iter(self._kept), None)
            if oldest is not None:
                self._drop(oldest)
            else:
                # What is left of this turn is no whole recording of it.
                self._input.clear()
                self._size = 0
            self.let_go += 1
            if self.let_go == 1 and self.on_let_go is not None:
                self.on_let_go()


def _between(piece: _Heard, start_ms: float, end_ms: float) -> bytes:
    coding = CODINGS[piece.encoding]

    def offset(ms: float) -> int:
        return max(0, round((ms - piece.start) * coding.sample_rate / 1000)) * coding.width

    return piece.data[offset(start_ms) : offset(end_ms)]
