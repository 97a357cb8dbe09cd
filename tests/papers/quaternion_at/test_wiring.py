"""Quaternion anti-transfer: what a wrong wire would change, and every other test would let pass."""

import keras
import numpy as np
import pytest

from common.contract import Context
from papers.quaternion_at import data, model, rhemo, train
from papers.quaternion_at.data import Chunks
from tests.helpers.eagerly import eagerly
from tests.helpers.quaternion_at_data import part, small

eager = pytest.fixture(scope="module", autouse=True)(eagerly)


@pytest.mark.parametrize("network", ["real", "quat"])
def test_magnitudes_are_scaled_by_the_training_part_alone(network, monkeypatch):
    """The validation part is a hundred times as loud; the scale is still that of the training part, for both."""
    learnt, held_out = part(6), part(3, seed=1)
    for values in held_out.features["stft"].values():
        values *= 100
    config, seen = small(network), []

    def recorded(data_, layer, context):
        seen.append(data_)
        return train.TrainedNetwork(model.build_vgg(config, 3), data_.encoder, 0.0, {})

    monkeypatch.setattr(train, "train_at_layer", recorded)
    fitted = train.fit(config, learnt, held_out, Context())
    cells = np.concatenate([chunk.ravel() for chunks in data.raw_chunks(learnt, config) for chunk in chunks])
    expected = (cells.mean(), cells.std()) if network == "real" else (0.0, cells.max())
    assert (fitted.scale.shift, fitted.scale.factor) == pytest.approx(expected, rel=1e-4)
    if network == "quat":
        assert seen[0].inputs.max() <= 1 < 30 < seen[0].validation_inputs.max()
    else:
        assert abs(seen[0].inputs.mean()) < 0.1 and seen[0].validation_inputs.std() > 30


def test_no_gradient_reaches_rhemo_through_the_extractor():
    """The loss's gradient is that of the loss with the extractor's signatures as numbers."""
    config = small("quat", "S", dropout=0.0, at_layers="3")
    keras.utils.set_random_seed(0)
    encoder, vgg = model.build_encoder(config, Context()), model.build_vgg(config, 3)
    extractor = model.build_extractor(config, "speakers", 3, Context())
    images = np.random.default_rng(0).random((3, *encoder.input_shape[1:]), np.float32)

    def gradients(source, inputs):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            training = model.with_anti_transfer(vgg, 3, config, source, encoder=encoder if inputs is None else None)
            if inputs is None:
                training(images, training=False)
            else:
                training((encoder(images, training=False), inputs), training=False)
            loss = sum(training.losses)
        return tape.gradient(loss, encoder.trainable_variables)

    running = model.signature_of(extractor, config)
    as_numbers = running.predict(encoder.predict(images, verbose=0), verbose=0)

    class Rows:
        shape = as_numbers.shape

    found, expected = gradients(running, None), gradients(Rows(), as_numbers)
    assert max(float(np.abs(one).max()) for one in expected) > 1e-6
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-8)


def test_valence_arousal_and_dominance_weigh_a_hundred_times_as_much_as_the_emotion(tmp_path):
    """The loss of stage 2 is reconstruction + .01 (emotion + 100 (valence + arousal + dominance))."""
    images = np.random.default_rng(0).uniform(0, 0.1, (6, 64, 16, 1)).astype(np.float32)
    labels = {"emotion": np.arange(6) % 4}
    labels |= {name: (np.arange(6) % 2).astype(np.float32)[:, None] for name in rhemo.COMPONENTS}
    config = small("quat", rhemo="fold", shrink=8)
    context, parts = Context(), (np.arange(4), np.arange(4, 6))
    rhemo._train_both_stages(config, Chunks(images, np.arange(6), 6), labels, parts, 4, tmp_path, context)
    last = {name: values[-1] for name, values in context.history.items()}
    heads = sum(last[f"{name}_loss"] for name in rhemo.COMPONENTS)
    expected = last["reconstruction_loss"] + 0.01 * (last["emotion_loss"] + 100 * heads)
    assert heads > 0.5 and last["loss"] == pytest.approx(expected, rel=1e-3)
