"""Piper as a speech engine, with the voices in a folder on this machine.

A voice is a file `en_US-lessac-medium.onnx` and its `….onnx.json`. Piper is told to stop in the
middle of a sentence; by itself it would finish it, and all who wait would wait for that.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from attrs import define, field, frozen

from trio_bridge.nodes.gently import import_gently
from trio_bridge.nodes.local_model import LocalModel, ModelMissing, model_threads
from trio_bridge.nodes.synthesis import VOICES, EngineError, Utterance
from trio_bridge.nodes.variables import Variable

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from piper import PiperVoice

MODEL: Final = LocalModel(
    setting="TTS_ENGINE=piper",
    package="piper",
    extra="piper",
    variable=Variable.TTS_MODEL,
    files=("*.onnx", "*.onnx.json"),
    example="en_US-lessac-medium",
    download="mkdir -p {folder} && python -m piper.download_voices {model} "
    "--download-dir {folder}",
    names=r"[a-z]{2}_[A-Z]{2}-\w+-(x_low|low|medium|high)",
)

SPEEDS: Final = (0.25, 4.0)

LOOK_EVERY: Final = 0.01
"""Seconds between two looks at whether a piece is to be stopped."""

PAUSE: Final = 0.1
"""Seconds of silence for a piece in which there is nothing to say, such as a lone dash."""

LOCAL_PHONEMES: Final = frozenset({"espeak", "text"})
"""Ways to phonemes that need no model beside the voice's; the others fetch theirs."""


@define(eq=False)
class StoppableSession:
    """A voice's network, run so that another thread can stop it between two of its steps."""

    session: InferenceSession
    stop: threading.Event = field(factory=threading.Event)

    def run(self, outputs: Any, inputs: Any) -> Any:
        """As `InferenceSession.run`. Raises what that raises when it is stopped."""
        from onnxruntime import RunOptions

        options = RunOptions()
        over = threading.Event()

        def watch(stop: threading.Event) -> None:
            while not over.wait(LOOK_EVERY):
                if stop.is_set():
                    options.terminate = True
                    return

        watcher = threading.Thread(target=watch, args=(self.stop,), daemon=True)
        watcher.start()
        try:
            return self.session.run(outputs, inputs, options)
        finally:
            over.set()
            watcher.join()


@frozen
class Voice:
    """One speaker of one of the voices."""

    language: str
    piper: PiperVoice
    network: StoppableSession
    speaker: int | None


@define(eq=False)
class Piper:
    """The engine.

    Args:
        voices: Name in lower case → voice, in the order in which the protocol's names get them.
        default: The name of the voice of all who ask for none of these.
    """

    voices: Mapping[str, Voice]
    default: str

    def resolve(self, voice: str) -> str:
        """The name of the voice for a name of the protocol's, or for one of its own. The
        protocol's names go round among the speakers of the default's language."""
        name = voice.strip().lower()
        if name in self.voices:
            return name
        if name not in VOICES:
            return self.default
        language = self.voices[self.default].language
        alike = [each for each, found in self.voices.items() if found.language == language]
        return alike[VOICES.index(name) % len(alike)]

    def rate_of(self, voice: str) -> int:
        """See `Engine.rate_of`: each voice has its own."""
        return int(self.voices[self.resolve(voice)].piper.config.sample_rate)

    def synthesise(
        self, text: str, *, voice: str, speed: float, stop: threading.Event
    ) -> Utterance:
        """See `Engine.synthesise`. There are no marks: words share the time by length.

        Raises:
            EngineError: The voice cannot speak it.
        """
        from piper import SynthesisConfig

        found = self.voices[self.resolve(voice)]
        slowest, fastest = SPEEDS
        pace = min(max(speed, slowest), fastest)
        config = SynthesisConfig(
            speaker_id=found.speaker, length_scale=found.piper.config.length_scale / pace
        )
        found.network.stop = stop
        made = []
        try:
            for chunk in found.piper.synthesize(text, config):
                made.append(chunk.audio_float_array)
                if stop.is_set():
                    break
        except Exception as exc:
            if not stop.is_set():
                raise EngineError(f"piper cannot speak this piece: {exc}") from exc
        if not made:
            made.append(np.zeros(round(PAUSE * found.piper.config.sample_rate), np.float32))
        return Utterance(np.concatenate(made).astype(np.float32, copy=False))


def open_engine(environment: Mapping[str, str]) -> Piper:
    """Load all voices in the folder that `TTS_MODEL` names.

    Raises:
        EngineError: Piper or its voices are not there, or cannot be loaded.
    """
    try:
        folder = MODEL.find(environment)
    except ModelMissing as exc:
        raise EngineError(str(exc)) from exc
    import_gently(("onnxruntime", "piper"))
    # Not gently, for each voice's network starts the threads that will compute.
    threads = model_threads(environment.get(Variable.TTS_THREADS))
    voices: dict[str, Voice] = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            voices.update(_load(path, threads))
        except EngineError:
            raise
        except Exception as exc:
            raise EngineError(f"piper cannot load its voice {path}: {exc}") from exc
    language = (environment.get(Variable.TTS_LANGUAGE) or "").replace("-", "_").lower()
    fitting = [name for name, voice in voices.items() if voice.language.startswith(language)]
    if not fitting:
        there = ", ".join(sorted({voice.language for voice in voices.values()}))
        raise EngineError(f"no voice in {folder} speaks TTS_LANGUAGE={language}; some: {there}")
    return Piper(voices, fitting[0])


def _load(path: Path, threads: int) -> dict[str, Voice]:
    """A voice file's speakers by name: `en_us-lessac-medium`, or `en_us-arctic-medium#awb`."""
    from onnxruntime import InferenceSession, SessionOptions
    from piper import PiperConfig, PiperVoice

    config = PiperConfig.from_dict(json.loads(Path(f"{path}.json").read_text()))
    kind = str(getattr(config.phoneme_type, "value", config.phoneme_type))
    if kind not in LOCAL_PHONEMES:
        raise EngineError(f"the voice {path} needs {kind} phonemes, which are not supported")
    options = SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work would spin, on processors that others need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    network = StoppableSession(session)
    piper = PiperVoice(session=network, config=config)
    name = path.stem.lower()
    language = name.partition("-")[0]
    if config.num_speakers <= 1:
        return {name: Voice(language, piper, network, None)}
    speakers = config.speaker_id_map or {str(n): n for n in range(config.num_speakers)}
    return {
        f"{name}#{speaker.lower()}": Voice(language, piper, network, number)
        for speaker, number in speakers.items()
    }
