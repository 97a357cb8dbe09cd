"""BERT (Devlin et al. 2019): keras-hub's network with the weights of a Hugging Face folder, a preset, or random ones.

A folder holds config.json, tokenizer_config.json, vocab.txt and model.safetensors. It is loaded strictly, while
keras-hub's own conversion ignores tensors that it does not know.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from common import files, safetensors
from common.errors import UserError
from common.models.checkpoint import StoredWeight, assign_weights, require_files

FILES = ("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")

RANDOM = {
    "random": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "random-tiny": {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64},
}
"""Sizes of the networks with random weights: that of BERT base, and a small one for scaled runs."""

HEADS = ("cls.", "classifier.", "embeddings.position_ids")
"""Beginnings of the names of tensors in published checkpoints that do not belong to the backbone."""

LAYERS = {
    "token_embedding/embeddings": "embeddings.word_embeddings.weight",
    "position_embedding/embeddings": "embeddings.position_embeddings.weight",
    "segment_embedding/embeddings": "embeddings.token_type_embeddings.weight",
    "embeddings_layer_norm": "embeddings.LayerNorm",
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
    "pooled_dense": "pooler.dense",
}
"""Hugging Face's names by keras-hub's names of layers, without the name of the transformer layer around them."""

VARIABLES = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


def load_bert(checkpoint: str):
    """Loads a tokeniser and a network.

    Args:
        checkpoint: a Hugging Face folder, a keras-hub preset (downloaded once), or a name of `RANDOM`.

    Returns:
        (tokeniser, backbone) of keras-hub.

    Raises:
        UserError: The folder is not a BERT checkpoint, or the preset cannot be downloaded.
    """
    import keras_hub

    if checkpoint in RANDOM:
        return _random(checkpoint)
    if not _is_preset(checkpoint):
        return _from_folder(Path(checkpoint).expanduser())
    try:
        tokenizer = keras_hub.models.BertTokenizer.from_preset(checkpoint)
        return tokenizer, keras_hub.models.BertBackbone.from_preset(checkpoint)
    except Exception as error:  # the downloader's errors have no common base class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"The preset {checkpoint} cannot be downloaded ({reason}). `ser fetch bert-base-uncased` downloads another "
            "checkpoint."
        ) from error


def _is_preset(checkpoint: str) -> bool:
    """True if keras-hub has a BERT preset of that name."""
    if "/" in checkpoint or Path(checkpoint).is_dir():
        return False
    import keras_hub

    return checkpoint in keras_hub.models.BertBackbone.presets


def digest(checkpoint: str) -> str:
    """Identifies weights and vocabulary: a hash of a folder's files, or the name of a preset or random network.

    Raises:
        UserError: A file of the folder is missing.
    """
    if checkpoint in RANDOM:
        return checkpoint
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir() and _is_preset(checkpoint):
        return checkpoint
    require_files(folder, FILES, "a BERT checkpoint", "bert-base-uncased")
    return files.digest(folder / name for name in FILES)


def _from_folder(folder: Path):
    import keras_hub

    require_files(folder, FILES, "a BERT checkpoint", "bert-base-uncased")
    try:
        config = json.loads((folder / "config.json").read_bytes())
        lowercase = bool(json.loads((folder / "tokenizer_config.json").read_bytes())["do_lower_case"])
        words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        sizes = {
            "vocabulary_size": config["vocab_size"],
            "num_layers": config["num_hidden_layers"],
            "num_heads": config["num_attention_heads"],
            "hidden_dim": config["hidden_size"],
            "intermediate_dim": config["intermediate_size"],
            "max_sequence_length": config["max_position_embeddings"],
            "num_segments": config["type_vocab_size"],
        }
        tensors = safetensors.read(folder / "model.safetensors")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{folder} is a damaged BERT checkpoint ({error}). Fetch it again.") from error
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu" or len(words) != config["vocab_size"]:
        raise UserError(
            f"{folder} is not a BERT checkpoint: expected model_type bert, hidden_act gelu and vocab_size words; "
            f"it has {config.get('model_type')}, {config.get('hidden_act')} and {len(words)} words of "
            f"{config['vocab_size']}."
        )
    network = keras_hub.models.BertBackbone(dropout=0.0, **sizes)
    wanted = {
        _tensor_name(weight.path): StoredWeight(weight, _stored_shape(weight), weight.path.endswith("kernel"))
        for weight in network.weights
    }
    tensors = {_current_name(name): values for name, values in tensors.items()}
    tensors = {name: values for name, values in tensors.items() if name in wanted or not name.startswith(HEADS)}
    assign_weights(wanted, tensors, f"{folder}/model.safetensors does not fit its config.json")
    return keras_hub.models.BertTokenizer(words, lowercase=lowercase), network


def _tensor_name(path: str) -> str:
    """Hugging Face's name of a weight of keras-hub's backbone, without the task's prefix."""
    layer, _, kind = path.rpartition("/")
    if kind == "embeddings":
        return LAYERS[path]
    if not layer.startswith("transformer_layer_"):
        return f"{LAYERS[layer]}.{VARIABLES[kind]}"
    block, _, inner = layer.partition("/")
    return f"encoder.layer.{block.removeprefix('transformer_layer_')}.{LAYERS[inner]}.{VARIABLES[kind]}"


def _stored_shape(weight) -> tuple[int, ...]:
    """The shape of a weight in Hugging Face's format: attention heads are no axis, kernels are (outputs, inputs)."""
    shape = tuple(weight.shape)
    if weight.path.endswith("kernel"):
        inputs = shape[0] if weight.path.split("/")[-2] in ("query", "key", "value") else int(np.prod(shape[:-1]))
        return (int(np.prod(shape)) // inputs, inputs)
    return shape if weight.path.endswith("embeddings") else (int(np.prod(shape)),)


def _current_name(name: str) -> str:
    """A tensor's name without the task's prefix, and with the current names of layer norms in old checkpoints."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _random(name: str, seed: int = 0):
    """A network with random weights of a fixed seed, whose word pieces are single characters."""
    import keras_hub

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters), *".,?!'-:;"]
    network = keras_hub.models.BertBackbone(
        vocabulary_size=len(words), max_sequence_length=512, dropout=0.0, **RANDOM[name]
    )
    generator = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.path.endswith(("kernel", "embeddings")):
            inputs = _stored_shape(weight)[1]
            weight.assign(generator.standard_normal(weight.shape, np.float32) * np.float32(inputs**-0.5))
        else:
            weight.assign(np.full(weight.shape, float(weight.path.endswith("gamma")), np.float32))
    return keras_hub.models.BertTokenizer(words, lowercase=True), network
