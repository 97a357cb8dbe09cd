"""HuBERT (Hsu et al. 2021) in Keras: waveform to hidden states of every layer.

The numbers are those of Hugging Face's PyTorch model, whose configuration files and checkpoints it reads
(`common.models.hubert_weights`). Base: 7 convolutions of 512 channels (receptive field 400 samples, hop 320: 49 frames
of 20 ms a second), 12 transformer layers of width 768; 94,371,712 parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

from common.errors import UserError
from common.layers.transformer import TransformerLayer
from common.layers.waveform import NormalizedWaveConvolution, StridedConvolution, frames_after, gelu
from common.layers.weight_norm import WeightNormConvolution

SAMPLE_RATE = 16000
"""Hz; what HuBERT was trained on."""

OTHERS = {"wav2vec2": "wav2vec 2.0", "wavlm": "WavLM", "data2vec-audio": "data2vec", "unispeech": "UniSpeech"}
"""Kin of HuBERT by Hugging Face's `model_type`: same front end, other networks."""


@dataclass(frozen=True)
class HubertConfig:
    """A network's shape and dropout, under the names of Hugging Face's config.json; defaults are base's.

    Attributes:
        hidden_size: width of the transformer.
        num_hidden_layers: transformer layers.
        num_attention_heads: heads of each.
        intermediate_size: width of their feed-forward networks.
        conv_dim: channels of the front end's convolutions.
        conv_kernel: their kernels.
        conv_stride: their strides.
        conv_bias: whether they have biases.
        feat_extract_norm: "group": the first convolution is normalised over time (base); "layer": each frame of each
            (large).
        feat_proj_layer_norm: normalise before the projection.
        do_stable_layer_norm: normalisation before the halves of a transformer layer (large) instead of after.
        num_conv_pos_embeddings: taps of the positional convolution.
        num_conv_pos_embedding_groups: its groups.
        layer_norm_eps: epsilon of the normalisations behind the front end.
        hidden_dropout: dropout after each half of a layer.
        attention_dropout: of attention weights.
        activation_dropout: in feed-forward networks.
        feat_proj_dropout: after the projection.
        layerdrop: probability that training passes over a layer.
        mask_time_prob: fraction of frames that SpecAugment masks in fine-tuning; see `common.models.masking`.
        mask_time_length: frames of a masked span.
        mask_time_min_masks: spans of an utterance at least.
    """

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
    mask_time_length: int = 10
    mask_time_min_masks: int = 2

    @classmethod
    def from_json(cls, described: Mapping[str, Any], source: str = "config.json") -> HubertConfig:
        """The configuration of a Hugging Face config.json; what it leaves out has the class' defaults, as there.

        Args:
            described: the file's content.
            source: name for messages.

        Raises:
            UserError: another architecture, or a variant that this network has not.
        """
        kind = described.get("model_type")
        if kind != "hubert":
            raise UserError(
                f"{source} describes {OTHERS.get(kind, kind or 'no known model')}, not HuBERT "
                f"(model_type is {kind!r}). Give a folder of a HuBERT checkpoint."
            )
        wanted = {"hidden_act": "gelu", "feat_extract_activation": "gelu", "conv_pos_batch_norm": False}
        for name, only in {**wanted, "adapter_attn_dim": None, "add_adapter": False}.items():
            if described.get(name, only) not in (only, None):
                raise UserError(f"{source}: {name} is {described[name]!r}; this HuBERT only knows {only!r}.")
        try:
            known = {field.name: described[field.name] for field in dataclasses.fields(cls) if field.name in described}
            config = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})
            config.check()
        except (TypeError, ValueError) as error:
            raise UserError(f"{source} is not a HuBERT configuration: {error}.") from error
        return config

    def to_json(self) -> dict[str, Any]:
        """What Hugging Face's config.json holds."""
        fixed = {"model_type": "hubert", "architectures": ["HubertModel"], "feat_extract_activation": "gelu"}
        sizes = {"hidden_act": "gelu", "num_feat_extract_layers": len(self.conv_dim), "conv_pos_batch_norm": False}
        return {**fixed, **sizes, **dataclasses.asdict(self)}

    def check(self) -> None:
        """Raises ValueError where the numbers do not go together."""
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride differ in length")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError("hidden_size is no multiple of num_attention_heads and num_conv_pos_embedding_groups")
        if self.feat_extract_norm not in ("group", "layer"):
            raise ValueError(f"feat_extract_norm is {self.feat_extract_norm!r}, not 'group' or 'layer'")

    def frames(self, samples):
        """Frames of so many samples: an int, an array of ints, or None for unknown; 16000 samples give 49."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = frames_after(samples, kernel, stride)
        return samples

    @property
    def receptive_field(self) -> int:
        """Samples that one frame needs: 400 for the seven convolutions of base."""
        needed = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            needed = (needed - 1) * stride + kernel
        return needed


@keras.saving.register_keras_serializable(package="ser")
class ValidFrames(keras.layers.Layer):
    """Which frames of a padded batch come from samples that count.

    Args:
        kernels: kernels of the front end.
        strides: its strides.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        features: shape (batch, frames, channels), for the number of frames.
        lengths: samples that count, shape (batch,). Returns bool, shape (batch, frames).
    """

    def __init__(self, kernels, strides, **kwargs):
        super().__init__(**kwargs)
        self.kernels, self.strides = tuple(kernels), tuple(strides)

    def call(self, features, lengths):
        """The mask."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            lengths = frames_after(lengths, kernel, stride)
        return ops.arange(ops.shape(features)[1])[None, :] < lengths[:, None]

    def compute_output_spec(self, features, lengths):
        """Bool, (batch, frames)."""
        return keras.KerasTensor(features.shape[:2], "bool")

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "kernels": self.kernels, "strides": self.strides}


