"""Quaternion layers compared with the public PyTorch code (golden), hand calculations, and loops in NumPy."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.layers import quaternion
from common.layers.quaternion import (
    QuaternionBatchNormalization,
    QuaternionConv2D,
    QuaternionConv2DTranspose,
    QuaternionDense,
    QuaternionInitializer,
    hamilton_kernel,
)
from tests.helpers import GOLDEN, quaternion_numbers

EXPECTED = GOLDEN / "quaternion" / "conv_dense.npz"
UNITS = np.eye(4)  # 1, i, j, k
# Products of two units, from i^2 = j^2 = k^2 = ijk = -1.
TABLE = {"ii": "-1", "jj": "-1", "kk": "-1", "ij": "k", "ji": "-k", "jk": "i", "kj": "-i", "ki": "j", "ik": "-j"}


@pytest.fixture(scope="module")
def golden():
    with np.load(EXPECTED, allow_pickle=False) as file:
        return dict(file)


def multiply(p, q):
    """Hamilton product, transcribed from the multiplication table of the units."""
    a1, b1, c1, d1 = p
    a2, b2, c2, d2 = q
    return np.array(
        [
            a1 * a2 - b1 * b2 - c1 * c2 - d1 * d2,
            a1 * b2 + b1 * a2 + c1 * d2 - d1 * c2,
            a1 * c2 - b1 * d2 + c1 * a2 + d1 * b2,
            a1 * d2 + b1 * c2 - c1 * b2 + d1 * a2,
        ]
    )


def literal_convolution(x, kernel, strides, padding):
    """Convolution of x (batch, height, width, 4 n) by kernel (height, width, n, 4 m) in loops over quaternions."""
    (kh, kw, n, outputs), (sh, sw), m = kernel.shape, strides, kernel.shape[-1] // 4
    if padding == "same":
        pads = []
        for size, k, s in zip(x.shape[1:3], (kh, kw), (sh, sw), strict=True):
            total = max((-(size // -s) - 1) * s + k - size, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    height, width = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    result = np.zeros((len(x), height, width, outputs))
    for b, y0, x0, dy, dx in np.ndindex(len(x), height, width, kh, kw):
        cell = x[b, y0 * sh + dy, x0 * sw + dx].reshape(4, n)
        for source, place in np.ndindex(n, m):
            weight = kernel[dy, dx, source].reshape(4, m)[:, place]
            result[b, y0, x0].reshape(4, m)[:, place] += multiply(weight, cell[:, source])
    return result


def literal_transpose(x, kernel, strides):
    """Transposed convolution of x (batch, height, width, 4 m) by kernel (height, width, n, 4 m), with conj(w)."""
    (kh, kw, n), (sh, sw), m = kernel.shape[:3], strides, kernel.shape[-1] // 4
    height, width = (x.shape[1] - 1) * sh + kh, (x.shape[2] - 1) * sw + kw
    result = np.zeros((len(x), height, width, 4 * n))
    for b, y0, x0, dy, dx in np.ndindex(*x.shape[:3], kh, kw):
        cell = x[b, y0, x0].reshape(4, m)
        for place, source in np.ndindex(n, m):
            weight = kernel[dy, dx, place].reshape(4, m)[:, source] * [1, -1, -1, -1]
            result[b, y0 * sh + dy, x0 * sw + dx].reshape(4, n)[:, place] += multiply(weight, cell[:, source])
    return result


def built(layer, shape, kernel=None, bias=None):
    layer.build(shape)
    if kernel is not None:
        layer.kernel.assign(kernel)
    if bias is not None:
        layer.bias.assign(bias)
    return layer


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(params=["kernel assembled", "signed sums"])
def way(request, monkeypatch):
    """Both ways to compute a convolution, whatever the number of positions."""
    monkeypatch.setattr(quaternion, "SIGNED_SUMS_FROM", math.inf if request.param == "kernel assembled" else 0)


def test_convolution_equals_pytorch(golden, way):
    kernel = np.concatenate([golden[f"conv_w_{part}"].transpose(2, 3, 1, 0) for part in "rijk"], axis=-1)
    layer = built(QuaternionConv2D(20, 3, padding="same"), (None, 9, 7, 12), kernel, golden["conv_bias"])
    found = ops.convert_to_numpy(layer(golden["conv_x_nchw"].transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), golden["conv_y_nchw"], atol=1e-5, rtol=1e-5)


def test_dense_equals_pytorch(golden):
    kernel = np.concatenate([golden[f"dense_w_{part}"] for part in "rijk"], axis=-1)
    layer = built(QuaternionDense(20), (None, 24), kernel, golden["dense_bias"])
    np.testing.assert_allclose(layer(golden["dense_x"]), golden["dense_y"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("pair", "expected"), TABLE.items())
def test_products_of_the_units_1_i_j_k(pair, expected, way):
    weight, value = (UNITS["1ijk".index(letter)] for letter in pair)
    product = UNITS["1ijk".index(expected[-1])] * (-1 if expected[0] == "-" else 1)
    dense = built(QuaternionDense(4, use_bias=False), (None, 4), weight[None])
    np.testing.assert_array_equal(dense(value[None])[0], product)
    conv = built(QuaternionConv2D(4, 1, use_bias=False), (None, 1, 1, 4), weight[None, None, None])
    np.testing.assert_array_equal(conv(value[None, None, None])[0, 0, 0], product)
    # The adjoint multiplies by the conjugate: every unit but 1 changes its sign.
    back = built(QuaternionConv2DTranspose(4, 1, use_bias=False), (None, 1, 1, 4), weight[None, None, None])
    np.testing.assert_array_equal(back(value[None, None, None])[0, 0, 0], -product)


def test_a_product_worked_by_hand():
    # (1 + 2i + 3j + 4k)(5 + 6i + 7j + 8k) = -60 + 12i + 30j + 24k
    layer = built(QuaternionDense(4), (None, 4), np.array([[1.0, 2, 3, 4]]), np.array([100.0, 200, 300, 400]))
    np.testing.assert_array_equal(layer(np.array([[5.0, 6, 7, 8]])), [[40, 212, 330, 424]])


def test_the_modulus_of_a_product_is_the_product_of_the_moduli():
    weight, value = normal(1, 4), normal(5, 4, seed=1)
    found = ops.convert_to_numpy(built(QuaternionDense(4), (None, 4), weight)(value))
    expected = np.linalg.norm(weight) * np.linalg.norm(value, axis=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, rtol=1e-5)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (2, 3)])
def test_convolution_equals_loops_over_positions(padding, strides, way):
    x, kernel = normal(2, 5, 6, 8), normal(3, 2, 2, 12, seed=1)
    layer = built(QuaternionConv2D(12, (3, 2), strides, padding, use_bias=False), x.shape, kernel)
    expected = literal_convolution(x, kernel, strides, padding)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize(
    ("shape", "strides", "assembled"),
    # 9 * 512 is at least 64 per position for 8 x 8 positions, and less for 10 x 10.
    [((8, 8), 1, False), ((10, 10), 1, True), ((16, 16), 2, False)],
)
def test_the_kernel_is_assembled_for_large_feature_maps(shape, strides, assembled, monkeypatch):
    calls = []
    monkeypatch.setattr(quaternion, "hamilton_kernel", lambda kernel: calls.append(1) or hamilton_kernel(kernel))
    inputs = keras.Input((*shape, 512))
    network = keras.Model(inputs, QuaternionConv2D(4, 3, strides, "same")(inputs))
    assert network(np.zeros((2, *shape, 512), np.float32)).shape[0] == 2
    assert bool(calls) == assembled


def test_the_kernel_is_assembled_if_the_size_is_unknown():
    assert not QuaternionConv2D(4, 3)._uses_signed_sums((None, None, 8, 512))


@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (2, 3)])
def test_transposed_convolution_equals_loops_over_positions(strides):
    x, kernel = normal(2, 4, 3, 12), normal(3, 3, 2, 12, seed=1)
    layer = built(QuaternionConv2DTranspose(8, 3, strides, use_bias=False), x.shape, kernel)
    expected = literal_transpose(x, kernel, strides)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == expected.shape


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_transposed_convolution_is_the_adjoint(padding, strides):
    size = 6 if padding == "same" else 7  # a size of which the convolution uses all positions
    x, kernel = normal(2, size, size, 8), normal(3, 3, 2, 12, seed=1)
    forward = built(QuaternionConv2D(12, 3, strides, padding, use_bias=False), x.shape, kernel)
    mapped = ops.convert_to_numpy(forward(x))
    y = normal(*mapped.shape, seed=2)
    backward = built(QuaternionConv2DTranspose(8, 3, strides, padding, use_bias=False), y.shape, kernel)
    returned = ops.convert_to_numpy(backward(y))
    assert returned.shape == x.shape == backward.compute_output_shape(y.shape)
    assert (mapped * y).sum() == pytest.approx((x * returned).sum(), rel=1e-4)


def test_transposed_convolution_equals_the_public_codes_block_matrix():
    # Their blocks, with the inputs on the first axis: rows r: r -i -j -k, i: i r -k j, j: j k r -i, k: k -j i r.
    r, i, j, k = normal(4, 3, 2)
    blocks = np.block([[r, -i, -j, -k], [i, r, -k, j], [j, k, r, -i], [k, -j, i, r]])
    x = normal(1, 1, 5, 12, seed=1)
    kernel = np.concatenate([part.T for part in (r, i, j, k)], axis=-1)[None, None]
    layer = built(QuaternionConv2DTranspose(8, 1, use_bias=False), x.shape, kernel)
    np.testing.assert_allclose(layer(x), x @ blocks, atol=1e-5)


def test_dense_layer_on_more_axes_equals_the_real_kernel():
    x, kernel = normal(3, 5, 8), normal(2, 12, seed=1)
    layer = built(QuaternionDense(12, use_bias=False), x.shape, kernel)
    real = ops.convert_to_numpy(hamilton_kernel(ops.convert_to_tensor(kernel)))
    assert real.shape == (8, 12)
    np.testing.assert_allclose(layer(x), x @ real, atol=1e-5)
    assert layer.compute_output_shape((None, 5, 8)) == (None, 5, 12)


def test_parameter_counts():
    # out * in * k^2 / 4 + out, and out * in / 4 + out
    assert built(QuaternionConv2D(64, 3), (None, 8, 8, 32)).count_params() == 64 * 32 * 9 // 4 + 64
    assert built(QuaternionDense(4096), (None, 2048)).count_params() == 4096 * 2048 // 4 + 4096
    assert built(QuaternionConv2DTranspose(4, 3), (None, 8, 8, 4)).count_params() == 40
    norm = built(QuaternionBatchNormalization(), (None, 8, 8, 12))
    assert [tuple(w.shape) for w in norm.weights] == [(3,), (12,), (4,), (1,)]


def derivative(function, array, place, step):
    moved = [array.copy(), array.copy()]
    moved[0][place] += step
    moved[1][place] -= step
    return (function(moved[0]) - function(moved[1])) / (2 * step)


@pytest.mark.parametrize("kind", ["convolution", "signed sums", "transposed", "dense"])
def test_gradients_equal_finite_differences(kind, monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("written for TensorFlow's tape")
    import tensorflow as tf

    if kind in ("convolution", "signed sums"):
        monkeypatch.setattr(quaternion, "SIGNED_SUMS_FROM", 0 if kind == "signed sums" else math.inf)
        layer, x, kernel = QuaternionConv2D(8, 3, 2, "same"), normal(2, 5, 4, 4), normal(3, 3, 1, 8, seed=1)
        reference = lambda x, kernel: literal_convolution(x, kernel, (2, 2), "same")  # noqa: E731
    elif kind == "transposed":
        layer, x, kernel = QuaternionConv2DTranspose(4, 3, 2), normal(2, 3, 2, 8), normal(3, 3, 1, 8, seed=1)
        reference = lambda x, kernel: literal_transpose(x, kernel, (2, 2))  # noqa: E731
    else:
        layer, x, kernel = QuaternionDense(8), normal(3, 12), normal(3, 8, seed=1)
        reference = lambda x, kernel: (  # noqa: E731
            literal_convolution(x[:, None, None], kernel[None, None], (1, 1), "valid")[:, 0, 0]
        )
    layer = built(layer, x.shape, kernel, normal(layer.outputs, seed=2))
    bias = ops.convert_to_numpy(layer.bias).astype(float)
    value = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(value)
        loss = tf.reduce_sum(layer(value) ** 3)
    by_input, by_kernel, by_bias = tape.gradient(loss, [value, layer.kernel.value, layer.bias.value])

    def total(x, kernel, bias):
        return ((reference(x, kernel) + bias) ** 3).sum()

    x, kernel = x.astype(float), kernel.astype(float)
    generator = np.random.default_rng(3)
    for found, array, function in (
        (by_input, x, lambda a: total(a, kernel, bias)),
        (by_kernel, kernel, lambda a: total(x, a, bias)),
        (by_bias, bias, lambda a: total(x, kernel, a)),
    ):
        for place in [tuple(generator.integers(array.shape)) for _ in range(6)]:
            assert found.numpy()[place] == pytest.approx(derivative(function, array, place, 1e-5), rel=2e-4, abs=1e-3)


def components(criterion, shape, seed=0):
    kernel = ops.convert_to_numpy(QuaternionInitializer(criterion, seed=seed)(shape)).astype(float)
    return np.stack(np.split(kernel, 4, axis=-1)).reshape(4, -1)


@pytest.mark.parametrize(
    ("criterion", "shape", "expected"),
    [
        ("glorot", (3, 3, 32, 256), 1 / np.sqrt(2 * 9 * (32 + 64))),
        ("he", (3, 3, 32, 256), 1 / np.sqrt(2 * 9 * 32)),
        ("glorot", (128, 512), 1 / np.sqrt(2 * (128 + 128))),
        ("he", (128, 512), 1 / np.sqrt(2 * 128)),
    ],
)
def test_initial_moduli_are_chi_distributed(criterion, shape, expected):
    from scipy import stats

    parts = components(criterion, shape)
    modulus = np.linalg.norm(parts, axis=0)
    # The 1e-4 under the root makes a weight slightly smaller; E|u|^2 stays within 0.1 % of 1.
    assert (modulus**2).mean() == pytest.approx(4 * expected**2, rel=0.03)
    assert stats.kstest(modulus / expected, stats.chi(4).cdf).pvalue > 1e-3
    assert stats.kstest(modulus / expected, stats.chi(3).cdf).pvalue < 1e-9  # no other distribution
    phase = np.arctan2(np.linalg.norm(parts[1:], axis=0), parts[0])
    assert stats.kstest(phase / np.pi, "uniform").pvalue > 1e-3  # |theta|, as the axis takes both signs
    assert np.abs(parts.mean(axis=1)).max() < 4 * expected / np.sqrt(parts.shape[1]) * 2


def test_initial_axes_are_normalised_uniform_numbers():
    parts = components("glorot", (3, 3, 32, 256))[1:]
    axes = parts / np.linalg.norm(parts, axis=0)
    draws = np.random.default_rng(9).uniform(-1, 1, (3, 200_000))
    draws /= np.linalg.norm(draws, axis=0)
    # Fourth moments distinguish normalised points of a cube from points of a sphere (1/5).
    assert (axes**4).mean() == pytest.approx((draws**4).mean(), rel=0.02)
    assert (axes**4).mean() < 0.19
    np.testing.assert_allclose(np.cov(axes), np.eye(3) / 3, atol=0.01)


def test_seeds_of_the_initialiser():
    first, again, other = (components("he", (8, 16), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    keras.utils.set_random_seed(3)
    one, two = (built(QuaternionDense(8), (None, 8)).kernel.numpy() for _ in range(2))
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(built(QuaternionDense(8), (None, 8)).kernel.numpy(), one)
    assert not np.allclose(one, two)
    loaded = keras.initializers.deserialize(keras.initializers.serialize(QuaternionInitializer("he", seed=5)))
    assert (loaded.criterion, loaded.seed) == ("he", 5)


def test_default_initialisations():
    assert QuaternionConv2D(4, 3).kernel_initializer.criterion == "glorot"
    assert QuaternionConv2DTranspose(4, 3).kernel_initializer.criterion == "he"
    assert QuaternionDense(4).kernel_initializer.criterion == "he"


def literal_normalisation(x, mean, variance, gamma, beta):
    n = x.shape[-1] // 4
    result = np.empty_like(x, dtype=float)
    for c in range(4 * n):
        result[..., c] = gamma[c % n] * (x[..., c] - mean[c // n]) / np.sqrt(variance + 1e-5) + beta[c]
    return result


def test_batch_normalisation_equals_numpy():
    x = normal(6, 5, 4, 12) * np.repeat([1.0, 2, 3, 4], 3).astype(np.float32) + 2
    gamma, beta = normal(3, seed=1), normal(12, seed=2)
    layer = built(QuaternionBatchNormalization(), x.shape)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    blocks = np.split(x.astype(float), 4, axis=-1)
    mean = [block.mean() for block in blocks]
    variance = np.mean(sum((block - m) ** 2 for block, m in zip(blocks, mean, strict=True)))
    np.testing.assert_allclose(
        layer(x, training=True), literal_normalisation(x, mean, variance, gamma, beta), atol=1e-5
    )
    np.testing.assert_allclose(layer.moving_mean, 0.1 * np.array(mean), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * variance], rtol=1e-5)
    layer(x, training=True)
    running = 0.19 * np.array(mean), 0.81 + 0.19 * variance
    np.testing.assert_allclose(layer.moving_variance, [running[1]], rtol=1e-5)
    np.testing.assert_allclose(layer(x), literal_normalisation(x, *running, gamma, beta), atol=1e-5)
    # With one variance for all, the ratios of the components are kept and the summed variance becomes one.
    layer.gamma.assign(np.ones(3))
    layer.beta.assign(np.zeros(12))
    spread = np.array([block.var() for block in np.split(ops.convert_to_numpy(layer(x, training=True)), 4, axis=-1)])
    np.testing.assert_allclose(spread.sum(), 1, rtol=1e-3)
    np.testing.assert_allclose(spread / spread.sum(), np.array([b.var() for b in blocks]) / variance, rtol=1e-3)


def test_frozen_batch_normalisation_keeps_its_statistics():
    x = normal(6, 3, 3, 4) + 5
    layer = built(QuaternionBatchNormalization(), x.shape)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(4))


def network():
    inputs = keras.Input((8, 6, 4))
    x = QuaternionConv2D(8, 3, padding="same", activation="relu", kernel_regularizer="l2")(inputs)
    x = QuaternionBatchNormalization(momentum=0.8)(x)
    x = QuaternionConv2DTranspose(4, 3, 2, padding="same")(x)
    return keras.Model(inputs, QuaternionDense(12)(keras.layers.Flatten()(x)))


def test_save_and_load(tmp_path):
    x = normal(2, 8, 6, 4)
    model = network()
    model.compile("adam", "mse", jit_compile=False)
    model.fit(x, np.zeros((2, 12)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy, way):
    x = normal(3, 8, 6, 4)
    model = network()
    keras.config.set_dtype_policy(policy)
    try:
        half = network()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    found = half(x)
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    assert {weight.dtype for weight in half.weights} == {"float32"}
    expected = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(ops.cast(found, "float32"), expected, atol=0.03 * np.abs(expected).max())
    half.compile("sgd", "mse", jit_compile=False)
    assert np.isfinite(half.fit(x, np.zeros((3, 12)), verbose=0).history["loss"]).all()


@pytest.mark.parametrize("layer", [QuaternionConv2D, QuaternionConv2DTranspose])
def test_convolutions_need_a_multiple_of_four_channels(layer):
    with pytest.raises(UserError, match="outputs of odd are 6 channels; quaternions need a multiple of four"):
        layer(6, 3, name="odd")
    with pytest.raises(UserError, match="inputs of odd are 3 channels"):
        layer(8, 3, name="odd")(np.zeros((1, 5, 5, 3)))
    with pytest.raises(UserError, match="no padding 'full'"):
        layer(8, 3, padding="full")


def test_dense_and_normalisation_need_a_multiple_of_four_channels():
    with pytest.raises(UserError, match="inputs of d are 10 channels"):
        QuaternionDense(8, name="d")(np.zeros((1, 10)))
    with pytest.raises(UserError, match="outputs of d are 0 channels"):
        QuaternionDense(0, name="d")
    with pytest.raises(UserError, match="inputs of n are 2 channels"):
        QuaternionBatchNormalization(name="n")(np.zeros((1, 3, 3, 2)))
    with pytest.raises(UserError, match="no quaternion initialisation 'xavier'"):
        QuaternionInitializer("xavier")


def test_jax_computes_the_same_without_tensorflow(under_jax):
    found = under_jax(quaternion_numbers.numbers)
    assert found["backend"] == "jax" and not found["tensorflow"]
    expected = quaternion_numbers.numbers()["values"]
    assert expected.keys() == found["values"].keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found["values"][name], values, rtol=1e-3, atol=1e-5, err_msg=name)
