"""Networks, losses and phases of the adversarial autoencoder, compared with the paper and with hand calculations."""

import math

import keras
import numpy as np
import pytest

from common.contract import override
from papers.mtl_aae import phases
from papers.mtl_aae.config import AaeConfig
from papers.mtl_aae.experiments import PAPER
from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import Phases
from tests.helpers import aae
from tests.helpers.eagerly import eagerly

COUNTS = {"emotion": 4, "gender": 2, "speaker": 510}

eager = pytest.fixture(eagerly)


def model_and_training(config, tasks=("emotion", "gender", "speaker")):
    keras.utils.set_random_seed(0)
    model = build_model(config, {task: aae.TASKS[task] for task in tasks})
    return model, Phases(config, model, tasks)


def test_shapes_and_parameters_of_the_papers_size():
    model = build_model(AaeConfig(), COUNTS)
    # Sec. IV-B and IV-C: images of 128 x 256, a latent code of 16 x 16 x 32.
    assert model.get_layer("encoder").input.shape == (None, 128, 256, 1)
    assert model.get_layer("encoder").output.shape == (None, 16, 16, 32)
    assert model.get_layer("decoder").output.shape == (None, 128, 256, 1)
    assert AaeConfig().latent_shape == (16, 16, 32)
    # Convolutions without bias and batch normalisation: 9 * 32 + 4 * 32, twice 9 * 32 * 32 + 4 * 32.
    assert model.get_layer("encoder").count_params() == 288 + 128 + 2 * (9216 + 128)
    # Its mirror; the last transposed convolution is 3 x 4, since its stride is 2 x 4, and has a bias.
    assert model.get_layer("decoder").count_params() == 2 * (9216 + 128) + 3 * 4 * 32 + 1
    # A head: convolution 9 * 32 * 32 + 32, pooled to 8 * 8 * 32 = 2048, dense 128, dense 128, softmax layer.
    body = 9248 + (2048 * 128 + 128) + (128 * 128 + 128)
    for name, outputs in {**COUNTS, "discriminator": 1}.items():
        assert model.get_layer(name).count_params() == body + 129 * outputs


def test_the_supervised_baseline_has_two_shared_layers_and_no_decoder():
    model = build_model(AaeConfig(model="cnn"), COUNTS)
    names = [layer.name for layer in model.get_layer("encoder").layers]
    assert [name for name in names if "conv" in name and "_" not in name] == ["conv1", "conv2"]
    assert set(model.output) == set(COUNTS)
    assert model.get_layer("encoder").output.shape == (None, 32, 32, 32)


def test_the_autoencoder_is_the_adversarial_one_without_its_discriminator():
    whole, plain = build_model(AaeConfig(), COUNTS), build_model(AaeConfig(model="ae"), COUNTS)
    assert set(whole.output) - set(plain.output) == {"realness"}
    assert whole.count_params() - plain.count_params() == whole.get_layer("discriminator").count_params()


def test_the_latent_code_has_the_values_of_the_prior():
    for changes, lowest in (({}, 0.0), ({"prior": "normal", "latent_relu": False}, -np.inf)):
        config = aae.small(**changes)
        _, training = model_and_training(config)
        code = np.asarray(training.encoder(aae.batch(config)["picture"], training=True))
        drawn = np.asarray(training.draw_prior((2000, 4), "float32"))
        for values in (code, drawn):
            assert values.min() == 0 if lowest == 0 else values.min() < 0
            assert (values == 0).any() == (lowest == 0)  # from the ReLU
        assert not np.array_equal(drawn, np.asarray(training.draw_prior((2000, 4), "float32")))


# ------------------------------------------------------------------------------------------------ Eq. 1 to 5


