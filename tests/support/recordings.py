"""Human speech, and how well it was understood."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[1] / "audio_samples"

SPOKEN = {
    "go_forward_ten_meters": "go forward ten meters",
    "sense_and_sensibility_0870": (
        "and mister john dashwood had then leisure to consider how much there might be "
        "prudently in his power to do for them"
    ),
    "sense_and_sensibility_0930": "he might even have been made amiable himself",
}
"""Recording → the words spoken in it."""


def load(name: str) -> NDArray[np.float32]:
    """A recording as float32 at 16 kHz, shape (n,)."""
    with wave.open(str(FOLDER / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (pcm / 32768).astype(np.float32)


def word_errors(spoken: str, heard: str) -> int:
    """Substitutions, insertions and deletions that turn one into the other (Levenshtein).

    `mr` and `mister` count as the same word: they sound the same.
    """
    want = spoken.lower().replace("mister", "mr").split()
    got = heard.lower().replace("mister", "mr").split()
    row = list(range(len(got) + 1))
    for i, word in enumerate(want, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]
