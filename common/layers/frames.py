"""Which frames of a padded batch are padding, and which are masked."""

from __future__ import annotations

import keras
from keras import ops

from common.layers.waveform import frames_after


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
        return inputs if valid is None else without_padding(inputs, valid)

    def compute_output_shape(self, inputs_shape, masked_shape=None, valid_shape=None):
        """Same shape as the inputs."""
        return inputs_shape


def without_padding(inputs, valid):
    """Replaces padding by zeros.

    Args:
        inputs: shape (batch, frames, width).
        valid: frames that are not padding, bool, shape (batch, frames).
    """
    return ops.where(valid[:, :, None], inputs, ops.zeros((), inputs.dtype))
