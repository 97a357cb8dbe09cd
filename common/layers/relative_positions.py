"""WavLM's gated relative position bias (Chen et al. 2022): what attention adds to scores.

The first transformer layer's table of biases by distance serves all layers; each layer has a gate of its own, which
scales them by what its input says. The results are those of Hugging Face's PyTorch model.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops


def distance_buckets(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Numbers of the buckets of distances between frames, as in T5 (Raffel et al. 2020): one half for each direction.

    Of the half, one half are distances of their own, from 0; the others grow logarithmically, and the last one holds
    everything from `max_distance` on.

    Args:
        distances: key minus query, in frames; int, any shape.
        buckets: number of buckets.
        max_distance: in frames.

    Returns:
        int32, same shape, from 0 to buckets - 1.
    """
    half = buckets // 2
    exact = half // 2
    size = np.abs(distances)
    # In float32 and in this order, as in PyTorch, so that rounding puts no distance into another bucket.
    ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(max_distance / exact)
    )
    large = np.minimum((exact + ratio * np.float32(half - exact)).astype(np.int32), half - 1)
    return (np.where(size < exact, size, large) + half * (distances > 0)).astype(np.int32)


@keras.saving.register_keras_serializable(package="ser")
class RelativePositionBias(keras.layers.Layer):
    """A trainable bias for each attention head and each bucket of the distance between two frames.

    Args:
        heads: number of attention heads.
        buckets: number of buckets.
        max_distance: from this distance on, in frames, all are in the last bucket of their direction.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, frames, width); only the number of frames is used.
        Returns (1, heads, frames of the query, frames of the key).
    """

    def __init__(self, heads: int, buckets: int, max_distance: int, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"heads": heads, "buckets": buckets, "max_distance": max_distance}
        self.max_distance = max_distance
        self.table = distance_buckets(np.arange(-max_distance, max_distance + 1), buckets, max_distance)

    def build(self, inputs_shape):
        """Creates the biases (buckets, heads)."""
        shape = (self.settings["buckets"], self.settings["heads"])
        self.bias = self.add_weight(shape=shape, initializer="random_normal", name="bias")

    def call(self, inputs):
        """The biases of all pairs of frames."""
        frames = ops.shape(inputs)[1]
        distance = ops.clip(ops.arange(2 * frames) - frames + 1, -self.max_distance, self.max_distance)
        bucket = ops.take(ops.convert_to_tensor(self.table), distance + self.max_distance)
        # Products and copies instead of a look-up, whose gradient is slow, and sparse under TensorFlow.
        bucket = ops.one_hot(bucket, self.settings["buckets"], dtype=self.compute_dtype)
        bias = ops.transpose(ops.matmul(bucket, self.bias))  # distances from 1 - frames to frames
        # Each query's row of distances begins one earlier than the row before: the same 2 * frames numbers are
        # repeated for each query, and divided into rows that are shorter by one.
        first, length = frames - 1, 2 * frames - 1
        rows = ops.tile(bias, (1, frames))[:, first : first + frames * length]
        return ops.reshape(rows, (1, self.settings["heads"], frames, length))[..., :frames]

    def compute_output_spec(self, inputs):
        """(1, heads, frames, frames)."""
        frames = inputs.shape[1]
        return keras.KerasTensor((1, self.settings["heads"], frames, frames), self.compute_dtype)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable(package="ser")
class PositionGate(keras.layers.Layer):
    """Scales position biases by ``2 - a + a b c``, where two sigmoids a and b depend on the query's frame.

    A head's gates depend on its share of the layer's input (the paper says: of the query), by a linear layer with eight
    outputs; a is the sigmoid of the sum of the first four, b of the others. c is a trainable number for each head.

    Args:
        heads: number of attention heads.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: what is attended to, shape (batch, frames, width).
        positions: biases of `RelativePositionBias`, shape (1, heads, frames, frames).
        Returns float32, shape (batch, heads, frames, frames).
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, inputs_shape, positions_shape=None):
        """Creates kernel (width / heads, 8), bias (8,) and constant (heads,)."""
        self.kernel = self.add_weight(shape=(inputs_shape[-1] // self.heads, 8), name="kernel")
        self.bias = self.add_weight(shape=(8,), initializer="zeros", name="bias")
        self.constant = self.add_weight(shape=(self.heads,), initializer="ones", name="constant")

    def call(self, inputs, positions):
        """The scaled biases."""
        batch, frames, size = ops.shape(inputs)[0], ops.shape(inputs)[1], self.kernel.shape[0]
        parts = ops.reshape(inputs, (batch, frames, self.heads, size))
        # The sum of four outputs is the output of the summed kernels.
        kernel = ops.sum(ops.reshape(self.kernel, (size, 2, 4)), axis=-1)
        bias = ops.sum(ops.reshape(self.bias, (2, 4)), axis=-1)
        gates = ops.sigmoid(ops.matmul(parts, kernel) + bias)
        scale = 2.0 + gates[..., 0] * (gates[..., 1] * self.constant - 1.0)
        scale = ops.cast(ops.transpose(scale, (0, 2, 1))[..., None], "float32")
        return scale * ops.cast(positions, "float32")

    def compute_output_spec(self, inputs, positions):
        """(batch, heads, frames, frames)."""
        return keras.KerasTensor((inputs.shape[0], *positions.shape[1:]), "float32")

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "heads": self.heads}