def test_adversarial_losses_equal_equations_4_and_5():
    real, fake = np.array([0.3, -1.2, 2.0], "float32"), np.array([-0.4, 1.5, 0.1], "float32")
    d_real, d_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    eq4 = np.log(d_real).mean() + np.log(1 - d_fake).mean()
    assert float(phases.discriminator_loss(real, fake)) == pytest.approx(-eq4, rel=1e-5)
    assert float(phases.generator_loss(fake, "saturating")) == pytest.approx(np.log(1 - d_fake).mean(), rel=1e-5)
    assert float(phases.generator_loss(fake, "non-saturating")) == pytest.approx(-np.log(d_fake).mean(), rel=1e-5)
    # The losses stay finite if D rounds to 0 or 1.
    far = np.array([200.0, -200.0], "float32")
    assert float(phases.discriminator_loss(far, far)) == pytest.approx(200.0)


def test_reconstruction_loss_equals_the_hand_calculation():
    image, rebuilt = np.zeros((1, 2, 2, 1), "float32"), np.array([1.0, -1, 2, 0], "float32").reshape(1, 2, 2, 1)
    both = np.array([2], "int32")
    squared, absolute = aae.small(), aae.small(distance="absolute")
    assert float(phases.reconstruction_loss(image, rebuilt, both, squared)) == pytest.approx(6 / 4)
    assert float(phases.reconstruction_loss(image, rebuilt, both, absolute)) == pytest.approx(4 / 4)
    two = np.concatenate([rebuilt, image]), np.concatenate([image, image]), np.array([2, 1], "int32")
    assert float(phases.reconstruction_loss(*two, squared)) == pytest.approx((6 / 4 + 0) / 2)


def test_padding_is_not_reconstructed():
    """The second of two frames is padding: only the first column, 1 and 2, counts."""
    image, rebuilt = np.zeros((1, 2, 2, 1), "float32"), np.array([1.0, -9, 2, 9], "float32").reshape(1, 2, 2, 1)
    one = np.array([1], "int32")
    assert float(phases.reconstruction_loss(image, rebuilt, one, aae.small())) == pytest.approx((1 + 4) / 2)
    counted = aae.small(padding="counted")
    assert float(phases.reconstruction_loss(image, rebuilt, one, counted)) == pytest.approx((1 + 4 + 81 + 81) / 4)
    # Short and long images have the same weight (the expectation of Eq. 5 is over images).
    images, outputs = np.zeros((2, 2, 2, 1), "float32"), np.concatenate([rebuilt, rebuilt])
    both = np.array([1, 2], "int32")
    expected = ((1 + 4) / 2 + (1 + 4 + 81 + 81) / 4) / 2
    assert float(phases.reconstruction_loss(images, outputs, both, aae.small())) == pytest.approx(expected)


def test_utterances_without_a_label_do_not_enter_the_loss():
    logits = np.array([[math.log(2), 0], [0, 0], [5, -5], [-5, 5]], "float32")
    # p = 2/3 and 1/2 for the labelled ones; the other two have no label.
    expected = (math.log(3 / 2) + math.log(2)) / 2
    labels = np.array([0, 1, -1, -1], "int32")
    assert float(phases.cross_entropy(labels, logits)) == pytest.approx(expected, rel=1e-5)
    assert float(phases.cross_entropy(labels[:2], logits[:2])) == pytest.approx(expected, rel=1e-5)
    assert float(phases.cross_entropy(np.full(4, -1, "int32"), logits)) == 0.0


def test_classification_loss_equals_equation_3_and_equation_1():
    losses = {"emotion": 1.0, "gender": 2.0, "speaker": 4.0}
    config = aae.small(beta=0.7)
    assert phases.classification_loss(losses, config) == pytest.approx(0.7 * 1 + 0.3 * (2 + 4))
    gender = {"emotion": 1.0, "gender": 2.0}
    assert phases.classification_loss(gender, aae.small(beta=0.7, tasks="emotion+gender")) == pytest.approx(1.3)
    single = aae.small(alpha=0.3, tasks="emotion")
    assert phases.classification_loss({"emotion": 2.0}, single) == pytest.approx(0.7 * 2)
    assert phases.classification_loss({"emotion": 2.0}, aae.small(model="cnn", tasks="emotion")) == 2.0


# ------------------------------------------------------------------------------------------------ the phases


