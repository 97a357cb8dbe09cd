"""Positional embeddings that convolutions make of the frames themselves: wav2vec 2.0's single one, data2vec's stack."""

from __future__ import annotations

import keras

from common.layers.frames import without_padding
from common.layers.waveform import gelu
from common.layers.weight_norm import WeightNormConvolution, grouped_convolution


@keras.saving.register_keras_serializable(package="ser")
class PositionalConvolution(WeightNormConvolution):
    """Adds the GELU of a weight-normalised convolution to its input (Baevski et al. 2020, Sec. 2; also HuBERT, WavLM).

    Call:
        inputs: shape (batch, frames, width); padding must be zeros. Returns (batch, frames, width).
    """

    def call(self, inputs):
        """The inputs plus their positional embedding."""
        return inputs + gelu(super().call(inputs))


@keras.saving.register_keras_serializable(package="ser")
class PositionalConvolutionStack(keras.layers.Layer):
    """Adds the result of several convolutions to its input, each followed by normalisation and GELU (data2vec audio).

    The normalisation of each frame over its channels has epsilon 1e-5 and no weights (Baevski et al. 2022;
    Hugging Face's Data2VecAudioPositionalConvEmbedding).

    Args:
        depth: number of convolutions.
        kernel_size: length of their kernels.
        groups: number of independent convolutions into which the channels of each are split.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, frames, width); padding must be zeros. Returns (batch, frames, width).
        valid: frames that are not padding, bool, shape (batch, frames). Padding is then replaced by zeros before every
            convolution, so that an utterance has the same result as alone. None: only the inputs' padding is zero, as
            in PyTorch's model.
    """

    def __init__(self, depth: int, kernel_size: int, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"depth": depth, "kernel_size": kernel_size, "groups": groups}
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, center=False, scale=False, dtype=self.dtype_policy, name="norm"
        )

    def build(self, inputs_shape, valid_shape=None):
        """Creates a kernel (kernel_size, width / groups, width) and a bias (width,) for each convolution."""
        width, numbers = inputs_shape[-1], range(self.settings["depth"])
        shape = (self.settings["kernel_size"], width // self.settings["groups"], width)
        self.kernels = [self.add_weight(shape=shape, initializer="he_normal", name=f"kernel_{n}") for n in numbers]
        self.biases = [self.add_weight(shape=(width,), initializer="zeros", name=f"bias_{n}") for n in numbers]
        self.norm.build(inputs_shape)

    def call(self, inputs, valid=None):
        """The inputs plus their positional embedding."""
        x = inputs
        for number, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            if valid is not None and number > 0:
                x = without_padding(x, valid)
            x = gelu(self.norm(grouped_convolution(x, kernel, self.settings["groups"]) + bias))
        return inputs + x

    def compute_output_shape(self, inputs_shape, valid_shape=None):
        """Same shape as the inputs."""
        return inputs_shape

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), **self.settings}
