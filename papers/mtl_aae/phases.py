"""A training step in its three phases, and the losses of Eq. 1 to 5 (Sec. III).

1. Reconstruction: encoder and decoder minimise the distance between an image and its reconstruction, times alpha and
   `reconstruction_weight`.
2. Regularisation: the discriminator is trained to distinguish latent codes from draws of the prior (Eq. 4). Then the
   encoder is trained, with a fixed discriminator, to make its codes look like draws (first term of Eq. 5).
3. Classification: classifiers and encoder minimise the cross-entropies of the tasks (Eq. 3; Eq. 1 for one task).

The plain autoencoder has no second phase; the supervised CNN has only the third.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from common.steps import Steps
from papers.mtl_aae.batches import UNLABELLED
from papers.mtl_aae.config import AaeConfig
from papers.mtl_aae.prior import draw_prior


def reconstruction_loss(image, reconstruction, frames, config: AaeConfig):
    """The distance d of Eq. 5 (L_AE of Eq. 2): the mean over the pixels of an image, then over the images.

    Args:
        image: shape (batch, rows, frames, 1).
        reconstruction: of the same shape.
        frames: how many frames of each image are speech, shape (batch,); the others are padding.
        config: `distance` and `padding` are used.
    """
    difference = ops.cast(reconstruction, "float32") - ops.cast(image, "float32")
    each = ops.mean(ops.square(difference) if config.distance == "squared" else ops.abs(difference), axis=(1, 3))
    if config.padding == "counted":
        return ops.mean(each)
    speech = ops.cast(ops.arange(each.shape[1])[None] < ops.cast(frames, "int32")[:, None], "float32")
    return ops.mean(ops.sum(speech * each, axis=1) / ops.sum(speech, axis=1))


def discriminator_loss(real, fake):
    """The negative of Eq. 4, from the logits of draws of the prior (real) and of latent codes (fake)."""
    # log D = -softplus(-logit) and log(1 - D) = -softplus(logit) stay finite if D rounds to 0 or 1.
    return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))


def generator_loss(fake, kind: str):
    """The first term of Eq. 5, log(1 - D), or -log D if `kind` is "non-saturating"."""
    return -ops.mean(ops.softplus(fake)) if kind == "saturating" else ops.mean(ops.softplus(-fake))


def cross_entropy(labels, logits):
    """Mean cross-entropy over the utterances that have a label; 0 if none has.

    Args:
        labels: class numbers, shape (batch,), `UNLABELLED` where there is none.
        logits: shape (batch, classes).
    """
    labelled = ops.cast(labels != UNLABELLED, "float32")
    each = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), ops.cast(logits, "float32"), from_logits=True)
    return ops.sum(labelled * each) / ops.maximum(ops.sum(labelled), 1.0)


def classification_loss(losses: Mapping, config: AaeConfig):
    """Eq. 3 from the cross-entropies of the tasks; for a single task, the supervised term of Eq. 1.

    The CNN has no reconstruction loss to trade off, so alpha does not weigh its single task.
    """
    if config.secondary:
        others = sum((loss for task, loss in losses.items() if task != "emotion"), start=0.0)
        return config.beta * losses["emotion"] + (1.0 - config.beta) * others
    return losses["emotion"] * (1.0 if config.model == "cnn" else 1.0 - config.alpha)


class Phases:
    """The training step of a model, with one optimiser for each of its parts.

    The encoder has one optimiser for all three phases, so that Adam scales their gradients together. With one per
    phase, Adam would divide by the scale of each loss, and alpha would have no effect.

    Args:
        config: settings; `alpha` is a number.
        model: from `build_model`.
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
        parts = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}
        self.weights = {name: part.trainable_variables for name, part in parts.items() if part is not None}
        self.weights["classifiers"] = [v for head in self.heads.values() for v in head.trainable_variables]
        self.optimisers = {part: _optimiser(config) for part in self.weights}
        for part, optimiser in self.optimisers.items():
            optimiser.build(self.weights[part])
        states = [variable for optimiser in self.optimisers.values() for variable in optimiser.variables]
        self.steps = Steps([*model.variables, self.random.state, *states])
        self.step = self.steps.compile(self.all_phases)

    def all_phases(self, batch: Mapping) -> dict:
        """One training step on a batch (see `papers.mtl_aae.batches.batches`).

        Returns the losses by name, "discriminator_accuracy", and the length of each phase's gradient by the encoder's
        weights as "gradient_<phase>".
        """
        logs = {}
        if self.decoder is not None:
            logs |= self.reconstruct(batch)
        if self.discriminator is not None:
            logs |= self.regularise(batch)
        return logs | self.classify(batch)

    def reconstruct(self, batch: Mapping) -> dict:
        """Phase 1: updates encoder and decoder. Returns the reconstruction loss, without its weights."""

        def loss():
            output = self.decoder(self.encoder(batch["picture"], training=True), training=True)
            distance = reconstruction_loss(batch["picture"], output, batch["frames"], self.config)
            return self.config.alpha * self.config.reconstruction_weight * distance, distance

        _, distance, gradients = self.steps.gradients(loss, self.weights["encoder"] + self.weights["decoder"])
        self._apply(gradients, "encoder", "decoder")
        return {"reconstruction": distance, "gradient_reconstruction": self._encoder_norm(gradients)}

    def regularise(self, batch: Mapping) -> dict:
        """Phase 2: updates the discriminator, then the encoder. Returns both losses, and the discriminator's accuracy.

        The encoder computes the latent codes once, for both updates.
        """
        code, _, pull = self.steps.pullback(
            lambda: (self.encoder(batch["picture"], training=True), ()), self.weights["encoder"]
        )
        code = ops.stop_gradient(code)
        drawn = self.draw_prior(ops.shape(code), code.dtype)

        def discriminate():
            real, fake = self.discriminator(drawn, training=True), self.discriminator(code, training=True)
            # Of draws and codes together, before the update.
            accuracy = (ops.mean(ops.cast(real > 0, "float32")) + ops.mean(ops.cast(fake < 0, "float32"))) / 2
            return discriminator_loss(real, fake), accuracy

        discriminator, accuracy, gradients = self.steps.gradients(discriminate, self.weights["discriminator"])
        self._apply(gradients, "discriminator")

        def generate(code):
            return generator_loss(self.discriminator(code, training=True), self.config.generator_loss), ()

        generator, _, pull_code = self.steps.pullback(generate, (), (code,))
        gradients = pull(pull_code()[1][0])[0]
        self._apply(gradients, "encoder")
        return {
            "discriminator": discriminator,
            "discriminator_accuracy": accuracy,
            "generator": generator,
            "gradient_generator": self._encoder_norm(gradients),
        }

    def classify(self, batch: Mapping) -> dict:
        """Phase 3: updates classifiers and encoder. Returns the losses by task."""

        def loss():
            code = self.encoder(batch["picture"], training=True)
            losses = {t: cross_entropy(batch[t], head(code, training=True)) for t, head in self.heads.items()}
            return classification_loss(losses, self.config), losses

        _, losses, gradients = self.steps.gradients(loss, self.weights["encoder"] + self.weights["classifiers"])
        self._apply(gradients, "encoder", "classifiers")
        return {**losses, "gradient_classification": self._encoder_norm(gradients)}

    def draw_prior(self, shape, dtype):
        """Draws of the prior p(z)."""
        return draw_prior(self.config.prior, shape, dtype, self.random)

    def _encoder_norm(self, gradients: list):
        """Length of the gradient by the encoder's weights, which come first."""
        own = gradients[: len(self.weights["encoder"])]
        return ops.sqrt(sum(ops.sum(ops.square(ops.cast(one, "float32"))) for one in own))

    def _apply(self, gradients: list, *parts: str) -> None:
        for part in parts:
            count = len(self.weights[part])
            self.optimisers[part].apply(gradients[:count], self.weights[part])
            gradients = gradients[count:]


def _optimiser(config: AaeConfig) -> keras.optimizers.Optimizer:
    return {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[config.optimiser](config.learning_rate)
