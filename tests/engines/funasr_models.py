"""FunASR models small enough to be made here, in the files of published ones.

The SenseVoice says a word for every run of loud sound, and which word depends on the language
that it is asked for; the four places ahead of the sound say language, mood, kind and form, as
tags. The Paraformer says a word in every so many frames that are loud, and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import sentencepiece
import torch
import yaml
from funasr.models.paraformer.model import Paraformer
from funasr.models.sense_voice.model import SenseVoiceSmall

LANGUAGES: Final = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12}
"""The rows of the model's table of queries that stand for them."""

WORDS: Final = {
    "auto": "▁Hm",
    "zh": "你好",
    "en": "▁Hello",
    "yue": "哈佬",
    "ja": "はい",
    "ko": "▁네",
}
TAGS: Final = {1: "<|NEUTRAL|>", 2: "<|Speech|>", 14: "<|withitn|>", 15: "<|woitn|>"}
ROWS: Final = 16
LOUD: Final = ROWS
"""The feature that is above nought in loud sound and below in silence: rows come before it."""

MELS: Final = 80
STACKED: Final = 7
WIDTH: Final = 32
TOKENS: Final = "chn_jpn_yue_eng_ko_spectok.bpe.model"

PARAFORMER_TOKENS: Final = ["<blank>", "<s>", "</s>", "go", "ten", "<unk>"]


def _frontend() -> dict[str, Any]:
    return {
        "fs": 16000,
        "window": "hamming",
        "n_mels": MELS,
        "frame_length": 25,
        "frame_shift": 10,
        "lfr_m": STACKED,
        "lfr_n": 6,
        "dither": 0.0,
    }


def _sense_voice() -> dict[str, Any]:
    return {
        "model": "SenseVoiceSmall",
        "model_conf": {"length_normalized_loss": True},
        "encoder": "SenseVoiceEncoderSmall",
        "encoder_conf": {
            "output_size": WIDTH,
            "attention_heads": 1,
            "linear_units": 4,
            "num_blocks": 1,
            "tp_blocks": 0,
            "dropout_rate": 0.1,
            "positional_dropout_rate": 0.1,
            "attention_dropout_rate": 0.1,
            "input_layer": "pe",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
        },
        "frontend": "WavFrontend",
        "frontend_conf": _frontend(),
        "tokenizer": "SentencepiecesTokenizer",
        "tokenizer_conf": {"bpemodel": None, "unk_symbol": "<unk>", "split_with_space": True},
    }


def _sense_voice_weights(
    number: dict[str, int], config: dict[str, Any]
) -> dict[str, torch.Tensor]:
    model = SenseVoiceSmall(
        **config["model_conf"],
        encoder=config["encoder"],
        encoder_conf=config["encoder_conf"],
        input_size=MELS * STACKED,
        vocab_size=len(number),
    )
    weights: dict[str, torch.Tensor] = model.state_dict()
    for name, value in weights.items():
        value.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    for row in range(ROWS):
        weights["embed.weight"][row, row] = 1e4
    layer = "encoder.encoders0.0.self_attn."
    taken = weights[layer + "linear_q_k_v.weight"]
    # Each place keeps what it is itself...
    for feature in range(ROWS + 1):
        taken[2 * WIDTH + feature, feature] = 1.0
    # ...and looks at the place of the language, which adds which one it is.
    weights[layer + "linear_q_k_v.bias"][0] = 10.0
    for row in LANGUAGES.values():
        taken[WIDTH, row] = 10.0
        weights[layer + "linear_out.weight"][row, row] = 1.0
    scores = weights["ctc.ctc_lo.weight"]
    for language, row in LANGUAGES.items():
        scores[number[f"<|{language}|>"], row] = 1.5
        scores[number[WORDS[language]], row] = 1.0
        scores[number[WORDS[language]], LOUD] = 2.0
    for row, tag in TAGS.items():
        scores[number[tag], row] = 3.0
    scores[0, LOUD] = -3.0
    return weights


