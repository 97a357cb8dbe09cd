import keras
import numpy as np
import pytest

from common.errors import UserError
from common.models.backbones import backbone


@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    # Without top: the published 14,307,880 minus 1664 * 1000 + 1000, and 25,636,712 minus 2048 * 1000 + 1000.
    [("densenet169", 1664, 12_642_880), ("resnet50", 2048, 23_587_712)],
)
def test_published_networks_have_their_parameter_counts(name, width, parameters):
    model = backbone(name, 400, 400)
    assert model.count_params() == parameters
    assert model.input_shape == (None, 400, 400, 1)
    assert model.output_shape == (None, width)


@pytest.fixture(scope="module")
def resnet50():
    """A ResNet50 of random weights for small images, and the `keras.applications` model inside."""
    model = backbone("resnet50", 40, 40)
    return model, next(layer for layer in model.layers if isinstance(layer, keras.Model))


def test_the_channel_is_repeated_three_times(resnet50):
    model, inner = resnet50
    image = np.random.default_rng(0).normal(size=(1, 40, 40, 1)).astype(np.float32)
    expected = inner.predict(np.repeat(image, 3, axis=-1), verbose=0)
    np.testing.assert_allclose(model.predict(image, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("width", "features"), [(1.0, 192), (0.25, 48), (0.01, 8)])
def test_small_cnn_gives_mean_and_maximum(width, features):
    model = backbone("small_cnn", 30, 20, width=width)
    found = model.predict(np.random.default_rng(0).normal(size=(2, 30, 20, 1)), verbose=0)
    assert found.shape == (2, features)
    assert np.isfinite(found).all()
    # Mean and peak of what a ReLU gave.
    average, peak = np.split(found, 2, axis=1)
    assert (peak >= average).all()
    assert (average >= 0).all()


def test_small_cnn_parameter_count():
    # Convolutions 3 * 3 * (1 * 16 + 16 * 32 + 32 * 64 + 64 * 96) = 78,480; four numbers a normalised channel: 4 * 208.
    assert backbone("small_cnn", 400, 400).count_params() == 78_480 + 832


def test_weights_are_read_from_a_file(resnet50, tmp_path):
    model, inner = resnet50
    inner.save_weights(tmp_path / "some.weights.h5")
    again = backbone("resnet50", 60, 50, weights=tmp_path / "some.weights.h5")
    # 53 convolutions with kernel and bias, as many normalisations with four vectors each.
    assert len(again.weights) == 53 * 2 + 53 * 4
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_unknown_backbone():
    with pytest.raises(UserError, match="Did you mean resnet50"):
        backbone("resnet", 40, 40)
