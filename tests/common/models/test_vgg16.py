"""VGG16: published parameter counts, PyTorch's order and pooling, and feature maps."""

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.layers.quaternion import QuaternionDense
from common.models.vgg16 import AdaptiveAverage, feature_map, vgg16
from tests.helpers.declared import parameters


def small(**keywords):
    return vgg16((32, 32, 4), 3, **{"width": 1 / 16, "dropout": 0.0, "initializer": "he", **keywords})


@pytest.mark.parametrize(
    ("shape", "classes", "keywords", "count"),
    [
        ((512, 128, 1), 4, {}, 165_733_060),
        ((501, 129, 1), 4, {}, 157_344_452),
        ((512, 128, 1), 4, {"pooling": "adaptive"}, 134_275_780),
        ((224, 224, 3), 1000, {"pooling": "adaptive"}, 138_357_544),  # as torchvision states it
        ((64, 64, 4), 4, {"quaternion": True}, 9_998_020),
        ((64, 64, 4), 7, {"quaternion": True}, 10_010_311),
        ((64, 64, 4), 8, {"quaternion": True}, 10_014_408),
        ((64, 64, 4), 4, {"quaternion": True, "pooling": "adaptive"}, 33_590_980),
    ],
)
def test_parameter_counts(shape, classes, keywords, count):
    assert parameters(lambda: vgg16(shape, classes, **keywords)) == count


@pytest.mark.parametrize(("quaternion", "count"), [(False, 14_713_536), (True, 3_681_984)])
def test_parameters_of_the_convolutions(quaternion, count):
    make = lambda: vgg16((64, 64, 4 if quaternion else 1), 4, quaternion=quaternion)  # noqa: E731
    assert parameters(make, "conv") == count


@pytest.mark.parametrize("quaternion", [False, True])
def test_structure(quaternion):
    model = small(quaternion=quaternion)
    names = [layer.name for layer in model.layers]
    poolings = [names.index(f"pool{number}") - names.index("relu1") for number in range(1, 6)]
    # torchvision's features: poolings at 4, 9, 16, 23, 30 of conv, relu, ..., so relu1 is at 1.
    assert poolings == [3, 8, 15, 22, 29]
    assert model.output_shape == (None, 3)
    assert type(model.get_layer("logits")) is keras.layers.Dense
    assert (type(model.get_layer("dense1")) is QuaternionDense) == quaternion
    shapes = [feature_map(model, number).shape[1:] for number in range(1, 14)]
    sizes = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    assert shapes == [(n, n, c) for n, c in zip(sizes, [4, 4, 8, 8, 16, 16, 16, *[32] * 6], strict=True)]


def literal(model, x):
    """The real network with loops over layers in NumPy, channels first where PyTorch has them first."""
    from scipy.signal import correlate

    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    seen = {}
    for number in range(1, 14):
        kernel, bias = weights[f"conv{number}"]
        x = np.stack(
            [
                [
                    sum(correlate(one[..., i], kernel[..., i, o], "same") for i in range(one.shape[-1])) + bias[o]
                    for o in range(kernel.shape[-1])
                ]
                for one in x
            ]
        ).transpose(0, 2, 3, 1)
        x = seen[number] = np.maximum(x, 0)
        if number in (2, 4, 7, 10, 13):
            b, h, w, c = x.shape
            x = x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # torch.flatten of (batch, channels, height, width)
    for name in ("dense1", "dense2", "logits"):
        x = x @ weights[name][0] + weights[name][1]
        x = x if name == "logits" else np.maximum(x, 0)
    return x, seen


def test_the_real_network_equals_numpy():
    keras.utils.set_random_seed(0)
    model = vgg16((64, 32, 1), 3, width=1 / 16, initializer="he")
    x = np.random.default_rng(0).normal(size=(2, 64, 32, 1)).astype(np.float32)
    expected, seen = literal(model, x)
    np.testing.assert_allclose(model(x), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    for number in (1, 7, 13):
        found = keras.Model(model.input, feature_map(model, number))(x)
        np.testing.assert_allclose(found, seen[number], rtol=1e-3, atol=1e-4 * seen[number].max())
    # The authors' reading of layer 3 is what goes into it: the pooled output of layer 2.
    found = ops.convert_to_numpy(keras.Model(model.input, feature_map(model, 3, reading="input"))(x))
    pooled = seen[2].reshape(2, 32, 2, 16, 2, 4).max(axis=(2, 4))
    np.testing.assert_allclose(found, pooled, rtol=1e-3, atol=1e-4 * pooled.max())
    assert feature_map(model, 1, reading="input") is model.input


def test_components_stay_contiguous_before_the_dense_layers():
    model = vgg16((64, 64, 4), 3, quaternion=True, width=1 / 16)
    x = np.arange(2 * 2 * 32, dtype=np.float32).reshape(1, 2, 2, 32)
    start = [layer.name for layer in model.layers].index("channels_first")
    for layer in model.layers[start : start + 2]:
        x = ops.convert_to_numpy(layer(x))
    blocks = x.reshape(4, 32)  # component, then anything
    for component in range(4):
        assert {int(value) % 32 // 8 for value in blocks[component]} == {component}


@pytest.mark.parametrize("size", [(16, 4), (7, 7), (21, 10), (2, 2)])
def test_adaptive_average_equals_pytorchs_definition(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.empty((2, 7, 7, 3))
    for i, j in np.ndindex(7, 7):
        rows = slice(int(np.floor(i * size[0] / 7)), int(np.ceil((i + 1) * size[0] / 7)))
        columns = slice(int(np.floor(j * size[1] / 7)), int(np.ceil((j + 1) * size[1] / 7)))
        expected[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    layer = AdaptiveAverage((7, 7))
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("keywords", [{}, {"pooling": "adaptive"}, {"quaternion": True}])
def test_save_and_load(tmp_path, keywords):
    model = small(**keywords)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 4)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_mixed_precision_trains():
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 4)).astype(np.float32)
    whole = small(quaternion=True)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(quaternion=True)
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(whole.get_weights())
    found = model(x)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = ops.convert_to_numpy(whole(x))
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False, run_eagerly=True)
    history = model.fit(x, np.arange(4) % 3, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_initialisations():
    keras.utils.set_random_seed(0)
    real = vgg16((32, 32, 1), 4, width=0.5)
    kernel = real.get_layer("conv9").kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * kernel.shape[-1])), rel=0.01)  # torchvision: fan out
    assert real.get_layer("dense1").kernel.numpy().std() == pytest.approx(0.01, rel=0.01)
    quaternion = small(quaternion=True, initializer="default")
    assert quaternion.get_layer("conv3").kernel_initializer.criterion == "glorot"
    assert quaternion.get_layer("dense1").kernel_initializer.criterion == "he"
    assert small(quaternion=True, initializer="he").get_layer("conv3").kernel_initializer.criterion == "he"


def test_unsuitable_arguments():
    with pytest.raises(UserError, match="31 x 64 is below 32 x 32"):
        vgg16((31, 64, 4), 4)
    with pytest.raises(UserError, match="inputs of conv1 are 1 channels"):
        vgg16((64, 64, 1), 4, quaternion=True, width=1 / 16)
    with pytest.raises(UserError, match="no pooling 'max'"):
        small(pooling="max")
    with pytest.raises(UserError, match="no initialisation 'zeros'"):
        small(initializer="zeros")
    model = small()
    for layer in (0, 14):
        with pytest.raises(UserError, match=f"no convolution {layer}; anti-transfer layers are 1 to 13"):
            feature_map(model, layer)
    with pytest.raises(UserError, match="no reading 'both'"):
        feature_map(model, 1, reading="both")
