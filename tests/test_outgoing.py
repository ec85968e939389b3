"""From engine events to a client's messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_bridge.audio.encodings import CODINGS, Encoding
from trio_bridge.closing import Ending
from trio_bridge.messages import Failure
from trio_bridge.outgoing import DELTA_SECONDS, Outgoing, SpeechEncoder
from trio_bridge.realtime import Ids, Step
from trio_bridge.realtime import events as ev
from trio_bridge.realtime.recordings import Recordings
from trio_bridge.realtime.wire import Codec


class Mute(Codec):
    """A dialect without a word for items that are done."""

    def dump(self, event: ev.ServerEvent) -> bytes | None:
        return None if isinstance(event, ev.ConversationItemDone) else super().dump(event)


def make_outgoing(recordings: Recordings | None = None, codec: Codec | None = None) -> Outgoing:
    encoder = SpeechEncoder(Ids("t").event, recordings or Recordings())
    return Outgoing(encoder, codec or Codec())


def said(outgoing: Outgoing, *events: ev.ServerEvent) -> list[dict[str, Any]]:
    outgoing.put(Step(events))
    told = []
    while (message := outgoing.next()) is not None:
        assert isinstance(message, bytes)
        told.append(json.loads(message))
        outgoing.sent()
    return told


def speech(
    samples: np.ndarray, rate: int, encoding: Encoding = "pcm", item: str = "item"
) -> ev.ResponseOutputAudioSamples:
    return ev.ResponseOutputAudioSamples("resp", item, 0, 0, samples, rate, encoding)


def done(item: str = "item") -> ev.ResponseOutputAudioDone:
    return ev.ResponseOutputAudioDone("e", "resp", item, 0, 0)


def sound(told: list[dict[str, Any]]) -> bytes:
    deltas = [each["delta"] for each in told if each["type"].endswith("output_audio.delta")]
    return b"".join(map(base64.b64decode, deltas))


def tone(seconds: float, rate: int) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * 300 * t)).astype(np.float32)


@pytest.mark.parametrize("encoding", ["pcm", "pcmu", "pcma"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000])
def test_speech_leaves_in_the_format_of_its_response(encoding: Encoding, rate: int) -> None:
    """Resampled without an audible edge, every sample of it, before its `done`."""
    outgoing = make_outgoing()
    whole = tone(1.0, rate)
    pieces = [speech(part, rate, encoding) for part in np.array_split(whole, 7)]
    told = said(outgoing, *pieces, done())
    assert told[-1]["type"] == "response.output_audio.done"
    coding = CODINGS[encoding]
    heard = coding.decode(sound(told))
    expected = tone(1.0, coding.sample_rate)
    assert len(heard) == len(expected)
    middle = slice(400, -400)
    error = np.abs(heard[middle] - expected[middle]).max()
    assert error < (1e-3 if encoding == "pcm" else 0.02)


def test_deltas_are_short() -> None:
    """However long a chunk is."""
    told = said(make_outgoing(), speech(tone(2.3, 8_000), 8_000, "pcmu"), done())
    sizes = [len(base64.b64decode(each["delta"])) for each in told if "delta" in each]
    assert max(sizes) <= 8_000 * DELTA_SECONDS
    assert sum(sizes) == round(2.3 * 8_000)


def test_a_retrieved_item_has_the_speech_that_left_before_it() -> None:
    """What the client hears is what it gets again, as far as it was not cut off."""
    recordings = Recordings()
    recordings.open("item", "pcm")
    outgoing = make_outgoing(recordings)
    item = {"id": "item", "content": [{"type": "output_audio", "transcript": "a"}]}
    told = said(
        outgoing,
        speech(tone(1.0, 24_000), 24_000),
        done(),
        ev.ConversationItemRetrieved("e", item),
    )
    audio = base64.b64decode(told[-1]["item"]["content"][0]["audio"])
    assert audio == sound(told)
    recordings.cut("item", 250)
    (told_again,) = said(outgoing, ev.ConversationItemRetrieved("e", item))
    assert base64.b64decode(told_again["item"]["content"][0]["audio"]) == audio[:12_000]
    assert "audio" not in item["content"][0]


def test_what_a_dialect_does_not_say_is_left_out() -> None:
    """The next message follows at once, and the step still ends the session."""
    outgoing = make_outgoing(codec=Mute())
    silent = ev.ConversationItemDone("e", {}, None)
    cleared = ev.InputAudioBufferCleared("e")
    outgoing.put(Step((silent, cleared, silent), close=Failure("session_expired", "over")))
    message = outgoing.next()
    assert isinstance(message, bytes)
    assert outgoing.next() is message, "it stays the next until it was sent"
    outgoing.sent()
    assert outgoing.next() == Ending(1001, "over")


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3_000)), max_size=8),
    st.sampled_from(["pcm", "pcmu"]),
)
def test_no_sample_is_lost_or_made_up(
    chunks: list[tuple[str, int]], encoding: Encoding
) -> None:
    """Of a part that ends with its `done`: one output for each of its seconds."""
    outgoing = make_outgoing()
    rate = CODINGS[encoding].sample_rate
    for item, length in chunks:
        samples = np.zeros(length, dtype=np.float32)
        told = said(outgoing, speech(samples, rate // 2, encoding, item), done(item))
        assert len(sound(told)) == 2 * length * CODINGS[encoding].width
