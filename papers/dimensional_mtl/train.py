"""Fitting and predicting; also `python -m papers.dimensional_mtl.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.features.words import Vocabulary, tokenise
from common.losses import concordance
from common.normalisation import Normalisation
from common.saving import Saved, load_fitted, save_fitted
from common.training import BestEpoch, jit_compile
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.config import DIMENSIONS, DimensionalConfig
from papers.dimensional_mtl.data import Preparation, labels, texts, to_label_scale
from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser
from papers.dimensional_mtl.vectors import start_vectors

PREDICTED = 64
"""Utterances a batch when predicting from functionals or words; changes nothing but the speed. Low-level descriptors of
3411 frames are predicted from in training's batches, so that predicting takes no more memory than training."""


@dataclasses.dataclass
class FittedDimensional:
    """A trained network with what its input needs.

    Attributes:
        config: its settings; with `choose`, the chosen ones.
        model: the network.
        preparation: of its input.
        context: of the fit.
    """

    config: DimensionalConfig
    model: keras.Model
    preparation: Preparation
    context: Context = dataclasses.field(default_factory=Context)
    classes: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = DIMENSIONS

    @property
    def reads_text(self) -> bool:
        """True if it needs transcripts, which an audio file alone has not."""
        return self.config.uses_words

    def outputs(self, part: Part) -> np.ndarray:
        """What the network says, on the scale [-1, 1], shape (utterances, 3)."""
        long = self.config.uses_audio and self.config.level == "lld"
        size = self.config.batch_size if long else PREDICTED
        return self.model.predict(Batches(self.preparation, part, size), verbose=0)

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Columns "predicted_<dimension>" on the labels' own scale, 1 to 5; not clipped to it."""
        with self.context.timed("predict"):
            values = to_label_scale(self.outputs(part), self.config)
        return {f"predicted_{dimension}": values[:, number] for number, dimension in enumerate(DIMENSIONS)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, self.preparation.normalisation.arrays())
        if self.preparation.vocabulary is not None:
            self.preparation.vocabulary.save(folder / VOCABULARY)


VOCABULARY = "vocabulary.json"


def load(folder: Path) -> FittedDimensional:
    """Reads what `FittedDimensional.save` wrote."""

    def build(saved: Saved) -> FittedDimensional:
        vocabulary = Vocabulary.load(folder / VOCABULARY) if saved.config.uses_words else None
        preparation = Preparation(saved.config, Normalisation.from_arrays(saved.arrays), vocabulary)
        return FittedDimensional(saved.config, saved.networks["model"], preparation)

    return load_fitted(folder, DimensionalConfig, build)


def fit(config: DimensionalConfig, train: Part, validation: Part, context: Context) -> FittedDimensional:
    """Trains one network (Sec. IV-A), or, with `choose`, one for each choice and keeps the best on validation.

    Args:
        config: settings.
        train: what is learnt from; it alone gives vocabulary and statistics.
        validation: chooses the epoch and, with `choose`, weights or dropout; empty: the last epoch stays.
        context: seed, progress, timings.

    Raises:
        UserError: labels or transcripts are missing, or there is no validation part to choose on.
    """
    if config.uses_words:
        silent = sum(not tokenise(text) for text in texts(train))
        if silent:
            context.flags.append(f"without words: {silent} of {len(train)} training utterances")
    preparation = Preparation.fitted(config, train)
    start = start_vectors(config, preparation.vocabulary) if config.uses_words else None
    if start is not None:
        context.flags.append(
            f"words without a pretrained vector: {100 * start.missing_tokens:.1f} % of those learnt from"
        )
        context.flags.extend(start.notes)
    parts = train, validation, None if start is None else start.matrix
    if config.choose == "none":
        return _train(preparation, *parts, context)
    if not len(validation):
        raise UserError(f"choose={config.choose} needs a validation part; this protocol gives none.")
    return _chosen(preparation, *parts, context)


def _train(
    preparation: Preparation, train: Part, validation: Part, vectors: np.ndarray | None, context: Context
) -> FittedDimensional:
    """One network; its epoch is the one with the lowest loss over the whole validation part, never over batches."""
    config = preparation.config
    loss = build_loss(config)
    model = build_model(
        config,
        preparation.acoustic_shape if config.uses_audio else (),
        len(preparation.vocabulary) if config.uses_words else 0,
        vectors,
    )
    model.compile(build_optimiser(config), loss, jit_compile=jit_compile())
    fitted = FittedDimensional(config, model, preparation, context)
    score = None
    if len(validation):
        truth = labels(validation, config)
        sign = -1.0 if config.keep == "lowest" else 1.0

        def score() -> float:
            return sign * float(loss(truth, fitted.outputs(validation)))

    batches = Batches(preparation, train, config.batch_size, labels(train, config), seed=context.seed)
    with context.timed("fit"):
        model.fit(
            batches,
            epochs=config.epochs,
            shuffle=False,
            callbacks=[BestEpoch(score, config.patience, context)],
            verbose=0,
        )
    return fitted


def _chosen(
    preparation: Preparation, train: Part, validation: Part, vectors: np.ndarray | None, context: Context
) -> FittedDimensional:
    """Trains a network for each choice, all from the same seed, and keeps the one with the best mean CCC."""
    config = preparation.config
    choices = config.choices()
    truth = labels(validation, config)
    best, best_ccc, history = None, -np.inf, None
    tried: dict[str, list[float]] = {f"choice_{name}": [] for name in choices[0]} | {"choice_validation_ccc": []}
    for number, choice in enumerate(choices):
        own = context.for_training(number, len(choices))
        keras.utils.set_random_seed(context.seed)
        changed = dataclasses.replace(preparation, config=dataclasses.replace(config, **choice))
        fitted = _train(changed, train, validation, vectors, own)
        ccc = float(np.mean(keras.ops.convert_to_numpy(concordance(truth, fitted.outputs(validation)))))
        for name, value in choice.items():
            tried[f"choice_{name}"].append(value)
        tried["choice_validation_ccc"].append(ccc)
        if best is None or ccc > best_ccc:
            best, best_ccc, history = fitted, ccc, own.history
    context.history.update(history)
    context.history.update(tried)
    best.context = context
    return best


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("dimensional_mtl"))
