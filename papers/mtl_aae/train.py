"""Training and prediction; also `python -m papers.mtl_aae.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.metrics import confusion, softmax, ua
from common.normalisation import Normalisation
from common.saving import load_fitted, save_fitted
from common.training import BestEpoch
from papers.mtl_aae.batches import UNLABELLED, TrainingData, batches, prefetch, prepare_training_data
from papers.mtl_aae.config import FALLBACK_ALPHA, AaeConfig
from papers.mtl_aae.data import SpectrogramImages
from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import Phases
from papers.mtl_aae.prior import distance_to_prior

PRIOR_UTTERANCES = 64
"""Training utterances whose latent codes are compared with the prior after each epoch."""

TRY_SEED = 1_000_000
"""Difference between the seeds of two tries of the CNN; the seeds of trials are below it."""


@dataclasses.dataclass
class FittedAae:
    """A trained network with everything that its input needs.

    Attributes:
        config: its settings; `alpha` is the chosen value.
        classes: classes of the primary task, in the order of the outputs.
        model: all networks (see `build_model`).
        normalisation: of the spectrograms.
        context: of the fit; receives the time of predictions.
    """

    config: AaeConfig
    classes: tuple[str, ...]
    model: keras.Model
    normalisation: Normalisation
    context: Context = dataclasses.field(default_factory=Context)

    def images(self, part: Part) -> np.ndarray:
        """The networks' input for a part, shape (utterances, rows, frames, 1)."""
        return SpectrogramImages(part, self.config, self.normalisation).take(range(len(part)))

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Class probabilities "p_<class>" of the primary task."""
        images = self.images(part)
        with self.context.timed("predict"):
            outputs = classifiers(self.model, ("emotion",)).predict(images, self.config.batch_size, verbose=0)
        # Auxiliary speakers, who follow the classes, are no possible answers.
        probabilities = softmax(outputs["emotion"][:, : len(self.classes)])
        return {f"p_{name}": probabilities[:, number] for number, name in enumerate(self.classes)}

    def reconstructions(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """The spectrograms of a part and their reconstructions, both of shape (utterances, rows, frames).

        Raises:
            UserError: The network is the supervised CNN, which has no decoder.
        """
        if self.config.model == "cnn":
            raise UserError("The supervised CNN has no decoder; train with model=ae or model=aae.")
        images = self.images(part)
        encoder, decoder = self.model.get_layer("encoder"), self.model.get_layer("decoder")
        codes = encoder.predict(images, self.config.batch_size, verbose=0)
        rebuilt = decoder.predict(codes, self.config.batch_size, verbose=0)
        mean, deviation = self.normalisation.mean[:, None], self.normalisation.deviation[:, None]
        return images[..., 0] * deviation + mean, rebuilt[..., 0] * deviation + mean

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, self.normalisation.arrays(), classes=self.classes)


def load(folder: Path) -> FittedAae:
    """Reads what `FittedAae.save` wrote."""
    return load_fitted(
        folder,
        AaeConfig,
        lambda saved: FittedAae(
            saved.config, saved.classes, saved.networks["model"], Normalisation.from_arrays(saved.arrays)
        ),
    )


def classifiers(model: keras.Model, tasks: tuple[str, ...]) -> keras.Model:
    """The part of a model that classifies: image to logits by task, with the same weights."""
    code = model.get_layer("encoder")(model.input)
    return keras.Model(model.input, {task: model.get_layer(task)(code) for task in tasks})


def fit(config: AaeConfig, train: Part, validation: Part, context: Context) -> FittedAae:
    """Trains one network for each alpha of the grid and keeps the best on the development fold (Sec. V-A).

    The supervised CNN, which has no alpha, is trained `cnn_tries` times.

    Args:
        config: settings.
        train: the labelled utterances; the normalisation is fitted on them alone.
        validation: the development fold; may be empty.
        context: seed, progress, timings, and the auxiliary utterances.
    """
    keras.utils.set_random_seed(context.seed)
    keras.config.set_dtype_policy(config.precision)
    training_data = prepare_training_data(config, train, validation, context)
    alphas = alphas_to_try(config, len(validation) > 0, context)
    best, scores = None, []
    for number, alpha in enumerate(alphas):
        own = context.for_training(number, len(alphas))
        if config.model == "cnn":
            own.seed += TRY_SEED * number
        keras.utils.set_random_seed(own.seed)  # every alpha starts from the same weights, with the same batches
        with context.timed("fit"):
            chosen = dataclasses.replace(config, alpha=alpha)
            model = train_network(chosen, training_data, own)
        scores.append(max(own.history.get("validation", [0.0])))
        # Of equal scores, the first is kept: the smallest alpha.
        if best is None or scores[-1] > max(scores[:-1]):
            best = FittedAae(chosen, train.classes, model, training_data.labelled.normalisation, context), own.history
    fitted, history = best
    context.history.update(history)
    if config.model != "cnn":
        context.history["alpha"] = [fitted.config.alpha]
    if len(alphas) > 1:
        if config.model == "cnn":
            context.history["try_validation"] = scores
        else:
            context.history["alpha_grid"], context.history["alpha_validation"] = list(alphas), scores
    return fitted


def alphas_to_try(config: AaeConfig, has_validation: bool, context: Context) -> tuple[float, ...]:
    """The values of alpha to train with: the grid, or one value if there is no choice or nothing to choose it on.

    For the supervised CNN, which does not use it, 0 for each try.
    """
    if config.model == "cnn":
        return (0.0,) * (config.cnn_tries if has_validation else 1)
    if config.alpha is not None:
        return (config.alpha,)
    if has_validation:
        return config.alphas
    context.flags.append(f"alpha {FALLBACK_ALPHA}: no development fold to choose it on")
    return (FALLBACK_ALPHA,)


def train_network(config: AaeConfig, training_data: TrainingData, context: Context) -> keras.Model:
    """Trains one network and keeps the epoch with the best UA on the development fold, or the last without one.

    Args:
        config: settings; `alpha` is a number.
        training_data: from `prepare_training_data`.
        context: seed; gets history and progress.
    """
    classes = training_data.classes
    tasks = tuple(classes)
    model = build_model(config, {task: len(names) for task, names in classes.items()})
    phases = Phases(config, model, tasks)
    classifying = classifiers(model, tasks)

    def validation_uas() -> dict[str, float]:
        outputs = classifying.predict(training_data.validation, config.batch_size, verbose=0)
        uas = {}
        for task in tasks:
            truth = training_data.validation_labels[task]
            known = truth != UNLABELLED
            if known.any():
                predicted = outputs[task].argmax(axis=1)
                uas[task] = float(ua(confusion(truth[known], predicted[known], len(classes[task]))))
        return uas

    score = (lambda: validation_uas()["emotion"]) if len(training_data.validation) else None
    best = BestEpoch(score, config.patience, context)
    best.set_model(model)
    best.set_params({"epochs": config.epochs})
    model.stop_training = False
    steps = math.ceil(len(training_data.labelled) / config.batch_size)
    sample = training_data.labelled.take(range(min(PRIOR_UTTERANCES, len(training_data.labelled))))
    prefetched = prefetch(batches(training_data, np.random.default_rng(context.seed)))
    with contextlib.closing(prefetched):
        for epoch in range(config.epochs):
            steps_logs = [phases.step(next(prefetched)) for _ in range(steps)]
            logs = {name: np.mean([float(step[name]) for step in steps_logs]) for name in steps_logs[0]}
            logs = with_gradient_shares(logs)
            if config.model != "cnn":
                codes = phases.encoder.predict(sample, config.batch_size, verbose=0)
                logs["prior_distance"] = distance_to_prior(codes, config.prior)
            best.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
    best.on_train_end()
    if score is not None:
        # Fig. 3 shows the secondary tasks; a speaker of no training utterance has no class.
        for task, value in validation_uas().items():
            context.history[f"{task}_development_ua"] = [value]
    for task, value in held_out_accuracies(classifying, training_data).items():
        context.history[f"{task}_auxiliary_accuracy"] = [value]
    return model


def held_out_accuracies(classifying: keras.Model, training_data: TrainingData) -> dict[str, float]:
    """Accuracy of gender and speaker on the auxiliary utterances that were held out, by task."""
    images = training_data.held_out
    if images is None:
        return {}
    size = 8 * images.config.batch_size
    chunks = [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]
    outputs = [classifying.predict_on_batch(images.take(chunk)) for chunk in chunks]
    accuracies = {}
    for task in training_data.classes:
        predicted = np.concatenate([np.asarray(one[task]).argmax(axis=1) for one in outputs])
        truth = training_data.held_out_labels[task]
        known = truth != UNLABELLED
        if known.any():
            name = images.config.tasks if task == "emotion" else task
            accuracies[name] = float((predicted[known] == truth[known]).mean())
    return accuracies


def with_gradient_shares(logs: Mapping[str, float]) -> dict[str, float]:
    """Logs in which the lengths "gradient_<phase>" are replaced by their shares, "gradient_share_<phase>"."""
    lengths = {name: value for name, value in logs.items() if name.startswith("gradient_")}
    total = sum(lengths.values()) or 1.0
    shares = {name.replace("gradient_", "gradient_share_"): value / total for name, value in lengths.items()}
    return {name: value for name, value in logs.items() if name not in lengths} | shares


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("mtl_aae"))
