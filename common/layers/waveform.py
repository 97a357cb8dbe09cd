"""Strided convolutions over audio, computed by matrix products: the front end of wav2vec 2.0, HuBERT and others.

On a CPU, TensorFlow needs three times as long for the gradients of one-dimensional strided convolutions as for
equivalent matrix products. If the kernel is as long as the stride, one product of the reshaped input is enough.
"""

from __future__ import annotations

import keras
from keras import ops


def gelu(x):
    """GELU, x Phi(x), with the error function; `keras.ops.gelu` uses TensorFlow's slower erfc."""
    return x * (0.5 * (1.0 + ops.erf(x * 0.7071067811865476)))


def frames_after(length, kernel_size: int, stride: int):
    """Number of output frames of a convolution without padding.

    Args:
        length: number of input frames: an int, an array of ints, or None if it is unknown.
        kernel_size: length of the kernel.
        stride: input frames from one output frame to the next.
    """
    return None if length is None else (length - kernel_size) // stride + 1


class _StridedLayer(keras.layers.Layer):
    """Base of the two convolutions: arguments, shapes and saving."""

    def __init__(self, filters: int, kernel_size: int, stride: int, use_bias: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.use_bias = use_bias

    def _add_kernel(self, channels: int) -> None:
        """Creates kernel and bias."""
        shape = (self.kernel_size, channels, self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias") if self.use_bias else None

    def compute_output_shape(self, inputs_shape):
        """(batch, frames, filters)."""
        return (inputs_shape[0], frames_after(inputs_shape[1], self.kernel_size, self.stride), self.filters)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        own = {"filters": self.filters, "kernel_size": self.kernel_size, "stride": self.stride}
        return {**super().get_config(), **own, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable(package="ser")
class StridedConvolution(_StridedLayer):
    """Convolution over time without padding, optional layer normalisation, and GELU.

    Args:
        filters: output channels.
        kernel_size: length of the kernel.
        stride: input frames from one output frame to the next.
        use_bias: adds a bias.
        layer_norm: normalises the channels of each frame before GELU (epsilon 1e-5).
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, frames, channels). Returns (batch, 1 + (frames - kernel_size) // stride, filters).
    """

    def __init__(self, filters: int, kernel_size: int, stride: int, use_bias=False, layer_norm=False, **kwargs):
        super().__init__(filters, kernel_size, stride, use_bias, **kwargs)
        self.layer_norm = layer_norm
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name="norm")

    def build(self, inputs_shape):
        """Creates the kernel (kernel_size, channels, filters) and, if requested, bias and normalisation."""
        self._add_kernel(inputs_shape[-1])
        if self.layer_norm:
            self.norm.build((None, None, self.filters))

    def call(self, inputs):
        """Convolution, normalisation, GELU."""
        kernel, channels = self.kernel, inputs.shape[-1]
        size, stride = self.kernel_size, self.stride
        frames = frames_after(ops.shape(inputs)[1], size, stride)
        outputs = None
        first = 0
        if size >= stride:
            # The first `stride` positions of the kernel are one product of the reshaped input, without a copy.
            first = stride
            block = ops.reshape(inputs[:, : frames * stride], (-1, frames, stride * channels))
            outputs = ops.matmul(block, ops.reshape(kernel[:stride], (stride * channels, self.filters)))
        for place in range(first, size):
            one = ops.matmul(inputs[:, place : place + (frames - 1) * stride + 1 : stride], kernel[place])
            outputs = one if outputs is None else outputs + one
        if self.bias is not None:
            outputs = outputs + self.bias
        return gelu(self.norm(outputs) if self.layer_norm else outputs)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "layer_norm": self.layer_norm}


def _qr_triangle(rows):
    """R of the QR decomposition of tall matrices (batch, rows, columns), up to signs.

    Blocks of rows are decomposed first, then blocks of their results, then the rest: in float32, sums over tens of
    thousands of rows would lose one or two digits.
    """
    columns = rows.shape[-1]
    block = max(64, 4 * columns)
    for _ in range(2):
        count = ops.shape(rows)[1]
        rows = ops.pad(rows, ((0, 0), (0, -count % block), (0, 0)))
        triangles = ops.qr(ops.reshape(rows, (-1, block, columns)))[1]
        blocks = (count + block - 1) // block
        rows = ops.reshape(triangles, (-1, blocks * columns, columns))
    return ops.qr(rows)[1]


@keras.saving.register_keras_serializable(package="ser")
class NormalizedWaveConvolution(_StridedLayer):
    """Convolution of a waveform, normalisation of each channel over time, and GELU.

    The results are those of a convolution, a group normalisation with one channel per group (epsilon 1e-5) and GELU,
    but the kernel is normalised instead of the output, which has many channels at a high rate. A channel's output is
    ``P w`` for the windows P of the waveform, so its mean is ``mean(P) w`` and its variance ``|R w|^2 / frames``, where
    ``Q R`` is the QR decomposition of the centred windows. (The covariance of the windows would be enough in exact
    arithmetic, but in float32 it loses the output of high-pass filters for low-pass audio.)

    Args:
        filters: output channels.
        kernel_size: length of the kernel.
        stride: samples from one frame to the next.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: samples, shape (batch, samples).
        lengths: number of samples of each utterance without padding, shape (batch,); None: no padding. The statistics
            are then those of the utterance's own frames, so padding changes nothing (in PyTorch's model it does).
        Returns (batch, frames, filters).
    """

    def build(self, inputs_shape, lengths_shape=None):
        """Creates kernel (kernel_size, 1, filters), scale and offset (filters,)."""
        self._add_kernel(1)
        if self.bias is not None:
            self.bias.trainable = False
        self.scale = self.add_weight(shape=(self.filters,), initializer="ones", name="scale")
        self.offset = self.add_weight(shape=(self.filters,), initializer="zeros", name="offset")

    def call(self, inputs, lengths=None):
        """Convolution, normalisation over time, GELU."""
        signal = ops.cast(inputs, "float32")
        frames = frames_after(ops.shape(signal)[1], self.kernel_size, self.stride)
        span = (frames - 1) * self.stride + 1
        windows = ops.stack([signal[:, first : first + span : self.stride] for first in range(self.kernel_size)], -1)
        if lengths is None:
            weight, count = 1.0, ops.cast(frames, "float32")
        else:
            own = frames_after(lengths, self.kernel_size, self.stride)
            weight = ops.cast(ops.arange(frames)[None, :] < own[:, None], "float32")[:, :, None]
            count = ops.cast(own, "float32")[:, None, None]
        mean = ops.sum(windows * weight, axis=1, keepdims=True) / count
        centred = (windows - mean) * weight
        triangle = _qr_triangle(centred)
        kernel = ops.cast(self.kernel[:, 0], "float32")
        variance = ops.sum(ops.square(ops.matmul(triangle, kernel)), axis=1, keepdims=True) / count
        scaled = kernel * (ops.cast(self.scale, "float32") * ops.rsqrt(variance + 1e-5))
        offset = ops.cast(self.offset, "float32") - ops.matmul(mean, scaled)
        # The offset is added by the same product, as the weight of an additional input that is always 1.
        windows = ops.concatenate([windows, ops.ones_like(windows[..., :1])], axis=-1)
        kernel = ops.concatenate([scaled, offset], axis=1)
        return gelu(ops.matmul(ops.cast(windows, self.compute_dtype), ops.cast(kernel, self.compute_dtype)))

    def compute_output_shape(self, inputs_shape, lengths_shape=None):
        """(batch, frames, filters)."""
        return super().compute_output_shape(inputs_shape)
