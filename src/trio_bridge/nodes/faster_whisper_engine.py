"""Whisper as a recogniser, run by faster-whisper, from a folder on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from trio_bridge.nodes.gently import import_gently
from trio_bridge.nodes.local_model import model_threads
from trio_bridge.nodes.recognition import WHISPER_MODEL, Heard
from trio_bridge.nodes.variables import Variable
from trio_bridge.nodes.whole_utterance import SAMPLE_RATE, Float32, WholeUtterance, language_of

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment

GRAIN: Final = 30 * SAMPLE_RATE
"""What is shorter is filled up with silence."""

LEAST: Final = 1e-6
"""A probability for words of which there is none."""

PROMPT_MOST: Final = 1_000
"""Characters of a session's prompt that are read; the model has room for some 200 tokens."""


@define(eq=False)
class FasterWhisper:
    """A `WholeModel`.

    Args:
        model: The loaded model.
        environment: The node's settings: `ASR_LANGUAGE`.
    """

    model: WhisperModel
    environment: Mapping[str, str]

    def decode(self, samples: Float32, settings: Mapping[str, Any], *, draft: bool) -> Heard:
        """See `WholeModel.decode`. A draft is a greedy search, the final a beam of five; where
        `logprobs` are asked for, its words are looked for in the sound once more."""
        language = language_of(settings, self.environment)
        if language not in self.model.supported_languages:
            language = None
        prompt = settings.get("prompt")
        segments, _ = self.model.transcribe(
            samples,
            language=language,
            beam_size=1 if draft else 5,
            # One more try where the first repeats itself; after five nobody would be waiting.
            temperature=[0.0] if draft else [0.0, 0.4],
            # What was misheard once is otherwise misheard for the rest of the utterance.
            condition_on_previous_text=False,
            without_timestamps=draft,
            word_timestamps=not draft and settings.get("logprobs") is True,
            initial_prompt=prompt[:PROMPT_MOST] if isinstance(prompt, str) and prompt else None,
        )
        return _heard(segments)


def _heard(segments: Iterable[Segment]) -> Heard:
    tokens = [token for segment in segments for token in _tokens(segment)]
    if not tokens:
        return Heard("")
    tokens[0] = tokens[0][0].lstrip(), tokens[0][1]
    tokens[-1] = tokens[-1][0].rstrip(), tokens[-1][1]
    return Heard("".join(text for text, _ in tokens), tuple(tokens))


def _tokens(segment: Segment) -> list[tuple[str, float]]:
    """How sure Whisper is of each word, if its words were looked for; else of the segment, its
    end included."""
    words = [
        (word.word, round(math.log(max(word.probability, LEAST)), 4))
        for word in segment.words or ()
    ]
    if words and "".join(text for text, _ in words) == segment.text:
        return words
    return [(segment.text, round(segment.avg_logprob * (len(segment.tokens) + 1), 4))]


def open_engine(environment: Mapping[str, str]) -> WholeUtterance:
    """Load the model that `ASR_MODEL` names.

    Raises:
        ModelMissing: It is not there.
    """
    folder = WHISPER_MODEL.find(environment)
    # Before the import, which reads it: the hub is never asked, whatever a file may lack.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import_gently(("faster_whisper",))
    from faster_whisper import WhisperModel

    # Not gently, for it starts the threads that will compute.
    model = WhisperModel(
        str(folder),
        device=environment.get(Variable.ASR_DEVICE) or "auto",
        compute_type=environment.get(Variable.ASR_COMPUTE_TYPE) or "auto",
        cpu_threads=model_threads(environment.get(Variable.ASR_THREADS)),
        local_files_only=True,
    )
    return WholeUtterance(FasterWhisper(model, environment), GRAIN)
