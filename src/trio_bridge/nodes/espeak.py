"""espeak-ng in this process, through ctypes, from the wheel that carries library and voices.

The engine is one per process and not reentrant: calls are serialised by a lock. The facts
about its interface are those of espeak-ng 1.52's `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from typing import Final

import numpy as np
from attrs import define, field

from trio_bridge.nodes.gently import gently
from trio_bridge.nodes.synthesis import EngineError, Mark, Utterance
from trio_bridge.nodes.variables import Variable

WORDS_PER_MINUTE: Final = 175
"""The engine's own natural pace, which speed 1.0 stands for."""

WPM_RANGE: Final = (80, 450)
"""What the engine can do; speeds under 0.46 all sound like 0.46."""

BUFFER_MS: Final = 100
"""Audio between two calls of the callback, and so between two looks at `stop`: 0.1 ms of
work."""

SAMPLES_MAX: Final = 22_050 * 300
"""No piece yields more: five minutes, more than the slowest voice needs for the longest piece
of digits. It bounds what a piece can hold, 26 MB of float32."""

VARIANTS: Final = {
    "alloy": "",
    "ash": "+m3",
    "ballad": "+m7",
    "cedar": "+m2",
    "coral": "+f2",
    "echo": "+m1",
    "fable": "+m4",
    "marin": "+f3",
    "nova": "+f1",
    "onyx": "+m8",
    "sage": "+f4",
    "shimmer": "+f5",
    "verse": "+m6",
}
"""The protocol's voices (`synthesis.VOICES`) as variants that are spoken with the language at
hand."""

_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_END_PAUSE = 0x1000
_PARAMETER_RATE = 1
_EVENT_END_OF_LIST = 0
_EVENT_WORD = 1
_OK = 0


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event)
)


@define
class _Sink:
    """What the callback has been given for the piece in hand."""

    stop: threading.Event
    chunks: list[bytes] = field(factory=list)
    samples: int = 0
    marks: list[Mark] = field(factory=list)


