"""Sizes and variants of the networks that go from a waveform to hidden states: wav2vec 2.0 and its successors.

The fields are those of Hugging Face's config.json. A family is a subclass in a module of its own; its methods say in
what it differs from wav2vec 2.0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import keras

from common.errors import UserError
from common.layers.positional import PositionalConvolution
from common.layers.waveform import frames_after
from common.models.checkpoint import StoredWeight

ONLY = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "conv_pos_batch_norm": False,
    "add_adapter": False,
    "adapter_attn_dim": None,
}
"""Fields of a config.json with variants that are not supported, and the value that is."""


@dataclass(frozen=True)
class SpeechConfig:
    """Sizes and dropout of a network; the defaults are Hugging Face's, which are those of the base networks.

    Attributes:
        family: the `model_type` of config.json.
        title: the usual name.
        prefix: beginning of the names of the network's tensors in a checkpoint with a task head.
        fixed: fields that Hugging Face's network does not read from config.json, because it has no such variant.
        hidden_size: width of the transformer.
        num_hidden_layers: number of transformer layers.
        num_attention_heads: attention heads per layer.
        intermediate_size: width of the feed-forward networks.
        conv_dim: channels of the front end's convolutions.
        conv_kernel: their kernel sizes.
        conv_stride: their strides.
        conv_bias: whether they have biases.
        feat_extract_norm: "group": the first convolution is normalised over time (base); "layer": each frame of every
            convolution is normalised over channels (large).
        feat_proj_layer_norm: normalise before the projection.
        do_stable_layer_norm: normalise before the blocks of a transformer layer (large) instead of after.
        num_conv_pos_embeddings: kernel size of the positional convolution.
        num_conv_pos_embedding_groups: its groups.
        layer_norm_eps: epsilon of the normalisations after the front end.
        hidden_dropout: dropout after each block of a layer.
        attention_dropout: dropout of attention weights.
        activation_dropout: dropout in feed-forward networks.
        feat_proj_dropout: dropout after the projection.
        layerdrop: probability that a training step skips a layer.
        mask_time_prob: see `common.models.masking.span_mask`; a checkpoint with 0 has no vector for masked frames.
    """

    family: ClassVar[str]
    title: ClassVar[str]
    prefix: ClassVar[str]
    fixed: ClassVar[tuple[str, ...]] = ("feat_proj_layer_norm",)

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_proj_layer_norm: bool = True
    do_stable_layer_norm: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    layer_norm_eps: float = 1e-5
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    layerdrop: float = 0.1
    mask_time_prob: float = 0.05

    @classmethod
    def from_json(cls, described: Mapping[str, Any], source: str = "config.json") -> Self:
        """Reads the content of a Hugging Face config.json; what it leaves out has the defaults of this class.

        Args:
            described: content of the file, of this family.
            source: name of the file, for error messages.

        Raises:
            UserError: It describes a variant that this network does not have.
        """
        for name, only in ONLY.items():
            if described.get(name, only) not in (only, None):
                raise UserError(f"{source}: {name} is {described[name]!r}; only {only!r} is supported.")
        names = [field.name for field in dataclasses.fields(cls) if field.name not in cls.fixed]
        try:
            known = {name: described[name] for name in names if name in described}
            config = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})
            config.check()
        except (TypeError, ValueError) as error:
            raise UserError(f"{source} is not a {cls.title} configuration: {error}.") from error
        return config

    def check(self) -> None:
        """Raises ValueError if the sizes do not fit each other."""
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride differ in length")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError("hidden_size is no multiple of num_attention_heads and num_conv_pos_embedding_groups")
        if self.feat_extract_norm not in ("group", "layer"):
            raise ValueError(f"feat_extract_norm is {self.feat_extract_norm!r}, not 'group' or 'layer'")

    def frames(self, samples):
        """Number of frames for a number of samples: an int, an array of ints, or None if unknown; 16000 give 49."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = frames_after(samples, kernel, stride)
        return samples

    @property
    def receptive_field(self) -> int:
        """Samples that one frame depends on: 400 for the seven convolutions of base."""
        needed = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            needed = (needed - 1) * stride + kernel
        return needed

    def add_positions(self, x, valid):
        """Adds the positional embedding to the frames, by a layer with the name "position".

        Args:
            x: shape (batch, frames, width).
            valid: frames that are not padding, if padding must have no effect at all; else None.
        """
        size, groups = self.num_conv_pos_embeddings, self.num_conv_pos_embedding_groups
        return PositionalConvolution(self.hidden_size, size, groups, name="position")(x)

    def position_biases(self, x):
        """Biases for the attention of all layers, shape (1, heads, frames, frames), or None."""
        return None

    def position_tensors(self, model: keras.Model) -> dict[str, StoredWeight]:
        """Weights of the layers that the two methods above make, by Hugging Face's names of their tensors."""
        position, name = model.get_layer("position"), "encoder.pos_conv_embed.conv"
        return {
            f"{name}.bias": StoredWeight.like(position.bias),
            f"{name}.weight_g": StoredWeight(position.gain, (1, 1, self.num_conv_pos_embeddings)),
            f"{name}.weight_v": StoredWeight.like(position.direction, transposed=True),
        }
