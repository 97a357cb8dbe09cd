"""HuBERT checkpoints in Hugging Face's format: a folder of config.json and model.safetensors, or pytorch_model.bin.

Loading is strict: every tensor of the network must be there in its shape, and every other tensor of the file must be
one of a known task head.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import files, safetensors
from common.errors import UserError
from common.files import write_json

if TYPE_CHECKING:
    import keras

    from common.models.hubert import HubertConfig

FILES = ("model.safetensors", "pytorch_model.bin")
"""Where weights may lie, in the order of preference."""

HEADS = ("lm_head.", "projector.", "classifier.", "layer_weights")
"""Tensors of Hugging Face's CTC and classification heads; the network itself is then below "hubert."."""

NEW_NAMES = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
"""Weight-normalised tensors as PyTorch 2.1 and later name them, and as published checkpoints do."""

DENSE = {
    "query": "attention.q_proj",
    "key": "attention.k_proj",
    "value": "attention.v_proj",
    "out": "attention.out_proj",
    "widen": "feed_forward.intermediate_dense",
    "narrow": "feed_forward.output_dense",
}
NORMS = {"attention_norm": "layer_norm", "final_norm": "final_layer_norm"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a checkpoint and the weight that holds it.

    Attributes:
        name: Hugging Face's, with weight_g and weight_v.
        weight: the Keras variable.
        axes: how the tensor is transposed to the weight (its own inverse in all cases); None: not.
        shape: of the tensor in the file.
    """

    name: str
    weight: Any
    axes: tuple[int, ...] | None
    shape: tuple[int, ...]

    def assign(self, values: np.ndarray) -> None:
        """Puts a tensor of the file into the network."""
        values = np.asarray(values, np.float32)
        self.weight.assign((values if self.axes is None else values.transpose(self.axes)).reshape(self.weight.shape))

    def values(self) -> np.ndarray:
        """The tensor as the file holds it, float32."""
        import keras

        values = keras.ops.convert_to_numpy(self.weight.value).astype(np.float32)
        return (values if self.axes is None else values.transpose(self.axes)).reshape(self.shape)


def load(folder: str | Path, **arguments: Any) -> keras.Model:
    """A HuBERT with a checkpoint's weights.

    Args:
        folder: holds config.json and model.safetensors, or pytorch_model.bin if torch is installed.
        **arguments: `padding` and `masking` of `common.models.hubert.hubert`; others replace settings of the config
            (`layerdrop=0.0`).

    Raises:
        UserError: the folder is no HuBERT checkpoint, or its tensors are not exactly the network's.
    """
    from common.models.hubert import hubert

    own = {name: arguments.pop(name) for name in ("padding", "masking") if name in arguments}
    config = dataclasses.replace(read_config(folder), **arguments)
    file = _weights_file(Path(folder))
    tensors = safetensors.read(file) if file.suffix == ".safetensors" else safetensors.read_pytorch(file)
    model = hubert(config, **own)
    fill(model, config, tensors, str(file))
    return model


def read_config(folder: str | Path) -> HubertConfig:
    """The configuration of a checkpoint's folder.

    Raises:
        UserError: there is none, or it is another architecture's.
    """
    from common.models.hubert import HubertConfig

    file = Path(folder) / "config.json"
    try:
        described = json.loads(file.read_bytes())
    except OSError as error:
        raise UserError(
            f"{folder} is not a HuBERT checkpoint: it holds no config.json. "
            "`ser fetch hubert-base-ls960` puts one in place."
        ) from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}). Fetch the checkpoint again.") from error
    if not isinstance(described, dict):
        raise UserError(f"{file} is not a model's configuration. Fetch the checkpoint again.")
    return HubertConfig.from_json(described, str(file))


def digest(folder: str | Path) -> str:
    """Which checkpoint this is: a hash of configuration and weights, the same wherever the folder lies."""
    read_config(folder)
    return files.digest((Path(folder) / "config.json", _weights_file(Path(folder))))


def save(model: keras.Model, config: HubertConfig, folder: str | Path) -> None:
    """Writes config.json and model.safetensors as Hugging Face's HubertModel reads them, with weight_g and weight_v."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = tensors_of(model, config)
    safetensors.write(folder / "model.safetensors", {one.name: one.values() for one in described})
    write_json(folder / "config.json", config.to_json())


def fill(model: keras.Model, config: HubertConfig, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Puts a checkpoint's tensors into a network, strictly.

    Args:
        model: of `common.models.hubert.hubert`.
        config: its configuration.
        tensors: by Hugging Face's names.
        source: name for messages.

    Raises:
        UserError: names the first tensors that are missing, unknown or of another shape.
    """
    found = _plain(tensors)
    wanted = {one.name: one for one in tensors_of(model, config)}
    # Hugging Face leaves out what it never uses.
    optional = () if config.mask_time_prob > 0 else ("masked_spec_embed",)
    if problems := safetensors.difference(found, {name: one.shape for name, one in wanted.items()}, optional):
        raise UserError(f"{source} does not hold the HuBERT of its config.json: {problems}.")
    for name, one in wanted.items():
        if name in found:
            one.assign(found[name])


def tensors_of(model: keras.Model, config: HubertConfig) -> list[Tensor]:
    """Every tensor of a checkpoint of this network, 211 for base, with the weight that holds it."""
    found: list[Tensor] = []

    def add(name: str, weight, axes: Callable[[int], tuple[int, ...]] | None = None, shape=None) -> None:
        order = None if axes is None else axes(len(weight.shape))
        stored = tuple(weight.shape) if order is None else tuple(weight.shape[axis] for axis in order)
        found.append(Tensor(name, weight, order, shape or stored))

    def norm(name: str, layer) -> None:
        add(f"{name}.weight", layer.gamma)
        add(f"{name}.bias", layer.beta)

    def dense(name: str, layer) -> None:
        add(f"{name}.weight", layer.kernel, _reversed)
        add(f"{name}.bias", layer.bias)

    add("masked_spec_embed", model.get_layer("masked_frames").vector)
    for number in range(len(config.conv_dim)):
        name, layer = f"feature_extractor.conv_layers.{number}", model.get_layer(f"convolution_{number}")
        add(f"{name}.conv.weight", layer.kernel, _reversed)
        if config.conv_bias:
            add(f"{name}.conv.bias", layer.bias)
        if config.feat_extract_norm == "layer":
            norm(f"{name}.layer_norm", layer.norm)
        elif number == 0:
            add(f"{name}.layer_norm.weight", layer.scale)
            add(f"{name}.layer_norm.bias", layer.offset)
    if config.feat_proj_layer_norm:
        norm("feature_projection.layer_norm", model.get_layer("projection_norm"))
    dense("feature_projection.projection", model.get_layer("projection"))
    position = model.get_layer("position")
    add("encoder.pos_conv_embed.conv.bias", position.bias)
    add("encoder.pos_conv_embed.conv.weight_g", position.gain, shape=(1, 1, config.num_conv_pos_embeddings))
    add("encoder.pos_conv_embed.conv.weight_v", position.direction, _reversed)
    norm("encoder.layer_norm", model.get_layer("encoder_norm"))
    for number in range(config.num_hidden_layers):
        name, layer = f"encoder.layers.{number}", model.get_layer(f"layer_{number + 1}")
        for own, theirs in DENSE.items():
            dense(f"{name}.{theirs}", getattr(layer, own))
        for own, theirs in NORMS.items():
            norm(f"{name}.{theirs}", getattr(layer, own))
    return found


def _reversed(rank: int) -> tuple[int, ...]:
    return tuple(reversed(range(rank)))


def _plain(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors without the task's prefix and heads, weight-normalised ones by their old names."""
    if any(name.startswith("hubert.") for name in tensors):
        tensors = {name: values for name, values in tensors.items() if not name.startswith(HEADS)}
    found = {}
    for name, values in tensors.items():
        plain = name.removeprefix("hubert.")
        for new, old in NEW_NAMES.items():
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
