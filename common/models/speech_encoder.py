"""The network of wav2vec 2.0, HuBERT, WavLM and data2vec audio: from a waveform to the hidden states of all layers.

The results are those of Hugging Face's PyTorch models; `common.models.speech_weights` reads their checkpoints. All have
7 convolutions with 512 channels (receptive field 400 samples, hop 320 samples: 49 frames for one second at 16 kHz) and
12 transformer layers of width 768 (base) or 24 of width 1024 (large).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras

from common.errors import UserError
from common.layers.frames import MaskedFrames, ValidFrames
from common.layers.transformer import TransformerLayer
from common.layers.waveform import NormalizedWaveConvolution, StridedConvolution
from common.models.speech_config import SpeechConfig


def speech_encoder(
    config: SpeechConfig,
    *,
    padding: Literal["none", "attention", "exact"] = "none",
    masking: bool = False,
) -> keras.Model:
    """Builds a network with random weights; `common.models.speech_weights.load` builds one with a checkpoint's.

    The order of the weights does not depend on `padding` and `masking`, so `set_weights(other.get_weights())` copies
    them from one variant to another.

    Args:
        config: family, sizes and dropout, for example `HubertConfig()`.
        padding: how padding in a batch is treated. "none": as silence, which is what Hugging Face recommends for
            "group" networks (base), although the first convolution then normalises over it. "attention": as with
            Hugging Face's attention_mask, padding is replaced by zeros after the front end and not attended to.
            "exact": as "attention", and padding also stays out of the normalisation of the first convolution and of
            data2vec's later positional convolutions, so that an utterance has the same results in every batch.
        masking: adds the input "masked"; masked frames are replaced by a trainable vector before the positional
            convolution (see `common.models.masking`).

    Returns:
        Functional model. Its inputs are a dict: "waveform", float32, shape (batch, samples); "lengths", int32, shape
        (batch,), the number of samples without padding (unless `padding` is "none"); and "masked", bool, shape (batch,
        frames) (if `masking`). Its outputs are a dict: "features", shape (batch, frames, channels), of the front end;
        and "hidden_states", a list of layers + 1 arrays of shape (batch, frames, width) in Hugging Face's numbering:
        [0] is the input of the first transformer layer, [n] the output of the n-th one. The last state is
        normalised if the config says `do_stable_layer_norm`, like Hugging Face's `last_hidden_state`.
    """
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
    x = config.add_positions(x, valid if padding == "exact" else None)
    norm = keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name="encoder_norm")
    if not config.do_stable_layer_norm:
        x = norm(x)
    states = [keras.layers.Dropout(config.hidden_dropout)(x)]
    positions = config.position_biases(x)
    for number in range(1, config.num_hidden_layers + 1):
        states.append(_layer(config, number, positions is not None)(states[-1], valid=valid, positions=positions))
    if config.do_stable_layer_norm:
        states[-1] = norm(states[-1])
    return keras.Model(inputs, {"features": features, "hidden_states": states}, name=config.family)


def truncate(model: keras.Model, layer: int) -> keras.Model:
    """Returns a network that ends with one of its hidden states; it shares the weights.

    Args:
        model: a model of `speech_encoder`.
        layer: number of the hidden state, from 0, or negative to count from the end: -3 of base is the output of the
            tenth layer.

    Raises:
        UserError: There is no such layer.
    """
    states = model.output["hidden_states"]
    if not -len(states) <= layer < len(states):
        raise UserError(f"There is no layer {layer}: this network has the hidden states 0 to {len(states) - 1}.")
    return keras.Model(model.input, states[layer], name=f"{model.name}_up_to_{layer % len(states)}")


def freeze_front_end(model: keras.Model) -> None:
    """Makes the convolutions of the front end not trainable, as usual in fine-tuning."""
    for layer in model.layers:
        if layer.name.startswith("convolution_"):
            layer.trainable = False


def _front_end(config: SpeechConfig, inputs: Mapping[str, Any], padding: str):
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


def _layer(config: SpeechConfig, number: int, gated_positions: bool) -> TransformerLayer:
    return TransformerLayer(
        config.num_attention_heads,
        config.intermediate_size,
        config.do_stable_layer_norm,
        config.layer_norm_eps,
        config.hidden_dropout,
        config.attention_dropout,
        config.activation_dropout,
        # Hugging Face never skips WavLM's first layer, which makes the biases for all.
        0.0 if gated_positions and number == 1 else config.layerdrop,
        gated_positions,
        name=f"layer_{number}",
    )
