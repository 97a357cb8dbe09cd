"""BERT (Devlin et al. 2019): keras-hub's network, from a Hugging Face folder (strictly), a preset, or at random.

A folder holds config.json, tokenizer_config.json, vocab.txt and model.safetensors. Every tensor is taken by name; one
that is missing, unknown or of another shape is an error that names it, where keras-hub itself passes over what it
does not know.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from common import files, safetensors
from common.errors import UserError

FILES = ("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")

RANDOM = {
    "random": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072},
    "random-tiny": {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64},
}
"""Networks without a checkpoint, by name: BERT base's size, and one for scaled runs."""

HEADS = ("cls.", "classifier.", "embeddings.position_ids")
"""Tensors of pretraining and task heads, and a counter: part of published checkpoints, not of the backbone."""

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
"""Hugging Face's name of each of keras-hub's layers, within a transformer layer where there is one."""

KINDS = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


def bert(checkpoint: str):
    """Tokeniser and network.

    Args:
        checkpoint: a Hugging Face folder, a keras-hub preset (downloaded once), or a name of `RANDOM`.

    Returns:
        (tokeniser, backbone) of keras-hub.

    Raises:
        UserError: the folder is no BERT checkpoint, or the preset cannot be had.
    """
    import keras_hub

    if checkpoint in RANDOM:
        return _random(checkpoint)
    if not is_preset(checkpoint):
        return _from_folder(Path(checkpoint).expanduser())
    try:
        tokenizer = keras_hub.models.BertTokenizer.from_preset(checkpoint)
        return tokenizer, keras_hub.models.BertBackbone.from_preset(checkpoint)
    except Exception as error:  # the downloader's errors share no base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"The preset {checkpoint} cannot be had ({reason}); `ser fetch bert-base-uncased` can."
        ) from error


def is_preset(checkpoint: str) -> bool:
    """True if keras-hub publishes a BERT of that name."""
    if "/" in checkpoint or Path(checkpoint).is_dir():
        return False
    import keras_hub

    return checkpoint in keras_hub.models.BertBackbone.presets


def digest(checkpoint: str) -> str:
    """Which weights and words these are: hash of a folder's four files; a preset's or random network's own name.

    Raises:
        UserError: a file of the folder is missing.
    """
    if checkpoint in RANDOM:
        return checkpoint
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir() and is_preset(checkpoint):
        return checkpoint
    _files(folder)
    return files.digest(folder / name for name in FILES)


def _files(folder: Path) -> None:
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is not a BERT checkpoint: it holds no {name}. "
                "`ser fetch bert-base-uncased` puts one in place."
            )


def _from_folder(folder: Path):
    import keras_hub

    _files(folder)
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
    _fill(network, {_plain(name): values for name, values in tensors.items()}, folder)
    return keras_hub.models.BertTokenizer(words, lowercase=lowercase), network


def _fill(network, tensors: dict[str, np.ndarray], folder: Path) -> None:
    wanted = {tensor_name(weight.path): weight for weight in network.weights}
    shapes = {name: _stored_shape(weight) for name, weight in wanted.items()}
    tensors = {name: values for name, values in tensors.items() if name in wanted or not name.startswith(HEADS)}
    if problems := safetensors.difference(tensors, shapes):
        raise UserError(f"{folder}/model.safetensors does not fit its config.json: {problems}.")
    for name, weight in wanted.items():
        values = tensors[name].astype(np.float32)
        weight.assign((values.T if weight.path.endswith("kernel") else values).reshape(weight.shape))


def tensor_name(path: str) -> str:
    """Hugging Face's name of a weight of keras-hub's backbone, without the task's prefix."""
    layer, _, kind = path.rpartition("/")
    if kind == "embeddings":
        return LAYERS[path]
    if not layer.startswith("transformer_layer_"):
        return f"{LAYERS[layer]}.{KINDS[kind]}"
    block, _, inner = layer.partition("/")
    return f"encoder.layer.{block.removeprefix('transformer_layer_')}.{LAYERS[inner]}.{KINDS[kind]}"


def _stored_shape(weight) -> tuple[int, ...]:
    """The shape of a weight in Hugging Face's format: heads are not an axis, kernels are (outputs, inputs)."""
    shape = tuple(weight.shape)
    if weight.path.endswith("kernel"):
        inputs = shape[0] if weight.path.split("/")[-2] in ("query", "key", "value") else int(np.prod(shape[:-1]))
        return (int(np.prod(shape)) // inputs, inputs)
    return shape if weight.path.endswith("embeddings") else (int(np.prod(shape)),)


def _plain(name: str) -> str:
    """A tensor's name without the task's prefix, and with today's names for the oldest checkpoints' layer norms."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _random(name: str, seed: int = 0):
    """A network of fixed-seed weights whose word pieces are letters: its features depend on the text alone."""
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
