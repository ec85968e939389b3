"""What a recogniser is to the recognition node, and the engines that there are.

An engine lives in a worker process and hears one utterance at a time. To add one, write a
class with these methods in a module of its own and name it in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, Protocol

from attrs import frozen

from trio_bridge.nodes.gently import import_gently
from trio_bridge.nodes.local_model import LocalModel, weight
from trio_bridge.nodes.variables import Variable


@frozen
class Heard:
    """What was said in an utterance.

    Attributes:
        text: Its words; empty when none were found.
        logprobs: How sure the engine is of each token, if it tells: `(token, logprob)`, natural
            logarithms. Tokens joined are the text.
    """

    text: str
    logprobs: tuple[tuple[str, float], ...] | None = None


class Recogniser(Protocol):
    """Hears one utterance after another: `begin`, `feed`…, then `finish` or `drop`."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """An utterance begins. `settings` is the session's `transcription` object, perhaps
        empty. Nothing of the last utterance may be left: it may have been anybody's."""

    def feed(self, pcm: bytes) -> None:
        """More of it: mono PCM16 at 16 kHz, whole samples."""

    def partial(self) -> str:
        """All the words so far; empty while there are none."""

    def finish(self) -> Heard:
        """The utterance is over: what was said?"""

    def drop(self) -> None:
        """The utterance is over, and nobody wants to know what was said."""


WHISPER_MODEL: Final = LocalModel(
    setting="ASR_ENGINE=faster-whisper",
    package="faster_whisper",
    extra="faster-whisper",
    variable=Variable.ASR_MODEL,
    # Without its tokenizer the library would fetch one.
    files=("config.json", "model.bin", "tokenizer.json", "vocabulary.*"),
    example="Systran/faster-whisper-base",
    download="hf download {model} --local-dir {folder}",
    names=r"(tiny|base|small|medium)(\.en)?|large-v[123]",
    named="Systran/faster-whisper-{name}",
)

FUNASR_MODEL: Final = LocalModel(
    setting="ASR_ENGINE=funasr",
    package="funasr",
    extra="funasr",
    variable=Variable.ASR_MODEL,
    # Without `am.mvn` the library would go on, and hear nothing right.
    files=(
        "configuration.json",
        "config.yaml",
        "model.pt",
        "am.mvn",
        "*.bpe.model or tokens.json or tokens.txt",
    ),
    example="FunAudioLLM/SenseVoiceSmall",
    download="hf download FunAudioLLM/SenseVoiceSmall --local-dir {folder}",
)

POCKETSPHINX_MEMORY: Final = 125 * 2**20
"""Bytes that a PocketSphinx recogniser takes (measured: 115 to 125 MB not shared)."""

LIBRARIES_MEMORY: Final = 300 * 2**20
"""Bytes that a recogniser with a model of its own takes beside the model."""

TORCH_MEMORY: Final = 500 * 2**20
"""The same for one that PyTorch runs (measured: 485 MB not shared)."""


@frozen
class Kind:
    """What the node must know of an engine without loading it.

    Attributes:
        module: Its `open_engine(environment)` makes the `Recogniser`, `gently` where that
            starts no threads. Imported in the worker processes only.
        patience: Seconds without progress after which one of its workers counts as hung.
        model: What it needs that is not in the package.
        libraries: Bytes that one of its workers takes, without that model.
    """

    module: str
    patience: float
    model: LocalModel | None = None
    libraries: int = LIBRARIES_MEMORY

    def memory(self, environment: Mapping[str, str]) -> int:
        """Bytes that a recogniser takes.

        Raises:
            ModelMissing: It cannot be started here.
        """
        model = weight(self.model.find(environment)) if self.model else 0
        return self.libraries + model


ENGINES: Final[Mapping[str, Kind]] = {
    # The most that it has to do in one step is to search 2 s of audio: 0.5 s of work on a
    # machine of its own.
    "pocketsphinx": Kind(
        "trio_bridge.nodes.pocketsphinx_engine", 10.0, libraries=POCKETSPHINX_MEMORY
    ),
    # A minute of speech in one step.
    "faster-whisper": Kind("trio_bridge.nodes.faster_whisper_engine", 60.0, WHISPER_MODEL),
    "funasr": Kind("trio_bridge.nodes.funasr_engine", 60.0, FUNASR_MODEL, TORCH_MEMORY),
}

DEFAULT_ENGINE: Final = "pocketsphinx"


class UnknownEngine(Exception):
    """There is no engine of that name."""


def engine_kind(name: str) -> Kind:
    """The engine of that name.

    Raises:
        UnknownEngine: There is none; the message lists those there are.
    """
    if name not in ENGINES:
        raise UnknownEngine(
            f"ASR_ENGINE={name!r} is not known; there are: {', '.join(ENGINES)}"
        )
    return ENGINES[name]


def open_recogniser(name: str, environment: Mapping[str, str]) -> Recogniser:
    """Load an engine and its model: seconds and megabytes, so in a worker process."""
    name = engine_kind(name).module
    import_gently([name])
    make: Callable[[Mapping[str, str]], Recogniser] = import_module(name).open_engine
    return make(environment)
