"""Anti-transfer compared with NumPy: the loss, its gradient, its two forms, and cached signatures."""

import os

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.layers.anti_transfer import AntiTransfer, batch_squared_cosine, squared_cosines
from common.layers.gram import GramSignature, smaller_form
from common.models import signature_cache
from common.models.anti_transfer import AntiTransferTraining, BatchesWithSignatures, signature_model
from common.models.checkpoint import copy_weights
from common.models.signature_cache import SignatureFile, cached_signatures
from common.models.vgg16 import feature_map, vgg16

FORMS = ["gram", "features"]
# (height, width, channels): fewer positions than channels, about as many, many more.
SHAPES = [(2, 2, 16), (3, 4, 12), (4, 3, 20), (9, 7, 4)]


def maps(shape, batch=3, seed=0):
    """Two batches of feature maps without negative values, of different scale."""
    generator = np.random.default_rng(seed)
    trained, fixed = (np.maximum(generator.normal(size=(batch, *shape)), 0).astype(np.float32) for _ in range(2))
    return trained, 30 * fixed


def literal(trained, fixed):
    """Equation 1, one example at a time, from whole Gram matrices."""
    result = []
    for one, other in zip(trained.astype(float), fixed.astype(float), strict=True):
        g_t, g_p = (f.reshape(-1, f.shape[-1]).T @ f.reshape(-1, f.shape[-1]) for f in (one, other))
        result.append((np.vdot(g_p, g_t) / (np.linalg.norm(g_p) * np.linalg.norm(g_t))) ** 2)
    return np.array(result)


