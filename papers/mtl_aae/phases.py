"""A training step in its three phases, and the losses of Eq. 1 to 5 (Sec. III).

1. Reconstruction: encoder and decoder lower alpha times the distance of a picture from its reconstruction.
2. Regularisation: the discriminator learns to tell latent codes from draws of the prior (Eq. 4); then the encoder
   learns to pass them off as draws, the discriminator held (first term of Eq. 5).
3. Classification: classifiers and encoder lower the cross-entropy of the tasks (Eq. 3; Eq. 1 for one task).

The autoencoder has no second phase, the supervised CNN only the third. Written in Keras operations alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from common.steps import Steps
from papers.mtl_aae.config import AaeConfig

UNLABELLED = -1
"""Class number of an utterance without a label for a task: its loss is masked."""


def reconstruction_loss(picture, reconstruction, distance: str):
    """Distance d of Eq. 5, the L_AE of Eq. 2: mean over the pictures of what `AaeConfig.distance` says."""
    difference = ops.cast(reconstruction, "float32") - ops.cast(picture, "float32")
    if distance == "summed":
        return ops.mean(ops.sum(ops.square(difference), axis=(1, 2, 3)))
    return ops.mean(ops.square(difference) if distance == "squared" else ops.abs(difference))


def discriminator_loss(real, fake):
    """Minus the objective of Eq. 4, from logits of draws of the prior (real) and of latent codes (fake)."""
    # log D = -softplus(-logit) and log(1 - D) = -softplus(logit) stay finite where D rounds to 0 or 1.
    return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))


def generator_loss(fake, kind: str):
    """First term of Eq. 5, log(1 - D); or -log D ("non-saturating")."""
    return -ops.mean(ops.softplus(fake)) if kind == "saturating" else ops.mean(ops.softplus(-fake))


def cross_entropy(labels, logits):
    """Mean cross-entropy of the utterances that have a label; 0 if none has.

    Args:
        labels: class numbers, shape (batch,), `UNLABELLED` where there is none.
        logits: shape (batch, classes).
    """
    labelled = ops.cast(labels != UNLABELLED, "float32")
    each = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), ops.cast(logits, "float32"), from_logits=True)
    return ops.sum(labelled * each) / ops.maximum(ops.sum(labelled), 1.0)


def classification_loss(losses: Mapping, config: AaeConfig):
    """Eq. 3 from the tasks' cross-entropies; the supervised term of Eq. 1 for the primary task alone.

    A network without a decoder has no trade-off, so that alpha does not weigh its single task.
    """
    if config.secondary:
        others = sum((loss for task, loss in losses.items() if task != "emotion"), start=0.0)
        return config.beta * losses["emotion"] + (1.0 - config.beta) * others
    return losses["emotion"] * (1.0 if config.model == "cnn" else 1.0 - config.alpha)


class Phases:
    """A model in training: optimisers by part, and the step.

    The encoder has one optimiser for all three phases, so that its moments weigh the losses against each other as their
    sum would; one a phase would make Adam blind to alpha.

    Args:
        config: settings; `alpha` is a number.
        model: see `build_model`.
        tasks: the tasks that are trained, "emotion" first.
    """

    def __init__(self, config: AaeConfig, model: keras.Model, tasks: tuple[str, ...]):
        self.config = config
        self.model = model
        self.tasks = tasks
        self.encoder = model.get_layer("encoder")
        self.heads = {task: model.get_layer(task) for task in tasks}
        self.decoder = model.get_layer("decoder") if config.model != "cnn" else None
        self.discriminator = model.get_layer("discriminator") if config.model == "aae" else None
        self.random = keras.random.SeedGenerator()
        self.weights = {"encoder": self.encoder.trainable_variables}
        self.weights["classifiers"] = [v for head in self.heads.values() for v in head.trainable_variables]
        if self.decoder is not None:
            self.weights["decoder"] = self.decoder.trainable_variables
        if self.discriminator is not None:
            self.weights["discriminator"] = self.discriminator.trainable_variables
        self.optimisers = {part: _optimiser(config) for part in self.weights}
        for part, optimiser in self.optimisers.items():
            optimiser.build(self.weights[part])
        states = [variable for optimiser in self.optimisers.values() for variable in optimiser.variables]
        self.steps = Steps([*model.variables, self.random.state, *states])
        self.step = self.steps.compile(self.all_phases)

    def all_phases(self, batch: Mapping) -> dict:
        """One step; `batch` has "picture" and class numbers by task. Returns losses by name."""
        logs = {}
        if self.decoder is not None:
            logs |= self.reconstruct(batch)
        if self.discriminator is not None:
            logs |= self.regularise(batch)
        return logs | self.classify(batch)

    def reconstruct(self, batch: Mapping) -> dict:
        """Phase 1: moves encoder and decoder."""

        def loss():
            output = self.decoder(self.encoder(batch["picture"], training=True), training=True)
            plain = reconstruction_loss(batch["picture"], output, self.config.distance)
            return self.config.alpha * plain, plain

        _, plain, gradients = self.steps.gradients(loss, self.weights["encoder"] + self.weights["decoder"])
        self._apply(gradients, "encoder", "decoder")
        return {"reconstruction": plain}

    def regularise(self, batch: Mapping) -> dict:
        """Phase 2: moves the discriminator, then the encoder; one pass of the encoder serves both."""
        code, _, pull = self.steps.pullback(
            lambda: (self.encoder(batch["picture"], training=True), ()), self.weights["encoder"]
        )
        fixed = ops.stop_gradient(code)
        drawn = self.draw_prior(ops.shape(fixed), fixed.dtype)

        def tell_apart():
            real, fake = self.discriminator(drawn, training=True), self.discriminator(fixed, training=True)
            return discriminator_loss(real, fake), ()

        found, _, gradients = self.steps.gradients(tell_apart, self.weights["discriminator"])
        self._apply(gradients, "discriminator")

        def fool(z):
            return generator_loss(self.discriminator(z, training=True), self.config.generator_loss), ()

        fooled, _, pull_code = self.steps.pullback(fool, (), (fixed,))
        gradients = pull(pull_code()[1][0])[0]
        self._apply(gradients, "encoder")
        return {"discriminator": found, "generator": fooled}

    def classify(self, batch: Mapping) -> dict:
        """Phase 3: moves classifiers and encoder."""

        def loss():
            z = self.encoder(batch["picture"], training=True)
            losses = {t: cross_entropy(batch[t], head(z, training=True)) for t, head in self.heads.items()}
            return classification_loss(losses, self.config), losses

        _, losses, gradients = self.steps.gradients(loss, self.weights["encoder"] + self.weights["classifiers"])
        self._apply(gradients, "encoder", "classifiers")
        return losses

    def draw_prior(self, shape, dtype):
        """Draws of the prior p(z)."""
        if self.config.prior == "uniform":
            return keras.random.uniform(shape, dtype=dtype, seed=self.random)
        drawn = keras.random.normal(shape, dtype=dtype, seed=self.random)
        return ops.abs(drawn) if self.config.prior == "half-normal" else drawn

    def _apply(self, gradients: list, *parts: str) -> None:
        for part in parts:
            count = len(self.weights[part])
            self.optimisers[part].apply(gradients[:count], self.weights[part])
            gradients = gradients[count:]


def _optimiser(config: AaeConfig) -> keras.optimizers.Optimizer:
    if config.optimiser == "sgd":
        return keras.optimizers.SGD(config.learning_rate)
    return keras.optimizers.Adam(config.learning_rate)