def test_dropout_is_active_in_training_and_only_there(eager):
    batch = aae.batch(aae.small())
    for dropout, differs in ((0.0, False), (0.9, True)):
        _, training = model_and_training(aae.small(dropout=dropout, optimiser="sgd", learning_rate=1e-12))
        losses = [{**training.regularise(batch), **training.classify(batch)} for _ in range(2)]
        for name in ("emotion", "gender", "speaker"):
            assert (abs(float(losses[0][name]) - float(losses[1][name])) > 1e-4) == differs, (name, dropout)
        code = training.encoder(batch["picture"], training=False)
        head = training.heads["emotion"]
        np.testing.assert_array_equal(head(code, training=False), head(code, training=False))
    for head in (*training.heads.values(), training.discriminator):
        names = [layer.name for layer in head.layers]
        assert names[names.index("dense1") :][:3] == ["dense1", "dropout", "dense2"]  # Sec. IV-C


def parts(model):
    names = [layer.name for layer in model.layers if layer.count_params()]
    return {name: [v.numpy().copy() for v in model.get_layer(name).trainable_variables] for name in names}


def changed(before, after):
    return {
        name for name in before if any(not np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("reconstruct", {"encoder", "decoder"}),
        ("regularise", {"encoder", "discriminator"}),
        ("classify", {"encoder", "emotion", "gender", "speaker"}),
    ],
)
def test_a_phase_updates_exactly_its_parts(phase, expected, eager):
    config = aae.small()
    model, training = model_and_training(config)
    before = parts(model)
    getattr(training, phase)(aae.batch(config))
    after = parts(model)
    assert changed(before, after) == expected
    for name in expected:
        # All layers of a part change; a ReLU that is off may leave a single array unchanged.
        same = [i for i, (a, b) in enumerate(zip(before[name], after[name], strict=True)) if np.array_equal(a, b)]
        assert len(same) <= 1, (name, same)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("aae", [("encoder", "decoder"), ("discriminator",), ("encoder",), ("encoder", "classifiers")]),
        ("ae", [("encoder", "decoder"), ("encoder", "classifiers")]),
        ("cnn", [("encoder", "classifiers")]),
    ],
)
def test_a_step_performs_its_phases_in_order(model, expected, eager, monkeypatch):
    config = aae.small(model=model)
    _, training = model_and_training(config)
    updated = []
    apply = Phases._apply
    monkeypatch.setattr(
        Phases, "_apply", lambda self, gradients, *names: updated.append(names) or apply(self, gradients, *names)
    )
    logs = training.step(aae.batch(config))
    assert updated == expected
    assert all(math.isfinite(float(value)) for value in logs.values())


