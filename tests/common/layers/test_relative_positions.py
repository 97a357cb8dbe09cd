"""Buckets of distances compared with those of Hugging Face's PyTorch model, and biases with a loop."""

import keras
import numpy as np
import pytest

from common.layers.relative_positions import PositionGate, RelativePositionBias, distance_buckets

# From transformers 4.57.6, WavLMAttention._relative_positions_bucket, with the settings of WavLM and smaller ones.
OF_WAVLM = {
    -5000: 159, -800: 159, -799: 159, -500: 143, -163: 104, -100: 87, -81: 80, -80: 80, -79: 79, -1: 1, 0: 0, 1: 161,
    79: 239, 80: 240, 81: 240, 82: 240, 83: 241, 84: 241, 100: 247, 163: 264, 500: 303, 790: 319, 799: 319,
    800: 319, 5000: 319,
}  # fmt: skip
SMALL = [7, 7, 7, 7, 7, 6, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11, 12, 13, 14, 14, 15, 15, 15, 15, 15]


def test_buckets_equal_the_pytorch_model():
    found = distance_buckets(np.array(list(OF_WAVLM)), 320, 800)
    assert found.tolist() == list(OF_WAVLM.values())
    small = distance_buckets(np.arange(-12, 13), 16, 9)
    assert small.tolist() == SMALL


def test_the_bias_of_two_frames_depends_on_their_distance():
    layer = RelativePositionBias(heads=2, buckets=16, max_distance=9)
    bias = np.asarray(layer(np.zeros((3, 30, 4), np.float32)))
    weights = np.asarray(layer.bias)
    assert bias.shape == (1, 2, 30, 30) and layer(np.zeros((1, 1, 4), np.float32)).shape == (1, 2, 1, 1)
    for query, key in np.ndindex(30, 30):
        bucket = distance_buckets(np.array([key - query]), 16, 9)[0]
        np.testing.assert_array_equal(bias[0, :, query, key], weights[bucket])


def test_the_gate_equals_its_formula():
    generator = np.random.default_rng(0)
    layer, x = PositionGate(heads=2), generator.standard_normal((3, 5, 8)).astype(np.float32)
    positions = generator.standard_normal((1, 2, 5, 5)).astype(np.float32)
    layer(x, positions)
    layer.set_weights([generator.standard_normal(weight.shape) for weight in layer.weights])
    found = np.asarray(layer(x, positions))
    kernel, bias, constant = layer.get_weights()
    for row, head, query in np.ndindex(3, 2, 5):
        eight = x[row, query, 4 * head : 4 * head + 4] @ kernel + bias
        a, b = 1 / (1 + np.exp(-eight.reshape(2, 4).sum(axis=1)))
        expected = (2 - a + a * b * constant[head]) * positions[0, head, query]
        np.testing.assert_allclose(found[row, head, query], expected, atol=1e-5)


@pytest.mark.parametrize("layer", [RelativePositionBias(2, 16, 9), PositionGate(2)])
def test_layers_can_be_saved(layer):
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