def make_sense_voice(folder: Path) -> Path:
    """Write the model's files, as `hf download` would."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [f"<|{language}|>" for language in LANGUAGES] + [*TAGS.values(), *WORDS.values()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"]),
        model_prefix=str(folder / "made"),
        model_type="char",
        vocab_size=len(pieces) + 7,
        user_defined_symbols=pieces,
        minloglevel=2,
    )
    (folder / "made.vocab").unlink()
    (folder / "made.model").rename(folder / TOKENS)
    read = sentencepiece.SentencePieceProcessor(model_file=str(folder / TOKENS))
    number = {read.id_to_piece(n): n for n in range(read.get_piece_size())}
    config = _sense_voice()
    _write(folder, config, _sense_voice_weights(number, config), {"bpemodel": TOKENS})
    return folder


def _paraformer() -> dict[str, Any]:
    return {
        "model": "Paraformer",
        "model_conf": {"ctc_weight": 0.0, "lsm_weight": 0.1, "sampling_ratio": 0.75},
        "encoder": "SANMEncoder",
        "encoder_conf": {
            "output_size": WIDTH,
            "attention_heads": 1,
            "linear_units": 4,
            "num_blocks": 1,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
        },
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": {
            "attention_heads": 1,
            "linear_units": 4,
            "num_blocks": 1,
            "att_layer_num": 1,
            "kernel_size": 11,
            "sanm_shfit": 0,
        },
        "predictor": "CifPredictorV2",
        "predictor_conf": {
            "idim": WIDTH,
            "threshold": 1.0,
            "l_order": 1,
            "r_order": 1,
            "tail_threshold": 0.45,
        },
        "frontend": "WavFrontend",
        "frontend_conf": _frontend(),
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    }


def make_paraformer(folder: Path) -> Path:
    """Write the model's files, as `hf download` would."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _paraformer()
    model = Paraformer(
        **config["model_conf"],
        **{key: config[key] for key in ("encoder", "decoder", "predictor")},
        **{key: config[key] for key in ("encoder_conf", "decoder_conf", "predictor_conf")},
        input_size=MELS * STACKED,
        vocab_size=len(PARAFORMER_TOKENS),
    )
    weights = model.state_dict()
    for name, value in weights.items():
        value.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    weights["encoder.encoders0.0.self_attn.linear_q_k_v.weight"][2 * WIDTH, LOUD] = 1.0
    # A word's weight gathers while it is loud: this much in a frame, and nothing in silence.
    weights["predictor.cif_conv1d.weight"][0, 0, 1] = 1.0
    weights["predictor.cif_output.weight"][0, 0] = 10.0
    weights["predictor.cif_output.bias"][0] = -20.0
    weights["decoder.output_layer.bias"][PARAFORMER_TOKENS.index("go")] = 9.0
    (folder / "tokens.json").write_text(json.dumps(PARAFORMER_TOKENS))
    _write(folder, config, weights, {"token_list": "tokens.json"})
    return folder


def _write(
    folder: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    tokens: dict[str, str],
) -> None:
    torch.save(weights, folder / "model.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    files = {
        "init_param": "model.pt",
        "config": "config.yaml",
        "tokenizer_conf": tokens,
        "frontend_conf": {"cmvn_file": "am.mvn"},
    }
    described = {"framework": "pytorch", "file_path_metas": files}
    (folder / "configuration.json").write_text(json.dumps(described))
    _write_normalisation(folder / "am.mvn")


def _write_normalisation(path: Path) -> None:
    """Kaldi's form. All features but one count for nothing."""
    shifts, scales = ["0"] * (MELS * STACKED), ["0"] * (MELS * STACKED)
    shifts[LOUD], scales[LOUD] = "-12", "1000"
    width = MELS * STACKED
    path.write_text(
        "<Nnet>\n"
        f"<AddShift> {width} {width}\n<LearnRateCoef> 0 [ {' '.join(shifts)} ]\n"
        f"<Rescale> {width} {width}\n<LearnRateCoef> 0 [ {' '.join(scales)} ]\n"
        "</Nnet>\n"
    )