def test_the_encoder_is_trained_with_the_discriminator_that_was_just_updated(eager):
    """The second phase, compared with the literal equations under TensorFlow's tape and plain gradient descent."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the oracle is TensorFlow's tape")
    config = aae.small(dropout=0.0, optimiser="sgd", learning_rate=0.1)
    model, training = model_and_training(config)
    encoder, discriminator = model.get_layer("encoder"), model.get_layer("discriminator")
    image = aae.batch(config)["picture"]
    drawn = np.abs(np.random.default_rng(3).normal(size=(6, *config.latent_shape))).astype("float32")
    training.draw_prior = lambda shape, dtype: keras.ops.convert_to_tensor(drawn)
    start = [v.numpy().copy() for v in encoder.trainable_variables]

    with tf.GradientTape() as tape:
        real, fake = discriminator(drawn, training=True), discriminator(encoder(image, training=True), training=True)
        eq4 = tf.reduce_mean(tf.math.log(tf.sigmoid(real))) + tf.reduce_mean(tf.math.log(1 - tf.sigmoid(fake)))
    gradients = tape.gradient(eq4, [v.value for v in discriminator.trainable_variables])
    expected_discriminator = [
        v.numpy() + 0.1 * g.numpy() for v, g in zip(discriminator.trainable_variables, gradients, strict=True)
    ]
    logs = training.regularise({"picture": image})
    assert float(logs["discriminator"]) == pytest.approx(-float(eq4), rel=1e-4)
    right = np.concatenate([real.numpy() > 0, fake.numpy() < 0])
    assert float(logs["discriminator_accuracy"]) == pytest.approx(right.mean())
    for variable, expected in zip(discriminator.trainable_variables, expected_discriminator, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-5)

    ended = [v.numpy().copy() for v in encoder.trainable_variables]
    for variable, value in zip(encoder.trainable_variables, start, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        eq5 = tf.reduce_mean(tf.math.log(1 - tf.sigmoid(discriminator(encoder(image, training=True), training=True))))
    assert float(logs["generator"]) == pytest.approx(float(eq5), rel=1e-4)
    for variable, value, end, gradient in zip(
        encoder.trainable_variables,
        start,
        ended,
        tape.gradient(eq5, [v.value for v in encoder.trainable_variables]),
        strict=True,
    ):
        np.testing.assert_allclose(end, value - 0.1 * gradient.numpy(), atol=1e-5, err_msg=variable.path)


def test_the_first_phase_follows_the_weighted_distance(eager):
    """The first phase, compared with TensorFlow's tape and plain gradient descent."""
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the oracle is TensorFlow's tape")
    config = aae.small(optimiser="sgd", learning_rate=0.01, alpha=0.3, reconstruction_weight=7.0)
    model, training = model_and_training(config)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    batch = aae.batch(config)
    batch["frames"][:] = 24  # of 32
    variables = [*encoder.trainable_variables, *decoder.trainable_variables]
    start = [variable.numpy().copy() for variable in variables]
    with tf.GradientTape() as tape:
        rebuilt = decoder(encoder(batch["picture"], training=True), training=True)
        distance = tf.reduce_mean((rebuilt[:, :, :24] - batch["picture"][:, :, :24]) ** 2)
        loss = 0.3 * 7.0 * distance
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    logs = training.reconstruct(batch)
    assert float(logs["reconstruction"]) == pytest.approx(float(distance), rel=1e-4)
    length = math.sqrt(sum((one.numpy() ** 2).sum() for one in gradients[: len(encoder.trainable_variables)]))
    assert float(logs["gradient_reconstruction"]) == pytest.approx(length, rel=1e-3)
    for variable, value, gradient in zip(variables, start, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), value - 0.01 * gradient.numpy(), atol=1e-5, err_msg=variable.path)


def test_alpha_weighs_the_reconstruction_also_with_adam(eager):
    """With one optimiser per phase, Adam would cancel alpha."""
    ends = {}
    for alpha in (0.1, 1.0):
        config = aae.small(model="ae", alpha=alpha, dropout=0.0)
        model, training = model_and_training(config)
        first = parts(model)["encoder"][0]
        for _ in range(3):
            training.step(aae.batch(config))
        ends[alpha] = parts(model)["encoder"][0] - first
    assert np.abs(ends[0.1] - ends[1.0]).max() > 0.1 * np.abs(ends[1.0]).max()


NETWORKS = {(e.config.model, e.config.tasks): e.config for e in PAPER.experiments}


@pytest.mark.parametrize("config", NETWORKS.values(), ids=lambda c: f"{c.model}-{c.tasks}")
def test_a_step_changes_all_parts_of_every_declared_network(config, eager):
    config = override(config, {**aae.SMALL, "alpha": 0.5})
    model, training = model_and_training(config, ("emotion", *config.secondary))
    before = parts(model)
    logs = training.step(aae.batch(config))
    assert changed(before, parts(model)) == set(before)
    assert {"emotion", *config.secondary} <= set(logs)


def test_the_experiments_have_ten_networks():
    assert set(NETWORKS) == {
        ("cnn", "emotion"), ("cnn", "all"), ("ae", "emotion"), ("ae", "all"), ("aae", "emotion"),
        ("aae", "emotion+gender"), ("aae", "emotion+speaker"), ("aae", "all"),
        ("aae", "gender"), ("aae", "speaker"),
    }  # fmt: skip
