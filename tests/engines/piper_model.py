"""A Piper voice small enough to be made here: every phoneme is a short step of sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

SAMPLES: int = 300
"""Samples of a phoneme at its natural pace."""


def make_voice(
    folder: Path, name: str, *, rate: int = 16_000, speakers: int = 1, turns: int = 0
) -> None:
    """Write a voice's two files. It thinks so many turns before it speaks."""
    consts = {
        "one": np.array(1, np.int64),
        "per": np.array(SAMPLES, np.float32),
        "axis2": np.array([2], np.int64),
        "axis0": np.array([0], np.int64),
        "first": np.array([1], np.int64),
        "flat": np.array([1, 1, -1], np.int64),
        "least": np.array(200.0, np.float32),
        "turns": np.array(turns, np.int64),
        "true": np.array([True]),
        "nought": np.zeros((64, 64), np.float32),
    }
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state"], ["next"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, [1]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, [1]),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [64, 64]),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["turns", "true", "nought"], ["thought"], body=body),
        helper.make_node("ReduceMax", ["thought"], ["zero"], keepdims=0),
        helper.make_node("Cast", ["input"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["ids", "zero"], ["heard"]),
        helper.make_node("Div", ["heard", "least"], ["steps"]),
        helper.make_node("Unsqueeze", ["steps", "axis2"], ["column"]),
        helper.make_node("Gather", ["scales", "one"], ["pace"]),
        helper.make_node("Mul", ["pace", "per"], ["length"]),
        helper.make_node("Cast", ["length"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["whole", "axis0"], ["samples"]),
        helper.make_node("Concat", ["first", "input_lengths", "samples"], ["shape"], axis=0),
        helper.make_node("Expand", ["column", "shape"], ["spread"]),
        helper.make_node("Reshape", ["spread", "flat"], ["output"]),
    ]
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        nodes[3:4] = [
            helper.make_node("Cast", ["sid"], ["who"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["ids", "zero"], ["said"]),
            helper.make_node("Pow", ["said", "who"], ["heard"]),
        ]
    graph = helper.make_graph(
        nodes,
        "voice",
        inputs,
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, None])],
        [numpy_helper.from_array(value, key) for key, value in consts.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / f"{name}.onnx"))
    config = {
        "audio": {"sample_rate": rate},
        "espeak": {"voice": {"en": "en-us"}.get(name[:2], name[:2])},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": speakers,
        "speaker_id_map": {f"S{n}": n for n in range(speakers)} if speakers > 1 else {},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_id_map": dict(DEFAULT_PHONEME_ID_MAP),
    }
    (folder / f"{name}.onnx.json").write_text(json.dumps(config))
