"""Checkpoints of wav2vec 2.0, HuBERT, WavLM and data2vec audio in Hugging Face's format.

A checkpoint is a folder with config.json and model.safetensors, or pytorch_model.bin. Its `model_type` says which
network it is. Loading is strict: all tensors of the network must be there, and all other tensors must belong to a known
task head.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import files, safetensors
from common.errors import UserError
from common.models.checkpoint import StoredWeight, assign_weights, require_files

if TYPE_CHECKING:
    import keras

    from common.models.speech_config import SpeechConfig

FAMILIES = {
    "wav2vec2": "common.models.wav2vec2:Wav2Vec2Config",
    "hubert": "common.models.hubert:HubertConfig",
    "wavlm": "common.models.wavlm:WavLMConfig",
    "data2vec-audio": "common.models.data2vec:Data2VecConfig",
}
"""Module and class of each family's configuration, by the `model_type` of config.json."""

FILES = ("model.safetensors", "pytorch_model.bin")
"""Files that may hold the weights, in the order of preference."""

HEADS = ("lm_head.", "projector.", "classifier.", "layer_weights", "quantizer.", "project_q.", "project_hid.")
"""Beginnings of the names of tensors of Hugging Face's task heads; the network's own then begin with its prefix."""

OLD_NAMES = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
"""Names of weight-normalised tensors in published checkpoints, by their names in PyTorch 2.1 and later."""

DENSE = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.out_proj",
    "widen": "feed_forward.intermediate_dense",
    "narrow": "feed_forward.output_dense",
}
"""Hugging Face's names of the dense layers within a `TransformerLayer`."""

NORMS = {"attention_norm": "layer_norm", "final_norm": "final_layer_norm"}
"""Hugging Face's names of the normalisations within a `TransformerLayer`."""


def load(folder: str | Path, *, padding: str = "none", masking: bool = False, **settings: Any) -> keras.Model:
    """Builds the network of a checkpoint, with its weights.

    Args:
        folder: holds config.json and model.safetensors (or pytorch_model.bin, which needs PyTorch).
        padding: see `common.models.speech_encoder.speech_encoder`.
        masking: see `common.models.speech_encoder.speech_encoder`.
        **settings: fields of the config to change, for example `layerdrop=0.0`.

    Raises:
        UserError: The folder is no such checkpoint, or its tensors are not exactly those of the network.
    """
    from common.models.speech_encoder import speech_encoder

    config = dataclasses.replace(read_config(folder), **settings)
    file = _weights_file(Path(folder))
    tensors = safetensors.read(file) if file.suffix == ".safetensors" else safetensors.read_pytorch(file)
    model = speech_encoder(config, padding=padding, masking=masking)
    # Hugging Face leaves out the vector of masked frames if it is never used.
    optional = () if config.mask_time_prob > 0 else ("masked_spec_embed",)
    message = f"{file} does not hold the {config.title} of its config.json"
    assign_weights(stored_weights(model, config), _without_heads(tensors, config.prefix), message, optional)
    return model


def read_config(folder: str | Path) -> SpeechConfig:
    """Reads the configuration in a checkpoint's folder; its class is that of the family.

    Raises:
        UserError: There is none, or it is that of another architecture.
    """
    require_files(Path(folder), ("config.json",), "a checkpoint of HuBERT or a similar network", "hubert-base-ls960")
    file = Path(folder) / "config.json"
    try:
        described = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Fetch the checkpoint again.") from error
    if not isinstance(described, dict):
        raise UserError(f"{file} is not a model's configuration. Fetch the checkpoint again.")
    family = described.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"{file} describes no network that is supported (model_type is {family!r}). Give a folder of a checkpoint "
            f"with one of the types {', '.join(FAMILIES)}."
        )
    module, name = FAMILIES[family].split(":")
    return getattr(importlib.import_module(module), name).from_json(described, str(file))


def digest(folder: str | Path) -> str:
    """Identifies a checkpoint by a hash of its configuration and weights, wherever the folder is."""
    read_config(folder)
    return files.digest((Path(folder) / "config.json", _weights_file(Path(folder))))


def stored_weights(model: keras.Model, config: SpeechConfig) -> dict[str, StoredWeight]:
    """Lists all weights of a network, 211 for HuBERT base, by Hugging Face's names of their tensors."""
    found: dict[str, StoredWeight] = {}

    def norm(name: str, layer) -> None:
        found[f"{name}.weight"] = StoredWeight.like(layer.gamma)
        found[f"{name}.bias"] = StoredWeight.like(layer.beta)

    def dense(name: str, layer) -> None:
        found[f"{name}.weight"] = StoredWeight.like(layer.kernel, transposed=True)
        found[f"{name}.bias"] = StoredWeight.like(layer.bias)

    found["masked_spec_embed"] = StoredWeight.like(model.get_layer("masked_frames").vector)
    for number in range(len(config.conv_dim)):
        name, layer = f"feature_extractor.conv_layers.{number}", model.get_layer(f"convolution_{number}")
        found[f"{name}.conv.weight"] = StoredWeight.like(layer.kernel, transposed=True)
        if config.conv_bias:
            found[f"{name}.conv.bias"] = StoredWeight.like(layer.bias)
        if config.feat_extract_norm == "layer":
            norm(f"{name}.layer_norm", layer.norm)
        elif number == 0:
            found[f"{name}.layer_norm.weight"] = StoredWeight.like(layer.scale)
            found[f"{name}.layer_norm.bias"] = StoredWeight.like(layer.offset)
    if config.feat_proj_layer_norm:
        norm("feature_projection.layer_norm", model.get_layer("projection_norm"))
    dense("feature_projection.projection", model.get_layer("projection"))
    norm("encoder.layer_norm", model.get_layer("encoder_norm"))
    for number in range(config.num_hidden_layers):
        name, layer = f"encoder.layers.{number}", model.get_layer(f"layer_{number + 1}")
        for own, theirs in DENSE.items():
            dense(f"{name}.{theirs}", getattr(layer, own))
        for own, theirs in NORMS.items():
            norm(f"{name}.{theirs}", getattr(layer, own))
    return found | config.position_tensors(model)


def _without_heads(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The network's own tensors, under the names of published checkpoints."""
    if any(name.startswith(prefix) for name in tensors):
        tensors = {name: values for name, values in tensors.items() if not name.startswith(HEADS)}
    found = {}
    for name, values in tensors.items():
        plain = name.removeprefix(prefix)
        for new, old in OLD_NAMES.items():
            plain = plain.replace(new, old)
        found[plain] = values
    return found


def _weights_file(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{folder} holds neither model.safetensors nor pytorch_model.bin. "
        "`ser fetch hubert-base-ls960` puts one in place."
    )
