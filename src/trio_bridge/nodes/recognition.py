"""What a recogniser is to the recognition node, and the engines that there are.

An engine lives in a worker process and hears one utterance at a time. To add one, write a
class with these methods in a module of its own and name it in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol


class Recogniser(Protocol):
    """Hears one utterance after another: `begin`, `feed`…, then `finish` or `drop`."""

    def begin(self, settings: Mapping[str, Any]) -> None:
        """An utterance begins. `settings` is the session's `transcription` object, perhaps
        empty. Nothing of the last utterance may be left: it may have been anybody's."""

    def feed(self, pcm: bytes) -> None:
        """More of it: mono PCM16 at 16 kHz, whole samples."""

    def partial(self) -> str:
        """All the words so far; empty while there are none."""

    def finish(self) -> str:
        """The utterance is over: what was said? Empty when no words were found."""

    def drop(self) -> None:
        """The utterance is over, and nobody wants to know what was said."""


ENGINES: Final[Mapping[str, str]] = {
    "pocketsphinx": "trio_bridge.nodes.pocketsphinx_engine:PocketSphinx",
}
"""Name → `module:class`. The module is imported in the worker processes only."""

DEFAULT_ENGINE: Final = "pocketsphinx"


class UnknownEngine(Exception):
    """There is no engine of that name."""


def check_engine(name: str) -> str:
    """Give the name back if there is such an engine.

    Raises:
        UnknownEngine: There is none; the message lists those there are.
    """
    if name not in ENGINES:
        raise UnknownEngine(
            f"ASR_ENGINE={name!r} is not known; there are: {', '.join(ENGINES)}"
        )
    return name


def open_recogniser(name: str) -> Recogniser:
    """Load an engine and its model: seconds and megabytes, so in a worker process."""
    module, _, attribute = ENGINES[check_engine(name)].partition(":")
    recogniser: Recogniser = getattr(import_module(module), attribute)()
    return recogniser
