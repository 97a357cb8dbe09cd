import keras
import numpy as np
import pytest
from keras import ops

from common.layers.cosine import CosineDense


def built(units, width, kernel=None):
    layer = CosineDense(units)
    layer.build((None, width))
    if kernel is not None:
        layer.kernel.assign(kernel)
    return layer


def gradients(layer, features):
    """Derivatives of the summed squared cosines by the features and by the class vectors."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("written for TensorFlow's tape")
    import tensorflow as tf

    features = tf.constant(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        value = tf.reduce_sum(layer(features) ** 2 + layer(features))
    return [g.numpy() for g in tape.gradient(value, [features, layer.kernel.value])]


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(11, 6)).astype(np.float32), generator.normal(size=(6, 4)).astype(np.float32)


def test_against_the_definition(data):
    features, kernel = data
    expected = np.array(
        [[np.dot(x, w) / (np.linalg.norm(x) * np.linalg.norm(w)) for w in kernel.T.astype(float)] for x in features]
    )
    np.testing.assert_allclose(built(4, 6, kernel)(features), expected, atol=1e-6)


def test_known_angles():
    # Right angle, same direction, opposite, and 45 degrees (cos = 1 / sqrt 2).
    kernel = np.array([[0.0, 3.0, -2.0, 1.0], [5.0, 0.0, 0.0, 1.0]])
    np.testing.assert_allclose(built(4, 2, kernel)(np.array([[7.0, 0.0]])), [[0, 1, -1, 0.70710678]], atol=1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e6])
def test_the_lengths_of_vectors_do_not_matter(data, factor):
    features, kernel = data
    expected = ops.convert_to_numpy(built(4, 6, kernel)(features))
    np.testing.assert_allclose(built(4, 6, kernel)(factor * features), expected, atol=1e-6)
    np.testing.assert_allclose(built(4, 6, factor * kernel)(features), expected, atol=1e-6)
    np.testing.assert_allclose(built(4, 6, kernel)(-features), -expected, atol=1e-6)


def test_the_zero_vector_has_cosines_of_zero_and_a_finite_gradient(data):
    _, kernel = data
    layer = built(4, 6, kernel)
    features = np.zeros((2, 6), np.float32)
    np.testing.assert_array_equal(layer(features), np.zeros((2, 4)))
    for values in gradients(layer, features):
        assert np.isfinite(values).all()


def test_gradient_equals_finite_differences(data):
    features, kernel = data

    def value(x, w):
        cosine = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (w / np.linalg.norm(w, axis=0))
        return (cosine**2 + cosine).sum()

    step = 1e-6
    by_features, by_kernel = gradients(built(4, 6, kernel), features)
    pair = [features.astype(float), kernel.astype(float)]
    for which, found in enumerate((by_features, by_kernel)):
        for place in [(0, 0), (3, 2), (5, 3)]:
            moved = [[array.copy() for array in pair] for _ in range(2)]
            moved[0][which][place] += step
            moved[1][which][place] -= step
            assert found[place] == pytest.approx((value(*moved[0]) - value(*moved[1])) / (2 * step), abs=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_float32_outputs(policy, data):
    features, kernel = data
    keras.config.set_dtype_policy(policy)
    try:
        layer = built(4, 6, kernel)
        half = ops.cast(features, policy.removeprefix("mixed_"))
        cosines = layer(half)
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(cosines.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(half, "float32")).astype(float)
    unit = kernel.astype(float) / np.linalg.norm(kernel.astype(float), axis=0)
    # To float32's accuracy of what came in, not to half precision's.
    np.testing.assert_allclose(cosines, rounded / np.linalg.norm(rounded, axis=1, keepdims=True) @ unit, atol=1e-6)


def test_large_half_precision_features_do_not_overflow():
    features = ops.cast(np.full((1, 64), 6e4), "float16")  # their squares are beyond float16
    np.testing.assert_allclose(built(1, 64, np.ones((64, 1)))(features), [[1.0]], atol=1e-6)


def test_small_half_precision_features_do_not_vanish():
    features = ops.cast(np.full((1, 64), 6e-5), "float16")  # their squares are below float16
    np.testing.assert_allclose(built(1, 64, np.ones((64, 1)))(features), [[1.0]], atol=1e-4)


def test_cosines_exceed_1_by_rounding_at_most():
    vectors = np.random.default_rng(1).normal(size=(300, 128)).astype(np.float32)
    cosines = ops.convert_to_numpy(built(300, 128, vectors.T)(vectors))
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-6)
    assert np.abs(cosines).max() <= 1 + 1e-6


@pytest.mark.parametrize(("units", "width", "count"), [(4, 1664, 6656), (7, 2048, 14336)])
def test_parameter_count(units, width, count):
    layer = built(units, width)
    assert layer.count_params() == count  # no bias
    assert len(layer.weights) == 1


def test_save_and_load(tmp_path, data):
    features, _ = data
    inputs = keras.Input((6,))
    model = keras.Model(inputs, CosineDense(4, epsilon=1e-5, name="cosines")(inputs))
    assert model.output_shape == (None, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(features, verbose=0), model.predict(features, verbose=0))
    layer = loaded.get_layer("cosines")
    assert (layer.units, layer.epsilon) == (4, 1e-5)


def test_training_finds_the_class_vectors():
    # Two classes along the axes; the class vectors must find them.
    features = np.array([[1.0, 0.0], [0.0, 1.0]] * 20, np.float32)
    labels = np.array([0, 1] * 20)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), CosineDense(2)])
    from common.losses import apfl

    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=apfl(1.0, 0.3), jit_compile=False)
    model.fit(features, labels, epochs=20, batch_size=40, verbose=0)
    assert ops.convert_to_numpy(model(features)).argmax(1).tolist() == labels.tolist()
