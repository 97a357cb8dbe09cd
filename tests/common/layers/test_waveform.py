"""Convolutions over waveforms compared with the separate layers, in float64, and with those of Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from common.layers.waveform import NormalizedWaveConvolution, StridedConvolution


def test_normalising_the_kernel_equals_group_normalisation():
    """Values and gradients of the separate layers in float64, for low-pass audio and a high-pass filter."""
    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.standard_normal((2, 9000)), axis=1)
    waveform = ((walk - walk.mean(axis=1, keepdims=True)) / walk.std(axis=1, keepdims=True)).astype(np.float32)
    layer = NormalizedWaveConvolution(6, 10, 5)
    layer.build((None, None))
    kernel = generator.standard_normal((10, 1, 6)).astype(np.float32)
    kernel[:, 0, 0] = [1, -2, 1, 0, 0, 0, 0, 0, 0, 0]  # second difference
    layer.kernel.assign(kernel)
    layer.scale.assign(generator.standard_normal(6))
    layer.offset.assign(generator.standard_normal(6))

    def plain(kernel):
        windows = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), 10, axis=1)[:, ::5]
        values = windows @ kernel[:, 0]
        values = (values - values.mean(axis=1, keepdims=True)) / np.sqrt(values.var(axis=1, keepdims=True) + 1e-5)
        values = values * np.asarray(layer.scale) + np.asarray(layer.offset)
        from scipy.special import erf

        return values * 0.5 * (1 + erf(values / np.sqrt(2)))

    np.testing.assert_allclose(layer(waveform), plain(kernel.astype(np.float64)), atol=2e-5)
    import tensorflow as tf

    weights = generator.standard_normal(plain(kernel.astype(np.float64)).shape)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(waveform) * weights.astype(np.float32))
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    for tap, filter_ in ((0, 1), (7, 3)):
        shift = np.zeros_like(kernel, np.float64)
        shift[tap, 0, filter_] = 1e-5
        numeric = ((plain(kernel + shift) - plain(kernel - shift)) * weights).sum() / 2e-5
        assert gradient[tap, 0, filter_] == pytest.approx(numeric, rel=2e-3)


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 2), (5, 2), (3, 5), (7, 3)])
@pytest.mark.parametrize("frames", [50, 51, 52, 53, 54])
def test_strided_convolution_equals_keras(size, stride, frames):
    layer = StridedConvolution(4, size, stride, use_bias=True)
    x = np.random.default_rng(frames).standard_normal((2, frames, 3)).astype(np.float32)
    found = layer(x)
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    theirs = keras.activations.gelu(ops.conv(x, layer.kernel, stride, "valid") + layer.bias)
    np.testing.assert_allclose(layer(x), theirs, atol=1e-5)
    assert found.shape == theirs.shape == layer.compute_output_shape(x.shape)