def literal_batch(trained, fixed):
    """The public code: one Gram matrix over examples and channels, one cosine per row, mean, square."""
    grams = []
    for features in (trained, fixed):
        rows = features.astype(float).transpose(0, 3, 1, 2).reshape(features.shape[0] * features.shape[3], -1)
        grams.append(rows @ rows.T / rows.size / 0.001)
    g_t, g_p = grams
    norms = np.linalg.norm(g_p, axis=1) * np.linalg.norm(g_t, axis=1)
    cosines = np.divide((g_p * g_t).sum(axis=1), norms, out=np.zeros(len(norms)), where=norms > 0)
    return np.abs(cosines).mean() ** 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_equation_1(shape, form):
    trained, fixed = maps(shape)
    signature = GramSignature(form)
    target = signature(fixed)
    assert tuple(target.shape) == signature.compute_output_shape(fixed.shape)
    np.testing.assert_allclose(squared_cosines(trained, target), literal(trained, fixed), rtol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_forms_give_the_same_value(shape):
    trained, fixed = maps(shape, seed=1)
    values = [ops.convert_to_numpy(squared_cosines(trained, GramSignature(form)(fixed))) for form in FORMS]
    np.testing.assert_allclose(values[0], values[1], rtol=3e-6)


def test_a_case_worked_by_hand():
    # One position: F_t = (1, 0), F_p = (1, 1). G_t = [[1, 0], [0, 0]], G_p = all ones: 1 / (1 * 2), squared 1/4.
    trained, fixed = np.array([[[[1.0, 0]]]], np.float32), np.array([[[[1.0, 1]]]], np.float32)
    for form in FORMS:
        np.testing.assert_allclose(squared_cosines(trained, GramSignature(form)(fixed)), [0.25], rtol=1e-6)
    # Two positions: F_t = identity, so G_t = I and <G_p, I> = 2 over 2 sqrt 2: 1/2.
    trained = np.eye(2, dtype=np.float32)[None, :, None]
    fixed = np.array([[[[1.0, 1]], [[0, 0]]]], np.float32)
    for form in FORMS:
        np.testing.assert_allclose(squared_cosines(trained, GramSignature(form)(fixed)), [0.5], rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_values_are_1_for_equal_and_0_for_disjoint_feature_maps(form):
    trained, _ = maps((3, 3, 8))
    itself = GramSignature(form)(5 * trained)
    np.testing.assert_allclose(squared_cosines(trained, itself), 1, rtol=1e-5)
    # No channel is used by both.
    left, right = trained * (np.arange(8) < 4), trained * (np.arange(8) >= 4)
    np.testing.assert_allclose(squared_cosines(left, GramSignature(form)(right)), 0, atol=1e-12)
    # Gram matrices do not depend on the order of positions.
    moved = trained.reshape(3, 9, 8)[:, ::-1].reshape(trained.shape)
    np.testing.assert_allclose(squared_cosines(moved, itself), 1, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [1e-15, 1e-6, 1e6, 1e15])
def test_the_scale_of_activations_does_not_matter(form, factor):
    trained, fixed = maps((3, 4, 12))
    expected = literal(trained, fixed)
    np.testing.assert_allclose(squared_cosines(factor * trained, GramSignature(form)(fixed)), expected, rtol=2e-5)
    np.testing.assert_allclose(squared_cosines(trained, GramSignature(form)(factor * fixed)), expected, rtol=2e-5)


def slope(function, features):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("written for TensorFlow's tape")
    import tensorflow as tf

    features = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        value = tf.reduce_sum(function(features))
    return tape.gradient(value, features).numpy()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", ["datapoint", "batch"])
def test_gradient_equals_finite_differences(shape, form, variant):
    trained, fixed = maps(shape)
    trained = trained + np.float32(0.1)  # |x| has no derivative at zero
    if variant == "datapoint":
        found = slope(lambda x: squared_cosines(x, GramSignature(form)(fixed)), trained)
        reference = lambda x: literal(x, fixed).sum()  # noqa: E731
    else:
        found = slope(lambda x: batch_squared_cosine(x, GramSignature("raw")(fixed)), trained)
        reference = lambda x: literal_batch(x, fixed)  # noqa: E731
    generator = np.random.default_rng(2)
    for place in [tuple(generator.integers(trained.shape)) for _ in range(6)]:
        moved = [trained.astype(float) for _ in range(2)]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        expected = (reference(moved[0]) - reference(moved[1])) / 2e-5
        assert found[place] == pytest.approx(expected, rel=1e-3, abs=2e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_all_zero_feature_maps_have_loss_0_and_finite_gradients(shape, form):
    trained, fixed = maps(shape)
    trained[0] = 0
    values = ops.convert_to_numpy(squared_cosines(trained, GramSignature(form)(fixed)))
    assert values[0] == 0
    np.testing.assert_allclose(values[1:], literal(trained[1:], fixed[1:]), rtol=2e-5)
    gradient = slope(lambda x: squared_cosines(x, GramSignature(form)(fixed)), trained)
    assert np.isfinite(gradient).all() and not gradient[0].any() and gradient[1].any()
    nothing = squared_cosines(fixed, GramSignature(form)(np.zeros_like(fixed)))
    np.testing.assert_array_equal(nothing, np.zeros(3))
    dead = np.zeros_like(fixed)
    assert float(batch_squared_cosine(dead, GramSignature("raw")(fixed))) == 0
    assert np.isfinite(slope(lambda x: batch_squared_cosine(x, GramSignature("raw")(fixed)), dead)).all()


@pytest.mark.parametrize("shape", [(2, 2, 16), (9, 7, 4), (12, 12, 4)])  # the last one has more than 16 * 4 positions
def test_the_batch_variant_equals_the_public_code(shape):
    trained, fixed = maps(shape)
    trained[..., 1] = 0  # a dead channel: PyTorch's cosine of it is 0
    found = batch_squared_cosine(trained, GramSignature("raw")(fixed))
    assert float(found) == pytest.approx(literal_batch(trained, fixed), rel=2e-5)
    assert abs(float(found) - literal(trained, fixed).mean()) > 0.01  # it is not Eq. 1


def test_the_layer_adds_beta_times_the_mean():
    trained, fixed = maps((3, 4, 12))
    for variant, form, expected in (
        ("datapoint", None, literal(trained, fixed).mean()),
        ("batch", "raw", literal_batch(trained, fixed)),
    ):
        layer = AntiTransfer(0.25, variant)
        values = layer([trained, GramSignature(form)(fixed)])
        assert tuple(values.shape) == (3,) == layer.compute_output_shape((trained.shape, None))
        assert float(layer.losses[0]) == pytest.approx(0.25 * expected, rel=2e-5)


def test_half_precision_inputs_give_float32_outputs():
    trained, fixed = maps((3, 4, 12))
    half = ops.cast(trained, "bfloat16")
    values = AntiTransfer(dtype="mixed_bfloat16")([half, GramSignature()(fixed)])
    assert keras.backend.standardize_dtype(values.dtype) == "float32"
    rounded = ops.convert_to_numpy(ops.cast(half, "float32"))
    np.testing.assert_allclose(values, literal(rounded, fixed), rtol=2e-5)  # as exact as the inputs


def test_the_smaller_form_of_each_vgg16_layer():
    # VGG16's feature maps for a quaternion embedding of 64 x 64: 5 poolings, channels 64 to 512.
    assert smaller_form(4096, 64) == smaller_form(1024, 128) == smaller_form(256, 256) == "gram"
    assert smaller_form(64, 512) == smaller_form(16, 512) == "features"
    # Real network, 512 x 128: the triangle has 131,328 numbers; the last three feature maps have 131,072.
    assert smaller_form(1024, 512) == "gram" and smaller_form(256, 512) == "features"


@pytest.fixture(scope="module")
def world():
    """Shape of the inputs, an extractor (a small quaternion network), inputs and labels."""
    keras.utils.set_random_seed(1)
    shape = (32, 32, 4)
    extractor = vgg16(shape, 5, quaternion=True, width=0.125, initializer="he")
    generator = np.random.default_rng(0)
    return shape, extractor, generator.normal(size=(8, *shape)).astype(np.float32), generator.integers(4, size=8)


def network(shape, seed=2):
    keras.utils.set_random_seed(seed)
    return vgg16(shape, 4, quaternion=True, width=0.125, initializer="he", dropout=0.0)


def signature_at(extractor, layer, variant="datapoint"):
    return signature_model(extractor, feature_map(extractor, layer), variant=variant)


@pytest.mark.parametrize("quaternion", [False, True])
@pytest.mark.parametrize("layer", range(1, 14))
def test_every_layer_of_both_networks(layer, quaternion):
    keras.utils.set_random_seed(layer)
    make = lambda: vgg16((32, 32, 4), 4, quaternion=quaternion, width=1 / 16, initializer="he")  # noqa: E731
    trained, extractor = make(), make()
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 4)).astype(np.float32)
    seen = [keras.Model(model.input, feature_map(model, layer))(x) for model in (trained, extractor)]
    signature = signature_at(extractor, layer)
    assert not signature.trainable_weights
    found = squared_cosines(seen[0], signature(x))
    np.testing.assert_allclose(found, literal(*map(ops.convert_to_numpy, seen)), rtol=5e-5)


@pytest.mark.parametrize(("layers", "variant"), [((5, 12), "datapoint"), ((3,), "batch")])
def test_training_with_cached_signatures_and_with_extractors_is_the_same(tmp_path, world, layers, variant):
    shape, extractor, x, y = world
    signatures = [signature_at(extractor, layer, variant) for layer in layers]
    files = [cached_signatures(tmp_path, one, x, batch_size=3) for one in signatures]
    before = [weight.copy() for weight in extractor.get_weights()]
    history, weights = [], []
    for cached in (False, True):
        model = network(shape)
        feature_maps = [feature_map(model, layer) for layer in layers]
        sources = files if cached else signatures
        training = AntiTransferTraining(model, feature_maps, sources, beta=0.5, variant=variant)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        training.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=False, run_eagerly=True)  # a few steps
        data = BatchesWithSignatures(x, y, files if cached else [], 4, seed=0)
        batches = [data[number] for number in (0, 1, 1, 0)]
        losses = [float(training.train_on_batch(x if cached else x[0], y)) for x, y in batches]
        history.append(losses)
        weights.append(model.get_weights())
        assert len(training.trainable_weights) == len(model.trainable_weights)
    np.testing.assert_allclose(history[0], history[1], rtol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    for one, other in zip(before, extractor.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def epoch_of(data):
    batches = [data[number] for number in range(len(data))]
    data.on_epoch_end()
    return batches


def test_training_makes_the_feature_maps_differ(tmp_path, world):
    shape, extractor, x, _ = world
    model = network(shape)
    copy_weights(extractor, model, leave_out=["logits"])  # starts with the weights of the extractor: cosine 1
    file = cached_signatures(tmp_path, signature_at(extractor, 4), x)
    training = AntiTransferTraining(model, [feature_map(model, 4)], [file])
    training.compile(keras.optimizers.Adam(3e-3), lambda _, outputs: 0.0 * ops.sum(outputs), jit_compile=False)
    history = training.fit(BatchesWithSignatures(x, np.zeros(8), [file], 8), epochs=8, verbose=0).history["loss"]
    assert history[0] == pytest.approx(1, abs=1e-5)
    # The loss of the trained network by the definition.
    seen = [ops.convert_to_numpy(keras.Model(one.input, feature_map(one, 4))(x)) for one in (model, extractor)]
    assert literal(*seen).mean() < history[-1] < 0.95


def test_mixed_precision_computes_the_loss_in_float32(tmp_path, world):
    shape, extractor, x, _ = world
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network(shape)
        file = cached_signatures(tmp_path, signature_at(extractor, 2), x)
        training = AntiTransferTraining(model, [feature_map(model, 2)], [file])
        training((x, file.read(range(8))))
        seen = ops.cast(keras.Model(model.input, feature_map(model, 2))(x), "float32")
    finally:
        keras.config.set_dtype_policy("float32")
    other = keras.Model(extractor.input, feature_map(extractor, 2))(x)
    expected = literal(ops.convert_to_numpy(seen), ops.convert_to_numpy(other)).mean()
    assert float(training.losses[0]) == pytest.approx(expected, rel=2e-5)


def test_signatures_are_computed_once_and_damage_is_noticed(tmp_path, world, monkeypatch):
    _, extractor, x, _ = world
    signature = signature_at(extractor, 2)
    first = cached_signatures(tmp_path, signature, x, batch_size=3)
    np.testing.assert_allclose(first.read([6, 0, 6]), ops.convert_to_numpy(signature(x[[6, 0, 6]])), atol=1e-6)
    with monkeypatch.context() as patch:
        patch.setattr(signature, "predict_on_batch", None)  # it would fail if it was called again
        again = cached_signatures(tmp_path, signature, x)
    assert again.path == first.path and [p.name for p in tmp_path.iterdir()] == [first.path.name]
    np.testing.assert_array_equal(np.load(first.path, allow_pickle=False), first.read(range(8)))
    # Other data, another layer or other weights have another file.
    assert cached_signatures(tmp_path, signature, x[:6]).path != first.path
    assert cached_signatures(tmp_path, signature_at(extractor, 1), x).path != first.path
    other = vgg16(x.shape[1:], 5, quaternion=True, width=0.125, initializer="he")
    assert cached_signatures(tmp_path, signature_at(other, 2), x).path != first.path
    with pytest.raises(IndexError):
        first.read([8])
    with open(first.path, "r+b") as file:
        file.truncate(os.path.getsize(first.path) - 4)
    with pytest.raises(UserError, match="not a whole file of anti-transfer signatures"):
        cached_signatures(tmp_path, signature, x)
    with pytest.raises(UserError, match="ends early"):
        first.read([7])
    np.save(tmp_path / "other.npy", np.zeros((3, 2)))
    with pytest.raises(UserError, match="holds no anti-transfer signatures"):
        SignatureFile(tmp_path / "other.npy")


def test_signatures_that_are_not_finite_or_do_not_fit_on_the_disk(tmp_path, world, monkeypatch):
    _, extractor, x, _ = world
    signature = signature_at(extractor, 2)
    with pytest.raises(UserError, match="not finite"):
        cached_signatures(tmp_path, signature, np.full_like(x, 1e30))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(signature_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(UserError, match=r"Anti-transfer signatures of 8 examples need 0\.0 GB"):
        cached_signatures(tmp_path, signature, x)


def test_sources_that_do_not_fit_the_network(tmp_path, world):
    shape, extractor, x, y = world
    wide = vgg16(shape, 5, quaternion=True, width=0.25)
    model = network(shape)
    for layer in (2, 12):  # both forms
        signature = signature_at(wide, layer)
        for source in (signature, cached_signatures(tmp_path, signature, x)):
            with pytest.raises(UserError, match=r"extractor has (16|128) channels .* the network (8|64);"):
                AntiTransferTraining(model, [feature_map(model, layer)], [source])
    own = signature_at(extractor, 2)
    with pytest.raises(UserError, match="form 'raw'"):
        AntiTransferTraining(model, [feature_map(model, 2)], [own], variant="batch")
    with pytest.raises(UserError, match="at 1 layers needs 1 extractors, not 2"):
        AntiTransferTraining(model, [feature_map(model, 2)], [own, own])
    with pytest.raises(UserError, match=r"numbers of examples and signatures are \[6, 8\]"):
        BatchesWithSignatures(x, y, [cached_signatures(tmp_path, signature_at(extractor, 2), x[:6])], 2)
    with pytest.raises(UserError, match="no anti-transfer variant 'row'"):
        AntiTransfer(variant="row")
    with pytest.raises(UserError, match="no form 'half'"):
        GramSignature("half")


def test_batches_contain_every_example_once(tmp_path, world):
    _, extractor, x, y = world
    file = cached_signatures(tmp_path, signature_at(extractor, 2), x)
    data = BatchesWithSignatures(x, y, [file], 3, seed=1)
    assert len(data) == 3
    orders = []
    for _ in range(2):
        batches = epoch_of(data)
        seen = np.concatenate([one[0][0] for one in batches])
        signatures = np.concatenate([one[0][1] for one in batches])
        order = [int(np.flatnonzero((x == row).all(axis=(1, 2, 3)))[0]) for row in seen]
        assert sorted(order) == list(range(8))
        np.testing.assert_array_equal(np.concatenate([one[1] for one in batches]), y[order])
        np.testing.assert_array_equal(signatures, file.read(order))
        orders.append(order)
    assert orders[0] != orders[1]
    in_order = BatchesWithSignatures(x, y, [file], 8)
    np.testing.assert_array_equal(in_order[0][0][0], x)


def test_the_layers_are_saved_with_their_settings():
    layer = AntiTransfer.from_config(AntiTransfer(0.3, "batch").get_config())
    assert (layer.beta, layer.variant) == (0.3, "batch")
    assert GramSignature.from_config(GramSignature("features").get_config()).form == "features"
