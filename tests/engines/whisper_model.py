"""A Whisper model small enough to be made here: it says the same words to whatever it hears.

It has the shape, the tokens and the files of a real one, and weights that are all nothing but
for the positions: the word said at a place depends on the place alone, and it is looked for in
a time of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from ctranslate2.specs.whisper_spec import WhisperConfig, WhisperSpec
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

WORDS: Final = (" Go", " forward", " ten", " meters", ".")
WIDTH: Final = 16
HEADS: Final = 1
MELS: Final = 80
POSITIONS: Final = 448
TIMES: Final = 1500
WORD_TIMES: Final = 20
"""Steps of 20 ms that a word takes."""

SURE: Final = 3.0
"""How much more likely a word is than the others: not so much that nothing is left for them."""

FIRST: Final = 1
"""The place that is asked for the first word: it is `notimestamps` or the first time, and the
start is ahead of it. With so few tokens a model counts as English-only."""


def _tokens() -> list[str]:
    letters = sorted(ByteLevel.alphabet())
    words = [word.replace(" ", "Ġ") for word in WORDS if len(word) > 1]
    special = ["<|endoftext|>", "<|startoftranscript|>"]
    special += [f"<|{code}|>" for code in _LANGUAGE_CODES]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    return letters + words + special + [f"<|{n * 0.02:.2f}|>" for n in range(1501)]


def _zero(shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, np.float32)


def _linear(spec: Any, outputs: int, inputs: int) -> None:
    spec.weight, spec.bias = _zero((outputs, inputs)), _zero((outputs,))


def _norm(spec: Any) -> None:
    spec.gamma, spec.beta = np.ones(WIDTH, np.float32), _zero((WIDTH,))


def _attention(spec: Any, *, own: bool) -> None:
    _norm(spec.layer_norm)
    shapes = [3 * WIDTH, WIDTH] if own else [WIDTH, 2 * WIDTH, WIDTH]
    for linear, outputs in zip(spec.linear, shapes, strict=True):
        _linear(linear, outputs, WIDTH)


def _feed_forward(spec: Any) -> None:
    _norm(spec.layer_norm)
    _linear(spec.linear_0, 4 * WIDTH, WIDTH)
    _linear(spec.linear_1, WIDTH, 4 * WIDTH)


def make_whisper(folder: Path) -> Path:
    """Write the model's files, as `hf download` would."""
    tokens = _tokens()
    number = {token: n for n, token in enumerate(tokens)}
    spec = WhisperSpec(1, HEADS, 1, HEADS)
    for conv, inputs in ((spec.encoder.conv1, MELS), (spec.encoder.conv2, WIDTH)):
        conv.weight, conv.bias = _zero((WIDTH, inputs, 3)), _zero((WIDTH,))
    times = _zero((TIMES, WIDTH))
    for time in range(TIMES):
        times[time, min(time // WORD_TIMES, WIDTH - 1)] = 1.0
    spec.encoder.position_encodings.encodings = times
    _norm(spec.encoder.layer_norm)
    for layer in spec.encoder.layer:
        _attention(layer.self_attention, own=True)
        _feed_forward(layer.ffn)
    decoder = spec.decoder
    decoder.embeddings.weight = _zero((len(tokens), WIDTH))
    # A place is a direction of its own; after the words, all places are alike.
    places = _zero((POSITIONS, WIDTH))
    for place in range(POSITIONS):
        places[place, min(place, WIDTH - 1)] = 1.0
    decoder.position_encodings.encodings = places
    _norm(decoder.layer_norm)
    projection = _zero((len(tokens), WIDTH))
    said = [number[word.replace(" ", "Ġ")] for word in WORDS]
    for n, token in enumerate(said):
        projection[token, FIRST + n] = SURE
    projection[number["<|endoftext|>"], FIRST + len(said) :] = SURE
    projection[number["<|0.00|>"], :FIRST] = SURE
    decoder.projection.weight, decoder.projection.bias = projection, _zero((len(tokens),))
    for layer in decoder.layer:
        _attention(layer.self_attention, own=True)
        _attention(layer.attention, own=False)
        query, key_and_value, _ = layer.attention.linear
        np.fill_diagonal(query.weight, 1.0)
        np.fill_diagonal(key_and_value.weight, 1.0)
        _feed_forward(layer.ffn)
    spec.register_vocabulary(tokens)
    config = WhisperConfig([], [], [number[f"<|{c}|>"] for c in _LANGUAGE_CODES], [(0, 0)])
    for key, value in config.to_dict().items():
        setattr(spec.config, key, value)
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    _write_tokenizer(folder, tokens, number)
    return folder


def _write_tokenizer(folder: Path, tokens: list[str], number: dict[str, int]) -> None:
    special = {token for token in tokens if token.startswith("<|")}
    vocabulary = {token: n for token, n in number.items() if token not in special}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens([token for token in tokens if token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert {token: tokenizer.token_to_id(token) for token in tokens} == number
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS}))