@keras.saving.register_keras_serializable(package="ser")
class MaskedFrames(keras.layers.Layer):
    """Replaces masked frames by one learnt vector, and frames of padding by zeros.

    Call:
        inputs: shape (batch, frames, width).
        masked: frames to replace, bool, shape (batch, frames); None: none.
        valid: frames that are no padding, bool, shape (batch, frames); None: all.
    """

    def build(self, inputs_shape, masked_shape=None, valid_shape=None):
        """Creates the vector (width,); without masking it is only held for the checkpoint."""
        self.vector = self.add_weight(
            shape=(inputs_shape[-1],), initializer="random_uniform", trainable=masked_shape is not None, name="vector"
        )

    def call(self, inputs, masked=None, valid=None):
        """The frames, some replaced."""
        if masked is not None:
            inputs = ops.where(masked[:, :, None], ops.cast(self.vector, inputs.dtype), inputs)
        if valid is not None:
            inputs = ops.where(valid[:, :, None], inputs, ops.zeros((), inputs.dtype))
        return inputs

    def compute_output_shape(self, inputs_shape, masked_shape=None, valid_shape=None):
        """As the input's."""
        return inputs_shape


@keras.saving.register_keras_serializable(package="ser")
class PositionalConvolution(WeightNormConvolution):
    """Adds the GELU of a weight-normalised convolution to its input: HuBERT's only knowledge of position."""

    def call(self, inputs):
        """The input plus its positional embedding."""
        return inputs + gelu(super().call(inputs))


