import math

import keras
import numpy as np
import pytest
from keras import ops

from common import losses
from common.layers.cosine import CosineDense
from common.metrics import ccc
from common.training import jit_compile
from tests.helpers.concordance import literal_ccc

FAMILY = {
    "softmax": (losses.softmax(), {}),
    "focal": (losses.focal(2.0), {"gamma": 2.0}),
    "arcface": (losses.arcface(0.3), {"s": 10.0, "angular": 0.3}),
    "apfl": (losses.apfl(0.5, 0.5), {"s": 10.0, "angular": 0.5, "gamma": 0.5}),
    "am_softmax": (losses.am_softmax(), {"s": 30.0, "cosine": 0.2}),
}
family = pytest.mark.parametrize(("loss", "parameters"), FAMILY.values(), ids=FAMILY)
GAMMAS = (0.1, 0.5, 1.0, 2.0, 5.0)


def oracle(labels, outputs, *, s=1.0, angular=0.0, cosine=0.0, gamma=0.0):
    """The formula in float64, one example at a time, with the angle itself (APFL Eq. 1-2 and its special cases)."""
    result = []
    for y, row in zip(labels, np.asarray(outputs, np.float64), strict=True):
        z = row.copy()
        if angular:
            theta = math.acos(min(1.0, max(-1.0, row[y])))
            # As in ArcFace's code (Deng et al. 2019) for theta + m > pi.
            z[y] = math.cos(theta + angular) if theta + angular < math.pi else row[y] - angular * math.sin(angular)
        z[y] -= cosine
        e = np.exp(s * z - np.max(s * z))
        p, one_minus_p = e[y] / e.sum(), np.delete(e, y).sum() / e.sum()
        result.append(-(one_minus_p**gamma) * math.log(p))
    return np.array(result)


def gradient(loss, labels, outputs):
    """Gradient of the summed loss by the outputs, on TensorFlow or JAX."""
    labels = np.asarray(labels)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        variable = tf.constant(outputs, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            value = tf.reduce_sum(loss.call(labels, variable))
        return tape.gradient(value, variable).numpy()
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss.call(labels, x).sum())(np.asarray(outputs, np.float32)))
    pytest.skip("no gradient helper for this backend")


def each(loss, labels, outputs):
    return ops.convert_to_numpy(loss.call(np.asarray(labels), outputs))


@pytest.fixture
def cosines():
    generator = np.random.default_rng(0)
    outputs = generator.uniform(-0.97, 0.97, (200, 5)).astype(np.float32)
    return generator.integers(0, 5, 200), outputs


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        # p = e^2 / (e^2 + 1) = 7.389056 / 8.389056 = .880797; -ln p = .126928
        (losses.softmax(), (2.0, 0.0), 0.126928),
        # (1 - .880797)^2 * .126928 = .0142093 * .126928 = .00180356
        (losses.focal(2.0), (2.0, 0.0), 0.00180356),
        # theta_y = acos(.5) = 1.047198; cos(1.047198 + .5) = .0235966; logits .235966 and 2;
        # L = ln(1 + e^1.764034) = ln(6.835931) = 1.922193
        (losses.arcface(0.5), (0.5, 0.2), 1.922193),
        # the same logits: 1 - p = 5.835931 / 6.835931 = .853714; .853714^2 = .728828; * 1.922193 = 1.400947
        (losses.apfl(2.0, 0.5), (0.5, 0.2), 1.400947),
        # 30 * (.5 - .2) = 9 against 30 * .2 = 6; ln(1 + e^-3) = .0485874
        (losses.am_softmax(), (0.5, 0.2), 0.0485874),
    ],
    ids=FAMILY,
)
def test_a_value_worked_by_hand(loss, outputs, expected):
    value = float(loss(np.array([0]), np.array([outputs], np.float32)))
    assert value == pytest.approx(expected, rel=1e-5)


