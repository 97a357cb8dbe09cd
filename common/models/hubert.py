"""HuBERT (Hsu et al. 2021) in Keras: from a waveform to the hidden states of all layers.

The results are those of Hugging Face's PyTorch model; `common.models.hubert_weights` reads its checkpoints. HuBERT base
has 7 convolutions with 512 channels (receptive field 400 samples, hop 320 samples: 49 frames for one second at 16 kHz),
12 transformer layers of width 768, and 94,371,712 parameters.
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

OTHER_MODELS = {"wav2vec2": "wav2vec 2.0", "wavlm": "WavLM", "data2vec-audio": "data2vec", "unispeech": "UniSpeech"}
"""Names of similar models by Hugging Face's `model_type`; they have the same front end but are other networks."""


@dataclass(frozen=True)
class HubertConfig:
    """Sizes and dropout of a network, with the names of Hugging Face's config.json; the defaults are those of base.

    Attributes:
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
    def from_json(cls, described: Mapping[str, Any], source: str = "config.json") -> HubertConfig:
        """Reads the content of a Hugging Face config.json; what it leaves out has the defaults of this class.

        Args:
            described: content of the file.
            source: name of the file, for error messages.

        Raises:
            UserError: It describes another architecture, or a variant that this network does not have.
        """
        kind = described.get("model_type")
        if kind != "hubert":
            raise UserError(
                f"{source} describes {OTHER_MODELS.get(kind, kind or 'no known model')}, not HuBERT "
                f"(model_type is {kind!r}). Give a folder of a HuBERT checkpoint."
            )
        wanted = {"hidden_act": "gelu", "feat_extract_activation": "gelu", "conv_pos_batch_norm": False}
        for name, only in {**wanted, "adapter_attn_dim": None, "add_adapter": False}.items():
            if described.get(name, only) not in (only, None):
                raise UserError(f"{source}: {name} is {described[name]!r}; only {only!r} is supported.")
        try:
            known = {field.name: described[field.name] for field in dataclasses.fields(cls) if field.name in described}
            config = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})
            config.check()
        except (TypeError, ValueError) as error:
            raise UserError(f"{source} is not a HuBERT configuration: {error}.") from error
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


@keras.saving.register_keras_serializable(package="ser")
class ValidFrames(keras.layers.Layer):
    """Marks the frames of a padded batch that are not padding.

    Args:
        kernels: kernel sizes of the front end.
        strides: its strides.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        features: shape (batch, frames, channels); only the number of frames is used.
        lengths: number of samples without padding, shape (batch,). Returns bool, shape (batch, frames).
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
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "kernels": self.kernels, "strides": self.strides}


@keras.saving.register_keras_serializable(package="ser")
class MaskedFrames(keras.layers.Layer):
    """Replaces masked frames by a trainable vector, and padding by zeros.

    Call:
        inputs: shape (batch, frames, width).
        masked: frames to replace, bool, shape (batch, frames); None: none.
        valid: frames that are not padding, bool, shape (batch, frames); None: all.
    """

    def build(self, inputs_shape, masked_shape=None, valid_shape=None):
        """Creates the vector (width,); without masking it is not trainable, but checkpoints hold it."""
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
        """Same shape as the inputs."""
        return inputs_shape


@keras.saving.register_keras_serializable(package="ser")
class PositionalConvolution(WeightNormConvolution):
    """Adds the GELU of a weight-normalised convolution to its input; this is HuBERT's positional embedding."""

    def call(self, inputs):
        """The inputs plus their positional embedding."""
        return inputs + gelu(super().call(inputs))


def hubert(
    config: HubertConfig | None = None,
    *,
    padding: Literal["none", "attention", "exact"] = "none",
    masking: bool = False,
) -> keras.Model:
    """Builds a HuBERT with random weights; `common.models.hubert_weights.load` builds one with those of a checkpoint.

    The order of the weights does not depend on `padding` and `masking`, so `set_weights(other.get_weights())` copies
    them from one variant to another.

    Args:
        config: sizes and dropout; None: those of base.
        padding: how padding in a batch is treated. "none": as silence, which is what Hugging Face recommends for
            "group" networks (base), although the first convolution then normalises over it. "attention": as with
            Hugging Face's attention_mask, padding is replaced by zeros after the front end and not attended to.
            "exact": as "attention", and the first convolution normalises each utterance over its own frames, so that
            its results are the same in every batch.
        masking: adds the input "masked"; masked frames are replaced by a trainable vector before the positional
            convolution (see `common.models.masking`).

    Returns:
        Functional model. Its inputs are a dict: "waveform", float32, shape (batch, samples); "lengths", int32, shape
        (batch,), the number of samples without padding (unless `padding` is "none"); and "masked", bool, shape (batch,
        frames) (if `masking`). Its outputs are a dict: "features", shape (batch, frames, channels), of the front end;
        and "hidden_states", a list of layers + 1 arrays of shape (batch, frames, width) in Hugging Face's numbering:
        [0] is the input of the first transformer layer, [n] the output of the n-th one. The last state of a large
        network is normalised, like Hugging Face's `last_hidden_state`.
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
    kernel_size, groups = config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
    x = PositionalConvolution(config.hidden_size, kernel_size, groups, name="position")(x)
    norm = keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name="encoder_norm")
    if not config.do_stable_layer_norm:
        x = norm(x)
    states = [keras.layers.Dropout(config.hidden_dropout)(x)]
    for number in range(1, config.num_hidden_layers + 1):
        states.append(_layer(config, number)(states[-1], valid=valid))
    if config.do_stable_layer_norm:
        states[-1] = norm(states[-1])
    return keras.Model(inputs, {"features": features, "hidden_states": states}, name="hubert")


def truncate(model: keras.Model, layer: int) -> keras.Model:
    """Returns a HuBERT that ends with one of its hidden states; it shares the weights.

    Args:
        model: a model of `hubert`.
        layer: number of the hidden state, from 0, or negative to count from the end: -3 of base is the output of the
            tenth layer.

    Raises:
        UserError: There is no such layer.
    """
    states = model.output["hidden_states"]
    if not -len(states) <= layer < len(states):
        raise UserError(f"There is no layer {layer}: this HuBERT has the hidden states 0 to {len(states) - 1}.")
    return keras.Model(model.input, states[layer], name=f"hubert_up_to_{layer % len(states)}")


def freeze_front_end(model: keras.Model) -> None:
    """Makes the convolutions of the front end not trainable, as usual in fine-tuning."""
    for layer in model.layers:
        if layer.name.startswith("convolution_"):
            layer.trainable = False


def _front_end(config: HubertConfig, inputs: Mapping[str, Any], padding: str):
    shapes = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    x = inputs["waveform"]
    for number, shape in enumerate(shapes):
        name = f"convolution_{number}"
        if number == 0 and config.feat_extract_norm == "group":
            lengths = inputs["lengths"] if padding == "exact" else None
            x = NormalizedWaveConvolution(*shape, config.conv_bias, name=name)(x, lengths=lengths)
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
