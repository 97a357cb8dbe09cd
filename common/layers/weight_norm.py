"""Weight normalisation (Salimans and Kingma 2016), as HuBERT's positional convolution has it."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ser")
class WeightNormConvolution(keras.layers.Layer):
    """Grouped convolution over time whose kernel is ``gain * direction / |direction|``, one norm and one gain a tap.

    As PyTorch's `weight_norm(Conv1d(...), dim=2)`: the norm runs over a tap's inputs and outputs. Gain and direction are
    the weights, so a fine-tuned network moves as the published one does, and a checkpoint is written back unchanged.
    Padding keeps the length: kernel // 2 frames of zeros before, one less behind where the kernel is even (PyTorch pads
    both ends by kernel // 2 and drops the last frame; Keras' "same" would be one frame off).

    Args:
        filters: output channels.
        kernel_size: taps.
        groups: channels are split into so many independent convolutions.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, frames, channels). Returns (batch, frames, filters).
    """

    def __init__(self, filters: int, kernel_size: int, groups: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.groups = groups

    def build(self, inputs_shape):
        """Creates gain (taps,), direction (taps, channels / groups, filters) and bias (filters,)."""
        shape = (self.kernel_size, inputs_shape[-1] // self.groups, self.filters)
        self.gain = self.add_weight(shape=(self.kernel_size,), initializer="ones", name="gain")
        self.direction = self.add_weight(shape=shape, initializer="he_normal", name="direction")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def kernel(self):
        """The kernel that the weights stand for, shape (taps, channels / groups, filters), in float32."""
        direction = ops.cast(self.direction, "float32")
        square = ops.sum(direction * direction, axis=(1, 2), keepdims=True)
        return direction * (ops.reshape(ops.cast(self.gain, "float32"), (-1, 1, 1)) / ops.sqrt(square))

    def call(self, inputs):
        """The convolution, same length."""
        before = self.kernel_size // 2
        padded = ops.pad(inputs, ((0, 0), (before, self.kernel_size - 1 - before), (0, 0)))
        kernel = ops.cast(self.kernel(), self.compute_dtype)
        # One convolution a group: TensorFlow has no gradient of a grouped one on a CPU, and Keras then takes XLA's, which
        # needs a hundred times as long (12 s against 0.13 s for 4 s of audio).
        parts = zip(ops.split(padded, self.groups, axis=-1), ops.split(kernel, self.groups, axis=-1), strict=True)
        return ops.concatenate([ops.conv(part, taps, padding="valid") for part, taps in parts], axis=-1) + self.bias

    def compute_output_shape(self, inputs_shape):
        """(batch, frames, filters)."""
        return (*inputs_shape[:-1], self.filters)

    def get_config(self):
        """The arguments, for saving."""
        own = {"filters": self.filters, "kernel_size": self.kernel_size, "groups": self.groups}
        return {**super().get_config(), **own}