@family
def test_against_the_literal_formula(loss, parameters, cosines):
    labels, outputs = cosines
    np.testing.assert_allclose(each(loss, labels, outputs), oracle(labels, outputs, **parameters), rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("margin", [0.2, 0.3, 0.4, 0.5])
def test_apfl_over_the_grid_of_the_paper(gamma, margin, cosines):
    labels, outputs = cosines
    expected = oracle(labels, outputs, s=10, angular=margin, gamma=gamma)
    np.testing.assert_allclose(each(losses.apfl(gamma, margin), labels, outputs), expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("margin", [0.2, 0.3, 0.5])
def test_gamma_zero_is_arcface(margin, cosines):
    labels, outputs = cosines
    np.testing.assert_array_equal(
        each(losses.apfl(0.0, margin), labels, outputs), each(losses.arcface(margin), labels, outputs)
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_margin_zero_is_focal_of_the_scaled_cosines(gamma, cosines):
    labels, outputs = cosines
    np.testing.assert_allclose(
        each(losses.apfl(gamma, 0.0), labels, outputs), each(losses.focal(gamma), labels, 10 * outputs), rtol=1e-6
    )
    # It is also the limit: a margin of 1e-4 changes the logit of the true class by at most 10 * 1e-4.
    np.testing.assert_allclose(
        each(losses.apfl(gamma, 1e-4), labels, outputs), each(losses.apfl(gamma, 0.0), labels, outputs), atol=0.03
    )


def test_without_margin_focusing_and_scale_it_is_cross_entropy():
    generator = np.random.default_rng(1)
    labels, logits = generator.integers(0, 7, 50), generator.normal(0, 5, (50, 7)).astype(np.float32)
    peer = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for loss in (losses.softmax(), losses.focal(0.0), losses.apfl(0.0, 0.0, scale=1.0), losses.am_softmax(0.0, 1.0)):
        assert float(loss(labels, logits)) == pytest.approx(float(peer(labels, logits)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("margin", [0.2, 0.3, 0.5])
def test_a_larger_angle_never_has_a_lower_loss(margin, gamma):
    theta = np.linspace(0, np.pi, 400)
    outputs = np.stack([np.cos(theta), np.zeros_like(theta)], axis=1).astype(np.float32)
    values = each(losses.apfl(gamma, margin), np.zeros(400, int), outputs)
    rise = np.diff(values)
    assert rise.min() >= -1e-6
    # Where the loss exceeds rounding errors, it increases; cos(theta + m) alone would not.
    assert rise[theta[1:] > 1.0].min() > 0
    assert np.diff(-np.cos(theta + margin))[-1] < 0


@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
def test_loss_and_gradient_are_finite_for_cosines_of_1_and_minus_1(gamma):
    edges, others = (1.0, -1.0, 1 + 1e-6, -1 - 1e-6), (0.0, 1.0, -1.0)
    outputs = np.array([[edge, other, other] for edge in edges for other in others], np.float32)
    labels = np.zeros(len(outputs), int)
    for loss in (
        losses.apfl(gamma, 0.5),
        losses.apfl(gamma, math.pi),
        losses.apfl(gamma, 0.3, scale=64.0),
        losses.MarginFocalLoss(scale=30, cosine_margin=0.2, gamma=gamma),
    ):
        values = each(loss, labels, outputs)
        assert np.isfinite(values).all() and (values >= 0).all()
        assert np.isfinite(gradient(loss, labels, outputs)).all()


@pytest.mark.parametrize("gamma", [0.0, *GAMMAS])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gradient_by_the_features_stays_small_for_cosines_of_1_and_minus_1(gamma, sign):
    # As theta -> 0 or pi, the derivative of the loss by the cosine goes to infinity and that of the cosine by the
    # features to zero. Their product is below s, and rounding errors must not change that.
    if keras.backend.backend() != "tensorflow":
        pytest.skip("written for TensorFlow's tape")
    import tensorflow as tf

    width = 64
    layer = CosineDense(14)
    layer.build((None, width))
    vectors = np.random.default_rng(5).normal(size=(7, width)).astype(np.float32)
    # Each class vector occurs twice, so that p is at most about 1/2.
    layer.kernel.assign(np.concatenate([vectors, vectors]).T)
    features = tf.constant(sign * vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    for margin in (0.2, 0.5):
        with tf.GradientTape() as tape:
            tape.watch(features)
            value = tf.reduce_sum(losses.apfl(gamma, margin).call(np.arange(7), layer(features)))
        slope = np.linalg.norm(tape.gradient(value, features).numpy(), axis=1)
        assert slope.max() < 20
        assert slope.max() > 0


@pytest.mark.parametrize("gamma", GAMMAS)
def test_saturated_logits(gamma):
    outputs = np.array([[60.0, -60.0], [-60.0, 60.0], [60.0, 60.0]], np.float32)
    loss = losses.focal(gamma)
    value, slope = each(loss, [0, 0, 0], outputs), gradient(loss, [0, 0, 0], outputs)
    # Certainly right: 0. Certainly wrong: 1^gamma * 120. Undecided: .5^gamma * ln 2.
    np.testing.assert_allclose(value, [0.0, 120.0, 0.5**gamma * math.log(2)], rtol=1e-5, atol=1e-6)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[0], 0.0, atol=1e-4)
    np.testing.assert_allclose(slope[1], [-1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.5])
def test_gamma_below_1_has_the_right_gradient_as_p_approaches_1(gamma):
    # For a difference of 12, 1 - p = 6.1e-6, of which 1 - p in float32 would keep one digit.
    outputs = np.array([[12.0, 0.0]])
    step = 1e-5
    moved = np.array([[step, 0.0]])
    expected = (oracle([0], outputs + moved, gamma=gamma) - oracle([0], outputs - moved, gamma=gamma)) / (2 * step)
    np.testing.assert_allclose(gradient(losses.focal(gamma), [0], outputs)[0, 0], expected[0], rtol=0.1)


@family
def test_gradient_equals_finite_differences_of_the_formula(loss, parameters, cosines):
    labels, outputs = cosines[0][:40], cosines[1][:40].astype(np.float64)
    step = 1e-6
    expected = np.zeros_like(outputs)
    for column in range(outputs.shape[1]):
        moved = np.zeros_like(outputs)
        moved[:, column] = step
        difference = oracle(labels, outputs + moved, **parameters) - oracle(labels, outputs - moved, **parameters)
        expected[:, column] = difference / (2 * step)
    np.testing.assert_allclose(gradient(loss, labels, outputs), expected, rtol=1e-3, atol=2e-4)
    assert np.abs(expected).max() > 0.05


@family
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_outputs_are_computed_in_float32(loss, parameters, kind, cosines):
    labels, outputs = cosines
    half = ops.cast(outputs, kind)
    values = loss.call(labels, half)
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    np.testing.assert_allclose(
        ops.convert_to_numpy(values), oracle(labels, rounded, **parameters), rtol=2e-4, atol=2e-6
    )


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_saturated_half_precision_outputs_are_finite(kind):
    outputs = ops.cast(np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]), kind)
    values = each(losses.apfl(0.5, 0.5), [0, 0, 0], outputs)
    exact = oracle([0, 0, 0], [[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], s=10, angular=0.5, gamma=0.5)
    np.testing.assert_allclose(values, exact, rtol=1e-4, atol=1e-6)


@family
@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "float32"])
def test_labels_may_be_a_vector_or_a_column(loss, parameters, kind, cosines):
    labels, outputs = cosines
    expected = oracle(labels, outputs, **parameters).mean()
    assert float(loss(labels.astype(kind), outputs)) == pytest.approx(expected, rel=1e-4)
    assert float(loss(labels.astype(kind)[:, None], outputs)) == pytest.approx(expected, rel=1e-4)


@family
def test_sample_weights_multiply_the_loss_of_each_example(loss, parameters, cosines):
    labels, outputs = cosines
    weights = np.random.default_rng(2).uniform(0, 2, 200).astype(np.float32)
    # Keras divides by the number of examples, not by the sum of the weights.
    expected = (oracle(labels, outputs, **parameters) * weights).sum() / 200
    assert float(loss(labels, outputs, sample_weight=weights)) == pytest.approx(expected, rel=1e-4)


def test_reduction_is_passed_on(cosines):
    labels, outputs = cosines
    loss = losses.MarginFocalLoss(scale=10, angular_margin=0.3, gamma=1.0, reduction="sum")
    expected = oracle(labels, outputs, s=10, angular=0.3, gamma=1.0).sum()
    assert float(loss(labels, outputs)) == pytest.approx(expected, rel=1e-4)


@family
def test_serialisation_keeps_all_parameters(loss, parameters, cosines):
    labels, outputs = cosines
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is losses.MarginFocalLoss
    assert copy.name == loss.name
    np.testing.assert_allclose(each(copy, labels, outputs), oracle(labels, outputs, **parameters), rtol=2e-4, atol=2e-6)
    assert losses.MarginFocalLoss.from_config(loss.get_config()).get_config() == loss.get_config()


def test_a_saved_model_includes_its_loss(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile(optimizer="sgd", loss=losses.apfl(2.0, 0.4, scale=7.0))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert (loaded.loss.gamma, loaded.loss.angular_margin, loaded.loss.scale) == (2.0, 0.4, 7.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"scale": 0.0}, {"scale": -1.0}, {"gamma": -0.1}, {"cosine_margin": -0.1}, {"angular_margin": -0.1},
        {"angular_margin": 3.2}, {"angular_margin": float("nan")}, {"gamma": float("nan")}, {"scale": float("nan")},
        {"scale": float("inf")}, {"cosine_margin": float("nan")},
    ],
)  # fmt: skip
def test_bad_parameters(bad):
    with pytest.raises(ValueError, match="scale must be positive"):
        losses.MarginFocalLoss(**bad)


def test_which_losses_need_cosines():
    needs = {name: loss.needs_cosines for name, (loss, _) in FAMILY.items()}
    assert needs == {"softmax": False, "focal": False, "arcface": True, "apfl": True, "am_softmax": True}


@pytest.fixture(scope="module")
def ratings():
    generator = np.random.default_rng(5)
    truth = generator.uniform(-1, 1, (32, 3))
    prediction = truth * [0.5, -0.2, 1.5] + generator.normal(0, 0.3, (32, 3)) + [0.1, 0.0, -0.4]
    return truth.astype(np.float32), prediction.astype(np.float32)


WEIGHTS = ((1.0, 1.0, 1.0), (0.7, 0.2, 0.1), (0.9, 0.9, 0.2), (1.0, 1.0, -1.0), (0.0, 0.0, 1.0))
weighted = pytest.mark.parametrize("weights", WEIGHTS)


def test_concordance_equals_the_formula_and_the_metric(ratings):
    truth, prediction = ratings
    expected = [literal_ccc(truth[:, k], prediction[:, k]) for k in range(3)]
    assert min(expected) < 0 < max(expected)
    found = ops.convert_to_numpy(losses.concordance(truth, prediction))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found, [ccc(truth[:, k], prediction[:, k]) for k in range(3)], rtol=1e-5)


