"""What reaches a network with ImageNet weights: its moving statistics must fit the spectrograms from the first step."""

import keras
import numpy as np
import pytest
from keras.applications.imagenet_utils import preprocess_input

from common.contract import override
from common.features.spectrogram import fix_length
from common.models.backbones import checkpoint_scaling
from papers.mtap import data, model
from papers.mtap.config import MtapConfig
from papers.mtap.model import build_model, compile_model, fused_features
from tests.helpers.eagerly import eagerly
from tests.helpers.mtap_data import part

eager = pytest.fixture(eagerly)

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, red, green and blue, as a share of 255 (published with its models)."""

MODES = {"resnet50": "caffe", "densenet169": "torch"}
"""Preprocessing of each checkpoint, as `keras.applications` documents it."""


def pixels(count, seed):
    """Spectrograms of a part as RGB images from 0 to 255 with the mean and deviation of ImageNet."""
    spectrograms = list(part(count, 64, seed).features["spectrogram"].values())
    frames = np.concatenate(spectrograms)
    images = np.stack([fix_length((one - frames.mean(axis=0)) / frames.std(axis=0), 40) for one in spectrograms])
    images = ((images - images.mean()) / images.std())[..., None]
    return (255 * (np.array(MEAN) + np.array(DEVIATION) * images)).astype(np.float32)


def normalisations(network):
    return [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Function that puts a checkpoint in place whose moving statistics are those of preprocessed images."""

    def put(name):
        keras.utils.set_random_seed(0)
        build = {"resnet50": keras.applications.ResNet50, "densenet169": keras.applications.DenseNet169}[name]
        network = build(include_top=False, weights=None, input_shape=(40, 64, 3), pooling="avg")
        for layer in normalisations(network):
            layer.momentum = 0.0
        network(preprocess_input(pixels(16, seed=0), data_format="channels_last", mode=MODES[name]), training=True)
        file = tmp_path / f"{name}.weights.h5"
        network.save_weights(file)
        monkeypatch.setattr(model, "imagenet_file", lambda backbone: file)

    return put


def after_steps(config, steps=3):
    """Features with batch and with moving statistics, and the first layer's ratio of moving to batch variance."""
    train = part(16, bins=config.bins)
    _, inputs = data.InputPreparation.fitted(config, train)
    network = build_model(config, len(train.classes))
    compile_model(network, config)
    for _ in range(steps):
        network.train_on_batch(inputs, train.labels)
    features = fused_features(network)
    moving = np.array(features(inputs, training=False))
    first = next(layer for layer in normalisations(network) if layer.name == "conv1_bn")
    before = first.moving_variance.numpy().copy()
    first.momentum = 0.0
    batch = np.array(features(inputs, training=True))
    return batch, moving, float(np.median(before / first.moving_variance.numpy()))


@pytest.mark.parametrize("name", ["resnet50", pytest.param("densenet169", marks=pytest.mark.slow)])
def test_batch_and_moving_statistics_give_the_same_features(name, checkpoint, eager):
    """With spectrograms of deviation 1, ResNet50's first ratio was 4,439 and the features had nothing in common.

    A network of random weights changes much more with a step than one of ImageNet weights, so the steps are small.
    """
    checkpoint(name)
    config = MtapConfig(backbone=name, frames=40, bins=64, batch_size=16, learning_rate=1e-6)
    batch, moving, ratio = after_steps(config)
    assert 0.9 < ratio < 1.1
    assert np.corrcoef(batch.ravel(), moving.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", MODES)
def test_scaling_for_a_checkpoint_is_its_own_preprocessing(name):
    grey = np.linspace(0, 1, 12).reshape(1, 3, 4, 1)
    factor, offset = checkpoint_scaling(name, "pixels")
    expected = preprocess_input(255 * np.repeat(grey, 3, axis=-1), data_format="channels_last", mode=MODES[name])
    np.testing.assert_allclose(grey * factor + offset, expected, atol=1e-4)
    factor, offset = checkpoint_scaling(name, "statistics")
    rgb = 255 * (np.array(MEAN) + np.array(DEVIATION) * grey)
    expected = preprocess_input(rgb, data_format="channels_last", mode=MODES[name])
    np.testing.assert_allclose(grey * factor + offset, expected, atol=1e-4)


@pytest.mark.parametrize("normalisation", ["bin", "corpus", "none"])
def test_images_have_the_statistics_of_pixels_whatever_their_normalisation(normalisation):
    train, other = part(12), part(6, seed=3)
    for one in (train, other):
        for spectrogram in one.features["spectrogram"].values():
            spectrogram *= 4
            spectrogram -= 9
    config = MtapConfig(frames=32, bins=24, normalisation=normalisation)
    preparation, images = data.InputPreparation.fitted(config, train)
    assert images.mean() == pytest.approx(0, abs=1e-4) and images.std() == pytest.approx(1, abs=1e-4)
    plain, unscaled = data.InputPreparation.fitted(override(config, {"weights": "random"}), train)
    assert plain.pixels is None
    scaled = (plain(other) - unscaled.mean()) / unscaled.std()
    np.testing.assert_allclose(preparation(other), scaled, atol=1e-4)
    restored = data.InputPreparation.from_arrays(config, preparation.arrays())
    np.testing.assert_array_equal(restored(other), preparation(other))
    preparation, images = data.InputPreparation.fitted(override(config, {"checkpoint_input": "pixels"}), train)
    assert (images.min(), images.max()) == (0, 1)
    assert preparation(other).min() >= 0 and preparation(other).max() <= 1
