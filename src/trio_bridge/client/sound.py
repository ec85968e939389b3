"""Sound from files and the microphone, and back into files."""

from __future__ import annotations

import wave
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import trio
from numpy.typing import NDArray

from trio_bridge.audio.pcm import float32_to_pcm16
from trio_bridge.audio.resample import StreamResampler
from trio_bridge.errors import BridgeError

Float32 = NDArray[np.float32]

WIRE_RATE = 24_000
"""Hz: what the Realtime API carries."""

BLOCKS_WAITING = 50
"""Microphone blocks of 20 ms that may wait for the connection: a second. More are dropped:
old sound is worth less than new."""


class SoundError(BridgeError):
    """A sound cannot be read, recorded or written."""


def read_sound(path: Path) -> Float32:
    """A sound file as mono float32 at 24 kHz, shape ``(n,)``.

    Any rate from 4 to 192 kHz, any sample width, integer or float, any number of channels
    (averaged).

    Raises:
        SoundError: It is not there, or no sound.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except OSError as exc:
        raise SoundError(f"{path}: {exc.strerror or exc}") from exc
    except soundfile.SoundFileError as exc:
        why = "no such file" if not path.exists() else "not a sound file that can be read"
        raise SoundError(f"{path}: {why}") from exc
    mono = np.nan_to_num(samples.mean(axis=1, dtype=np.float32), posinf=1.0, neginf=-1.0)
    if not mono.size:
        raise SoundError(f"{path}: holds no sound")
    try:
        resampler = StreamResampler(rate, WIRE_RATE, quality="best")
    except ValueError as exc:
        raise SoundError(f"{path}: {exc}") from exc
    return np.concatenate([resampler.process(mono), resampler.flush()])


def write_pcm16(path: Path, pcm: bytes) -> None:
    """Write mono PCM16 at 24 kHz as a WAV file.

    Raises:
        SoundError: The file cannot be written.
    """
    try:
        # Opened here: `wave` prints a traceback when it cannot open a file itself.
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(WIRE_RATE)
            file.writeframes(pcm)
    except OSError as exc:
        raise SoundError(f"{path}: {exc.strerror or exc}") from exc


@asynccontextmanager
async def microphone(frame: int) -> AsyncGenerator[trio.MemoryReceiveChannel[bytes], None]:
    """Record from the default microphone.

    Args:
        frame: Samples per block.

    Yields:
        Blocks of PCM16 at 24 kHz, as they are recorded.

    Raises:
        SoundError: There is no microphone, or the `microphone` extra is not installed.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as exc:
        raise SoundError(
            "recording needs PortAudio and the extra: pip install 'trio-bridge[microphone]'"
        ) from exc
    send, receive = trio.open_memory_channel[bytes](BLOCKS_WAITING)
    token = trio.lowlevel.current_trio_token()

    def put(block: bytes) -> None:
        try:
            send.send_nowait(block)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # see BLOCKS_WAITING

    def recorded(block: Any, frames: int, time: Any, status: Any) -> None:
        del frames, time, status
        token.run_sync_soon(put, float32_to_pcm16(block[:, 0]))

    try:
        stream = sounddevice.InputStream(
            WIRE_RATE, frame, channels=1, dtype="float32", callback=recorded
        )
    except (sounddevice.PortAudioError, ValueError) as exc:
        raise SoundError(f"cannot record: {exc}") from exc
    with send, receive, stream:
        yield receive
