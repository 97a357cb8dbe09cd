"""A training step of the adversarial autoencoder, compared with a plain TensorFlow step of the same network.

The peer is what one would write for TensorFlow alone: one `tf.function` with a tape for each phase, the same Keras
layers, optimisers and losses, and one pass of the encoder for both halves of the second phase. The limit is 1.3 times
its time. The two steps are timed in turn, so that other load on the machine affects both alike; the figure is the
median of the ratios.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmarks.measure import Figure, figure, timed
from common.backend import start_backend

STEPS = 40


def plain_step(config, model, tasks):
    """The peer's training step, a function from a batch to the loss."""
    import keras
    import tensorflow as tf

    encoder, decoder, discriminator = (model.get_layer(name) for name in ("encoder", "decoder", "discriminator"))
    heads = {task: model.get_layer(task) for task in tasks}
    classified = [variable for head in heads.values() for variable in head.trainable_variables]
    adams = {}
    for name, variables in {
        "encoder": encoder.trainable_variables,
        "decoder": decoder.trainable_variables,
        "discriminator": discriminator.trainable_variables,
        "classifiers": classified,
    }.items():
        adams[name] = keras.optimizers.Adam(config.learning_rate)
        adams[name].build(variables)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits

    @tf.function(autograph=False)
    def step(batch):
        picture = batch["picture"]
        theta, delta, omega = (
            encoder.trainable_variables,
            decoder.trainable_variables,
            discriminator.trainable_variables,
        )
        with tf.GradientTape() as tape:
            rebuilt = decoder(encoder(picture, training=True), training=True)
            loss = config.alpha * config.reconstruction_weight * tf.reduce_mean(tf.square(rebuilt - picture))
        gradients = tape.gradient(loss, [*theta, *delta])
        adams["encoder"].apply(gradients[: len(theta)], theta)
        adams["decoder"].apply(gradients[len(theta) :], delta)

        with tf.GradientTape() as outer:
            code = encoder(picture, training=True)
        with tf.GradientTape() as tape:
            drawn = discriminator(tf.nn.relu(tf.random.normal(tf.shape(code))), training=True)
            made = discriminator(code, training=True)
            loss = tf.reduce_mean(tf.math.softplus(-drawn)) + tf.reduce_mean(tf.math.softplus(made))
        adams["discriminator"].apply(tape.gradient(loss, omega), omega)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(code)
            loss = -tf.reduce_mean(tf.math.softplus(discriminator(code, training=True)))
        adams["encoder"].apply(outer.gradient(code, theta, output_gradients=tape.gradient(loss, code)), theta)

        with tf.GradientTape() as tape:
            code = encoder(picture, training=True)
            total = 0.0
            for task, head in heads.items():
                labelled = tf.cast(batch[task] >= 0, tf.float32)
                each = entropy(tf.maximum(batch[task], 0), head(code, training=True))
                mean = tf.reduce_sum(labelled * each) / tf.maximum(tf.reduce_sum(labelled), 1.0)
                total += mean * (config.beta if task == "emotion" else 1 - config.beta)
        gradients = tape.gradient(total, [*theta, *classified])
        adams["encoder"].apply(gradients[: len(theta)], theta)
        adams["classifiers"].apply(gradients[len(theta) :], classified)
        return total

    return step


def main() -> list[Figure]:
    """Milliseconds of both steps, and their ratio."""
    start_backend()
    import keras

    from papers.mtl_aae.config import SCALED, AaeConfig
    from papers.mtl_aae.model import build_model
    from papers.mtl_aae.phases import Phases

    config = dataclasses.replace(AaeConfig(), **SCALED)
    classes = {"emotion": 4, "gender": 2, "speaker": 107}
    generator = np.random.default_rng(0)
    rows = 2 * config.batch_size
    batch = {task: generator.integers(0, count, rows).astype("int32") for task, count in classes.items()}
    batch["emotion"][config.batch_size :] = -1
    batch["picture"] = generator.normal(size=(rows, config.rows, config.frames, 1)).astype("float32")
    batch["frames"] = np.full(rows, config.frames, "int32")
    keras.utils.set_random_seed(0)
    suite_step = Phases(config, build_model(config, classes), tuple(classes)).step
    peer_step = plain_step(config, build_model(config, classes), tuple(classes))

    def suite():
        return [float(value) for value in suite_step(batch).values()]

    def peer():
        return float(peer_step(batch))

    for warm_up in (suite, peer) * 2:
        warm_up()
    pairs = [(timed(suite, 1)[0], timed(peer, 1)[0]) for _ in range(STEPS)]
    title = "adversarial autoencoder: a step compared with plain TensorFlow"
    return [
        figure("adversarial autoencoder (scaled): a step in three phases", [1000 * own for own, _ in pairs], "ms"),
        figure("the same step in plain TensorFlow", [1000 * other for _, other in pairs], "ms"),
        figure(title, [own / other for own, other in pairs], "times", 1.3),
    ]
