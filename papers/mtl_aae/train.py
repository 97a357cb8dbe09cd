"""Fitting and predicting; also `python -m papers.mtl_aae.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.metrics import confusion, softmax, ua
from common.normalisation import Normalisation
from common.saving import load_fitted, save_fitted
from common.training import BestEpoch
from papers.mtl_aae.config import FALLBACK_ALPHA, AaeConfig
from papers.mtl_aae.data import Pictures, ahead, auxiliary_rows, batches, numbered, some_speakers
from papers.mtl_aae.model import build_model
from papers.mtl_aae.phases import UNLABELLED, Phases


@dataclasses.dataclass(frozen=True)
class Material:
    """What one network learns from.

    Attributes:
        classes: names of the classes by task, the primary one ("emotion") first.
        labelled: the training part.
        labels: its class numbers by task.
        auxiliary: utterances without the primary label; None: none.
        auxiliary_labels: their class numbers by task.
        held_out: the development fold's pictures; empty if there is none.
        held_out_labels: its class numbers by task, -1 for a speaker who was not trained on.
    """

    classes: dict[str, tuple[str, ...]]
    labelled: Pictures
    labels: dict[str, np.ndarray]
    auxiliary: Pictures | None
    auxiliary_labels: dict[str, np.ndarray]
    held_out: np.ndarray
    held_out_labels: dict[str, np.ndarray]


@dataclasses.dataclass
class FittedAae:
    """A trained network with what its input needs.

    Attributes:
        config: its settings; `alpha` is the one that was chosen.
        classes: of the primary task in the order of the outputs.
        model: all networks (see `build_model`).
        normalisation: of the spectrograms.
    """

    config: AaeConfig
    classes: tuple[str, ...]
    model: keras.Model
    normalisation: Normalisation
    context: Context = dataclasses.field(default_factory=Context)

    def pictures(self, part: Part) -> np.ndarray:
        """What the networks see of a part, shape (utterances, rows, frames, 1)."""
        return Pictures(part, self.config, self.normalisation).take(range(len(part)))

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Class probabilities "p_<class>" of the primary task."""
        pictures = self.pictures(part)
        with self.context.timed("predict"):
            outputs = classifiers(self.model, ("emotion",)).predict(pictures, self.config.batch_size, verbose=0)
        probabilities = softmax(outputs["emotion"])
        return {f"p_{name}": probabilities[:, number] for number, name in enumerate(self.classes)}

    def reconstructions(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of a part and what the decoder makes of them, both as spectrograms (utterances, rows, frames).

        Raises:
            UserError: the network is the supervised one, which has no decoder.
        """
        if self.config.model == "cnn":
            raise UserError("The supervised CNN reconstructs nothing; fit with model=ae or model=aae.")
        pictures = self.pictures(part)
        encoder, decoder = self.model.get_layer("encoder"), self.model.get_layer("decoder")
        codes = encoder.predict(pictures, self.config.batch_size, verbose=0)
        rebuilt = decoder.predict(codes, self.config.batch_size, verbose=0)
        mean, deviation = self.normalisation.mean[:, None], self.normalisation.deviation[:, None]
        return pictures[..., 0] * deviation + mean, rebuilt[..., 0] * deviation + mean

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
    """The networks that answer some tasks: picture to logits by task, sharing the model's weights."""
    z = model.get_layer("encoder")(model.input)
    return keras.Model(model.input, {task: model.get_layer(task)(z) for task in tasks})


def fit(config: AaeConfig, train: Part, validation: Part, context: Context) -> FittedAae:
    """Trains one network for each alpha of the grid and keeps the best on the development fold (Sec. V-A).

    Args:
        config: settings.
        train: the labelled utterances; they alone give the normalisation.
        validation: the development fold; may be empty.
        context: seed, progress, timings, and the auxiliary utterances.
    """
    keras.config.set_dtype_policy(config.precision)
    material = prepared(config, train, validation, context)
    alphas = grid(config, len(validation) > 0, context)
    best, scores = None, []
    for number, alpha in enumerate(alphas):
        own = context.for_training(number, len(alphas))
        keras.utils.set_random_seed(context.seed)  # every alpha starts from the same weights and sees the same batches
        with context.timed("fit"):
            chosen = dataclasses.replace(config, alpha=alpha)
            model = train_one(chosen, material, own)
        scores.append(max(own.history.get("validation", [0.0])))
        # Of equals the first: the smallest alpha.
        if best is None or scores[-1] > max(scores[:-1]):
            best = FittedAae(chosen, train.classes, model, material.labelled.normalisation, context), own.history
    fitted, history = best
    context.history.update(history)
    if config.model != "cnn":
        context.history["alpha"] = [fitted.config.alpha]
    if len(alphas) > 1:
        context.history["alpha_grid"], context.history["alpha_validation"] = list(alphas), scores
    return fitted


def grid(config: AaeConfig, can_choose: bool, context: Context) -> tuple[float, ...]:
    """The values of alpha to try; one if there is nothing to choose, or nothing to choose on, which is then said."""
    if config.model == "cnn":
        return (0.0,)
    if config.alpha is not None:
        return (config.alpha,)
    if can_choose:
        return config.alphas
    context.flags.append(f"alpha {FALLBACK_ALPHA}: no development fold to choose it on")
    return (FALLBACK_ALPHA,)


def prepared(config: AaeConfig, train: Part, validation: Part, context: Context) -> Material:
    """Pictures and class numbers of everything that is learnt from, and the flags of what is not as it should be."""
    auxiliary = context.auxiliary
    # A single-task CNN has nothing to learn from utterances without the primary label.
    if (config.model == "cnn" and not config.secondary) or not auxiliary_rows(config):
        auxiliary = None
    if auxiliary is not None:
        table = some_speakers(auxiliary.table, config.auxiliary_speakers)
        auxiliary = dataclasses.replace(auxiliary, table=table)
        speakers = table["speaker"].nunique()
        if speakers < config.auxiliary_speakers:
            context.flags.append(f"{speakers} of {config.auxiliary_speakers} auxiliary speakers")
        context.history["auxiliary_speakers"] = [speakers]
    tables = {"train": train.table, "held out": validation.table}
    if auxiliary is not None:
        # Two corpora may name their speakers alike.
        tables["auxiliary"] = auxiliary.table.assign(speaker="auxiliary " + auxiliary.table["speaker"].astype("str"))
    classes = {"emotion": train.classes}
    for task in config.secondary:
        learnt = [table[task] for name, table in tables.items() if name != "held out"]
        names = tuple(sorted({value for column in learnt for value in column.dropna()}))
        if len(names) < 2:
            context.flags.append(f"without the {task} task: the training data have {len(names) or 'no'} {task}")
        else:
            classes[task] = names
    secondary = [task for task in classes if task != "emotion"]
    labels = {
        name: {task: numbered(table[task], classes[task]) for task in secondary} for name, table in tables.items()
    }
    labels["train"] = {"emotion": train.labels.astype("int32"), **labels["train"]}
    held_out, pictures = np.zeros(0), Pictures(train, config, kind=config.normalisation)
    if len(validation):
        labels["held out"] = {"emotion": validation.labels.astype("int32"), **labels["held out"]}
        held_out = Pictures(validation, config, pictures.normalisation).take(range(len(validation)))
    others = None
    if auxiliary is not None:
        labels["auxiliary"] = {"emotion": np.full(len(auxiliary), UNLABELLED, "int32"), **labels["auxiliary"]}
        shared = pictures.normalisation if config.auxiliary_normalisation == "shared" else None
        others = Pictures(auxiliary, config, shared, kind=config.normalisation, trim_db=config.trim_db)
    return Material(
        classes, pictures, labels["train"], others, labels.get("auxiliary", {}), held_out, labels["held out"]
    )


def train_one(config: AaeConfig, material: Material, context: Context) -> keras.Model:
    """Trains one network; the epoch is chosen on the development fold's UA, or is the last if there is none.

    Args:
        config: settings; `alpha` is a number.
        material: what to learn from.
        context: seed; gets history and progress.
    """
    tasks = tuple(material.classes)
    model = build_model(config, {task: len(names) for task, names in material.classes.items()})
    phases = Phases(config, model, tasks)
    answering = classifiers(model, tasks)

    def uas() -> dict[str, float]:
        outputs = answering.predict(material.held_out, config.batch_size, verbose=0)
        found = {}
        for task in tasks:
            truth = material.held_out_labels[task]
            known = truth != UNLABELLED
            if known.any():
                answers = outputs[task].argmax(axis=1)
                found[task] = float(ua(confusion(truth[known], answers[known], len(material.classes[task]))))
        return found

    score = (lambda: uas()["emotion"]) if len(material.held_out) else None
    chooser = BestEpoch(score, config.patience, context)
    chooser.set_model(model)
    chooser.set_params({"epochs": config.epochs})
    model.stop_training = False
    steps = math.ceil(len(material.labelled) / config.batch_size)
    feed = batches(
        material.labelled,
        material.labels,
        material.auxiliary,
        material.auxiliary_labels,
        np.random.default_rng(context.seed),
    )
    with contextlib.closing(ahead(feed)) as feed:
        for epoch in range(config.epochs):
            found = [phases.step(next(feed)) for _ in range(steps)]
            chooser.on_epoch_end(epoch, {name: np.mean([float(logs[name]) for logs in found]) for name in found[0]})
            if model.stop_training:
                break
    chooser.on_train_end()
    if score is not None:
        for task, value in uas().items():
            # The secondary tasks' curves of Fig. 3; a speaker who was not trained on has none.
            context.history[f"{task}_development_ua"] = [value]
    return model


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("mtl_aae"))
