"""Writes checkpoints of HuBERT and similar networks in Hugging Face's format."""

import dataclasses
import json

import keras
import numpy as np

from common.models.speech_weights import stored_weights


def save_checkpoint(model, config, folder):
    """Writes config.json and model.safetensors as Hugging Face's models read them, with weight_g and weight_v."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, one in stored_weights(model, config).items():
        values = keras.ops.convert_to_numpy(one.weight.value)
        tensors[name] = (values.T if one.transposed else values).reshape(one.shape)
    write_tensors(folder / "model.safetensors", tensors)
    fixed = {
        "model_type": config.family, "feat_extract_activation": "gelu",
        "hidden_act": "gelu", "num_feat_extract_layers": len(config.conv_dim), "conv_pos_batch_norm": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**fixed, **dataclasses.asdict(config)}))


def write_tensors(file, tensors):
    """Writes float32 arrays as a safetensors file."""
    header: dict = {"__metadata__": {"format": "pt"}}  # Hugging Face's loader requires it
    end = 0
    for name, values in tensors.items():
        assert values.dtype == np.float32
        start, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join(np.ascontiguousarray(values).tobytes() for values in tensors.values())
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)