def test_concordance_worked_by_hand():
    truth = np.array([[-1, -1, 0], [1, 1, 2]], np.float32)
    # Equal: 1. Mirrored: -1. Shifted by 2 at a variance of 1: 2 / (1 + 1 + 4).
    prediction = np.array([[-1, 1, 2], [1, -1, 4]], np.float32)
    np.testing.assert_allclose(ops.convert_to_numpy(losses.concordance(truth, prediction)), [1, -1, 1 / 3], rtol=1e-6)


@weighted
def test_concordance_loss_is_the_weighted_sum(weights, ratings):
    truth, prediction = ratings
    expected = sum(
        weight * (1 - literal_ccc(truth[:, k], prediction[:, k])) for k, weight in enumerate(weights)
    )  # Eq. 4 to 6
    loss = losses.ConcordanceLoss(weights)
    assert float(loss(truth, prediction)) == pytest.approx(expected, rel=1e-5)
    # The order of the examples does not matter.
    assert float(loss(truth[::-1], prediction[::-1])) == pytest.approx(expected, rel=1e-5)


@weighted
def test_gradient_of_the_concordance_loss_equals_finite_differences(weights, ratings):
    truth, prediction = (array[:6].astype(np.float64) for array in ratings)

    def value(moved):
        return sum(weight * (1 - literal_ccc(truth[:, k], moved[:, k])) for k, weight in enumerate(weights))

    step = 1e-6
    expected = np.zeros_like(prediction)
    for place in np.ndindex(*prediction.shape):
        moved = np.zeros_like(prediction)
        moved[place] = step
        expected[place] = (value(prediction + moved) - value(prediction - moved)) / (2 * step)
    found = gradient(losses.ConcordanceLoss(weights), truth.astype(np.float32), prediction)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(expected).max() > 0.01