def hubert(
    config: HubertConfig | None = None,
    *,
    padding: Literal["none", "attention", "exact"] = "none",
    masking: bool = False,
) -> keras.Model:
    """A HuBERT with random weights; `common.models.hubert_weights.load` gives one with a checkpoint's.

    Args:
        config: shape and dropout; None: base, 94,371,712 parameters.
        padding: how a batch of several lengths is treated. "none": zeros behind an utterance are silence, which is
            what Hugging Face recommends for "group" networks (base), though layer 0 then normalises over them.
            "attention": there is an input "lengths", padding is zeroed behind the front end and not attended to:
            Hugging Face's attention_mask. "exact": as "attention", and layer 0 normalises an utterance over its own
            frames, so its valid frames are the same in any batch.
        masking: there is an input "masked"; frames marked in it are replaced by the learnt vector before the
            positional convolution. Fine-tuning's and pretraining's masks come from `common.models.masking`.

    Returns:
        Functional model. Inputs, a dict: "waveform" (batch, samples) float32, and as asked for "lengths" (batch,)
        int32, samples that count, and "masked" (batch, frames) bool. Outputs, a dict: "features" (batch, frames,
        channels) of the front end and "hidden_states", a list of layers + 1 arrays (batch, frames, width) in Hugging
        Face's numbering: [0] enters the first transformer layer, [n] leaves the n-th. `up_to` makes a model of one of
        them. Weights keep their order whatever the arguments, so `set_weights(other.get_weights())` carries them over.
        The last state of a large network is normalised, as `last_hidden_state` is (and [n] was before transformers 5).
    """
    config = config or HubertConfig()
    inputs = {"waveform": keras.Input((None,), name="waveform", dtype="float32")}
    if padding != "none":
        inputs["lengths"] = keras.Input((), name="lengths", dtype="int32")
    if masking:
        inputs["masked"] = keras.Input((None,), name="masked", dtype="bool")
    x = features = _front_end(config, inputs, padding)
    valid = None
    if padding != "none":
        valid = ValidFrames(config.conv_kernel, config.conv_stride, name="valid_frames")(features, inputs["lengths"])
    if config.feat_proj_layer_norm:
        x = keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name="projection_norm")(x)
    x = keras.layers.Dense(config.hidden_size, name="projection")(x)
    x = keras.layers.Dropout(config.feat_proj_dropout)(x)
    x = MaskedFrames(name="masked_frames")(x, masked=inputs.get("masked"), valid=valid)
    taps, groups = config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
    x = PositionalConvolution(config.hidden_size, taps, groups, name="position")(x)
    norm = keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name="encoder_norm")
    if not config.do_stable_layer_norm:
        x = norm(x)
    states = [keras.layers.Dropout(config.hidden_dropout)(x)]
    for number in range(1, config.num_hidden_layers + 1):
        states.append(_layer(config, number)(states[-1], valid=valid))
    if config.do_stable_layer_norm:
        states[-1] = norm(states[-1])
    return keras.Model(inputs, {"features": features, "hidden_states": states}, name="hubert")


def up_to(model: keras.Model, layer: int) -> keras.Model:
    """The part of a HuBERT that one of its hidden states needs; it shares the weights.

    Args:
        model: of `hubert` or loaded.
        layer: 0 to the number of layers, or counted from the end: -3 of base is the output of the tenth.

    Raises:
        UserError: there is no such layer.
    """
    states = model.output["hidden_states"]
    if not -len(states) <= layer < len(states):
        raise UserError(f"There is no layer {layer}: this HuBERT has the hidden states 0 to {len(states) - 1}.")
    return keras.Model(model.input, states[layer], name=f"hubert_up_to_{layer % len(states)}")


def freeze_front_end(model: keras.Model) -> None:
    """Keeps the convolutions out of training, as fine-tuning recipes usually do."""
    for layer in model.layers:
        if layer.name.startswith("convolution_"):
            layer.trainable = False


def _front_end(config: HubertConfig, inputs: Mapping[str, Any], padding: str):
    shapes = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    x = inputs["waveform"]
    for number, shape in enumerate(shapes):
        name = f"convolution_{number}"
        if number == 0 and config.feat_extract_norm == "group":
            own = inputs["lengths"] if padding == "exact" else None
            x = NormalizedWaveConvolution(*shape, config.conv_bias, name=name)(x, lengths=own)
            continue
        if number == 0:
            x = keras.layers.Reshape((-1, 1), name="one_channel")(x)
        x = StridedConvolution(*shape, config.conv_bias, config.feat_extract_norm == "layer", name=name)(x)
    return x


def _layer(config: HubertConfig, number: int) -> TransformerLayer:
    return TransformerLayer(
        config.num_attention_heads,
        config.intermediate_size,
        config.do_stable_layer_norm,
        config.layer_norm_eps,
        config.hidden_dropout,
        config.attention_dropout,
        config.activation_dropout,
        config.layerdrop,
        name=f"layer_{number}",
    )
