"""How well speech is understood through the bridge, beside the file fed to the recogniser.

    python benchmarks/recognition.py [--folder DIR] [--noise 20,10] [--talkers 4] [--json]

Each recording goes up at 24 kHz and real-time pace, server VAD closes the turns, and the
transcripts of all turns are joined. Beside it the same audio is decoded as a whole file
(`full_utt`), at 16 kHz, in this process. Then with white noise added, and with several people
talking at once. `--folder` holds more recordings: `NAME.wav` (16 kHz mono PCM16) with
`NAME.txt` or a line `<s> words </s> (NAME)` in a `*.transcription` file.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import wave
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import trio
from attrs import frozen
from numpy.typing import NDArray
from pocketsphinx import Decoder

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import recordings
from tests.support.client import connected
from tests.support.server import running_server

from trio_bridge.audio.pcm import float32_to_pcm16

Audio = NDArray[np.float32]


@frozen
class Recording:
    name: str
    samples: Audio
    words: str


def shipped() -> list[Recording]:
    return [
        Recording(name, recordings.load(name), words)
        for name, words in recordings.SPOKEN.items()
    ]


def in_folder(folder: Path) -> list[Recording]:
    words = {path.stem: path.read_text() for path in folder.rglob("*.txt")}
    for path in folder.rglob("*.transcription"):
        for line in path.read_text().splitlines():
            if match := re.fullmatch(r"(?:<s> )?(.*?)(?: </s>)? \(([^)]+)\)\s*", line):
                words[Path(match[2]).name] = match[1]
    found = []
    for path in sorted(folder.rglob("*.wav")):
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getsampwidth(), file.getnchannels()) != (16000, 2, 1):
                continue
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        if path.stem in words:
            samples = (pcm / 32768).astype(np.float32)
            found.append(Recording(path.stem, samples, words[path.stem].strip()))
    return found


def with_noise(samples: Audio, snr_db: float) -> Audio:
    """White noise `snr_db` below the recording's mean power; the same noise every time."""
    if math.isinf(snr_db):
        return samples
    noise = np.random.default_rng(7).standard_normal(len(samples))
    noise *= math.sqrt(float(np.mean(samples**2)) / 10 ** (snr_db / 10))
    noisy: Audio = np.clip(samples + noise, -1, 1).astype(np.float32)
    return noisy


def directly(decoder: Decoder, samples: Audio) -> str:
    decoder.start_utt()
    decoder.process_raw(float32_to_pcm16(samples), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr if decoder.hyp() else ""


def _of_item(item_id: str, event: dict[str, object]) -> bool:
    return event["item_id"] == item_id


async def through_bridge(url: str, samples: Audio, snr_db: float) -> str:
    """All that was heard, in turn order."""
    # The pause that closes the turn is a room's, with the same noise, not a digital zero.
    level = math.sqrt(float(np.mean(samples**2)) / 10 ** (min(snr_db, 60) / 10))
    pause = level * np.random.default_rng(8).standard_normal(24_000)
    async with connected(url) as client:
        detection = {"type": "server_vad", "create_response": False}
        await client.send(
            "session.update",
            session={
                "type": "realtime",
                "audio": {
                    "input": {"turn_detection": detection, "transcription": {"model": "any"}}
                },
            },
        )
        await client.wait_for("session.updated")
        await client.speak(np.concatenate([samples, pause.astype(np.float32)]))
        committed = client.of_type("input_audio_buffer.committed")
        heard = []
        for event in committed:
            done = await client.wait_for(
                "conversation.item.input_audio_transcription.completed",
                where=partial(_of_item, event["item_id"]),
            )
            heard.append(done.event["transcript"])
    return " ".join(heard)


async def measure(
    found: Sequence[Recording], noises: Sequence[float], talkers: int
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    decoder = Decoder(loglevel="FATAL")
    with tempfile.TemporaryDirectory() as folder:
        async with running_server(Path(folder) / "server.log") as server:
            for snr_db in noises:
                for recording in found:
                    samples = with_noise(recording.samples, snr_db)
                    heard = await through_bridge(server.ws_url, samples, snr_db)
                    rows.append(row(recording, snr_db, 1, directly(decoder, samples), heard))
            together: dict[int, str] = {}

            async def one(place: int) -> None:
                recording = found[place % len(found)]
                await trio.sleep(0.37 * place)
                together[place] = await through_bridge(
                    server.ws_url, recording.samples, math.inf
                )

            async with trio.open_nursery() as nursery:
                for place in range(talkers):
                    nursery.start_soon(one, place)
            for place, heard in sorted(together.items()):
                recording = found[place % len(found)]
                direct = directly(decoder, recording.samples)
                rows.append(row(recording, math.inf, talkers, direct, heard))
    return rows


def row(
    recording: Recording, snr_db: float, talkers: int, direct: str, heard: str
) -> dict[str, object]:
    return {
        "recording": recording.name,
        "snr_db": None if math.isinf(snr_db) else snr_db,
        "talkers": talkers,
        "errors_direct": recordings.word_errors(recording.words, direct),
        "errors_bridge": recordings.word_errors(recording.words, heard),
        "direct": direct,
        "bridge": heard,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--noise", default="20,10", help="signal to noise, dB")
    parser.add_argument("--talkers", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = in_folder(options.folder) if options.folder else shipped()
    noises = [math.inf, *(float(n) for n in options.noise.split(",") if n)]
    rows = trio.run(measure, found, noises, options.talkers)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'recording':30} {'noise':>6} {'talking':>7} {'direct':>6} {'bridge':>6}  heard")
    for entry in rows:
        noise = "-" if entry["snr_db"] is None else f"{entry['snr_db']:.0f} dB"
        print(
            f"{entry['recording']:30} {noise:>6} {entry['talkers']:>7} "
            f"{entry['errors_direct']:>6} {entry['errors_bridge']:>6}  {entry['bridge']}"
        )
    for label in ("errors_direct", "errors_bridge"):
        print(f"{label}: {sum(int(str(entry[label])) for entry in rows)}")


if __name__ == "__main__":
    main()