VARYING, SAME, OTHER = np.array([[0.3], [-0.2], [0.9]]), np.full((3, 1), 0.25), np.full((3, 1), -0.5)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [(SAME, VARYING), (VARYING, SAME), (SAME, OTHER), (SAME, SAME), (VARYING[:1], VARYING[1:2]), (SAME[:1], SAME[:1])],
    ids=["constant labels", "constant outputs", "two constants", "one constant", "one utterance", "one, and right"],
)
def test_constant_columns_have_loss_1_and_finite_gradients(truth, prediction):
    loss = losses.ConcordanceLoss((0.7,))
    assert float(loss(truth.astype(np.float32), prediction.astype(np.float32))) == pytest.approx(0.7, abs=1e-6)
    assert np.isfinite(gradient(loss, truth.astype(np.float32), prediction)).all()


def test_a_constant_column_does_not_change_the_gradients_of_the_others(ratings):
    truth, prediction = ratings[0].copy(), ratings[1]
    whole = gradient(losses.ConcordanceLoss((1, 1, 1)), truth, prediction)
    truth[:, 1] = 0.5
    found = gradient(losses.ConcordanceLoss((1, 1, 1)), truth, prediction)
    np.testing.assert_allclose(found[:, [0, 2]], whole[:, [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_concordance_of_half_precision_outputs_is_computed_in_float32(kind, ratings):
    truth, prediction = ratings
    half = ops.cast(prediction, kind)
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    found = losses.concordance(truth, half)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    expected = [literal_ccc(truth[:, k], rounded[:, k]) for k in range(3)]
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-4)


def test_concordance_loss_trains_and_is_saved(tmp_path, ratings):
    truth = ratings[0]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(
        optimizer=keras.optimizers.Adam(0.1), loss=losses.ConcordanceLoss((0.7, 0.2, 0.1)), jit_compile=jit_compile()
    )
    # The layer has to learn the inverse of this.
    inputs = (truth @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0.5, 0, 1]], np.float32)) * 3 + 1
    history = model.fit(inputs, truth, batch_size=32, epochs=70, verbose=0).history["loss"]
    assert history[0] > 0.3 and history[-1] < 0.01
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.loss.weights == (0.7, 0.2, 0.1)


def test_bad_weights_outputs_and_sample_weights(ratings):
    for bad in ((), (1.0, float("nan")), (float("inf"),)):
        with pytest.raises(ValueError, match="finite"):
            losses.ConcordanceLoss(bad)
    with pytest.raises(ValueError, match="There are 2 weights, but the network has 3 outputs"):
        losses.ConcordanceLoss((1, 1))(*ratings)
    with pytest.raises(ValueError, match="no sample weights"):
        losses.ConcordanceLoss((1, 1, 1))(*ratings, sample_weight=np.ones(32))