@define(init=False, eq=False)
class Espeak:
    """The engine. Make one per process.

    Attributes:
        sample_rate: 22,050 Hz.
        languages: Language codes it speaks, such as `en-us`.
        variants: Names of its voice variants, such as `f3`.
    """

    sample_rate: int
    languages: frozenset[str]
    variants: dict[str, str]
    _files: dict[str, str]
    """Language code → the voice's file: the engine finds a voice by that, not always by the
    code."""
    _default: str
    _library: ctypes.CDLL
    _lock: threading.Lock
    _sink: _Sink | None
    _voice: str
    _callback: object

    def __init__(self, language: str = "en-us") -> None:
        """Load the engine.

        Args:
            language: What it speaks unless the voice says otherwise.

        Raises:
            EngineError: It could not be loaded, or does not know the language.
        """
        import espeakng_loader

        self._lock = threading.Lock()
        self._sink = None
        self._voice = ""
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as exc:
            raise EngineError(f"espeak-ng cannot be loaded: {exc}") from exc
        _declare(self._library)
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, BUFFER_MS, data, _DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise EngineError(f"espeak-ng does not start (no voice data at {data.decode()!r}?)")
        # Kept here: ctypes does not keep it, and the engine calls it for as long as it lives.
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)
        # The first of a language's voices is the one that it prefers.
        self._files = dict(reversed(self._list(None)))
        self.languages = frozenset(self._files)
        self.variants = {}
        for _, identifier in self._list(b"variant"):
            stem = identifier.removeprefix("!v/")
            self.variants[stem.lower()] = stem
        self._default = language.lower()
        if self._default not in self.languages:
            raise EngineError(f"espeak-ng has no language {language!r}")

    def resolve(self, voice: str) -> str:
        """The engine's voice for a name of the protocol's, or for one of the engine's own
        (`fr-fr`, `en-gb+f2`, `+m3`). Anything else gets the default: a name is only ever
        looked up in the engine's own list, never used as a path."""
        name = voice.strip().lower()
        language, _, variant = VARIANTS.get(name, name).partition("+")
        language = language or self._default
        if language not in self.languages or (variant and variant not in self.variants):
            return self._default
        return f"{language}+{self.variants[variant]}" if variant else language

    def rate_of(self, voice: str) -> int:
        """See `Engine.rate_of`: the same for all voices."""
        del voice
        return self.sample_rate

    def synthesise(
        self, text: str, *, voice: str, speed: float, stop: threading.Event
    ) -> Utterance:
        """See `Engine.synthesise`. Speed 0.46 to 1.5 (and beyond, to 2.5) is exact.

        Raises:
            EngineError: The engine refused.
        """
        sink = _Sink(stop)
        data = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
        with self._lock:
            self._use(self.resolve(voice), speed)
            self._sink = sink
            try:
                result = self._library.espeak_Synth(
                    data,
                    len(data),
                    0,
                    _POS_CHARACTER,
                    0,
                    _CHARS_UTF8 | _END_PAUSE,
                    None,
                    None,
                )
            finally:
                self._sink = None
        if result != _OK:
            raise EngineError(f"espeak-ng cannot speak this piece (error {result})")
        pcm = np.frombuffer(b"".join(sink.chunks), np.int16)
        return Utterance(pcm.astype(np.float32) / np.float32(32768), tuple(sink.marks))

    def _use(self, name: str, speed: float) -> None:
        if name != self._voice:
            language, plus, variant = name.partition("+")
            file = f"{self._files[language]}{plus}{variant}"
            if self._library.espeak_SetVoiceByName(file.encode()) != _OK:
                raise EngineError(f"espeak-ng cannot load its voice {name!r}")
            self._voice = name
        slowest, fastest = WPM_RANGE
        pace = min(max(round(WORDS_PER_MINUTE * speed), slowest), fastest)
        self._library.espeak_SetParameter(_PARAMETER_RATE, pace, 0)

    def _take(self, wave: int | None, count: int, events: ctypes._Pointer[_Event]) -> int:
        """The engine's callback, in the thread that synthesises. 1 stops the engine."""
        sink = self._sink
        if sink is None or sink.stop.is_set() or sink.samples >= SAMPLES_MAX:
            return 1
        if wave and count > 0:
            sink.chunks.append(ctypes.string_at(wave, count * 2))
            sink.samples += count
        index = 0
        while (event := events[index]).type != _EVENT_END_OF_LIST:
            if event.type == _EVENT_WORD:
                sink.marks.append(Mark(event.text_position - 1, event.sample))
            index += 1
        return 0

    def _list(self, kind: bytes | None) -> list[tuple[str, str]]:
        """The engine's voices as (language, identifier); of one kind."""
        spec = None
        if kind is not None:
            wanted = ctypes.create_string_buffer(kind)
            spec = ctypes.byref(_Voice(languages=ctypes.addressof(wanted)))
        found = self._library.espeak_ListVoices(spec)
        voices = []
        index = 0
        while found[index]:
            voice = found[index].contents
            # A language is preceded by one byte, its priority.
            language = ctypes.string_at(voice.languages + 1).decode("utf-8", "replace")
            voices.append((language.lower(), voice.identifier.decode("utf-8", "replace")))
            index += 1
        return voices


def open_engine(environment: Mapping[str, str]) -> Espeak:
    """The engine, as the node's environment wants it."""
    language = environment.get(Variable.TTS_LANGUAGE) or "en-us"
    return gently(lambda: Espeak(language))


def _declare(library: ctypes.CDLL) -> None:
    library.espeak_Initialize.argtypes = (
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
    )
    library.espeak_SetSynthCallback.argtypes = (_Callback,)
    library.espeak_SetSynthCallback.restype = None
    library.espeak_SetVoiceByName.argtypes = (ctypes.c_char_p,)
    library.espeak_SetParameter.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library.espeak_ListVoices.argtypes = (ctypes.c_void_p,)
    library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
    library.espeak_Synth.argtypes = (
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.POINTER(ctypes.c_uint),
        ctypes.c_void_p,
    )
