"""Training and prediction; also `python -m papers.dimensional_mtl.train EXPERIMENT`, which is `ser run`."""

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
from papers.dimensional_mtl.data import Preprocessor, labels, texts, to_label_scale
from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser
from papers.dimensional_mtl.vectors import pretrained_vectors, with_words_of

PREDICTION_BATCH_SIZE = 64
"""Utterances per batch of predictions from functionals or words. Predictions from low-level descriptors have batches of
the same size as in training, so that they need no more memory."""

VOCABULARY = "vocabulary.json"


@dataclasses.dataclass
class FittedDimensional:
    """A trained network with everything that its input needs.

    Attributes:
        config: its settings; with `choose`, the chosen ones.
        model: the network.
        preprocessor: makes its input.
        context: of the fit; receives the time of predictions.
    """

    config: DimensionalConfig
    model: keras.Model
    preprocessor: Preprocessor
    context: Context = dataclasses.field(default_factory=Context)
    classes: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = DIMENSIONS
    _wider_models: dict[tuple[str, ...], keras.Model] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def reads_text(self) -> bool:
        """True if it needs transcripts, which an audio file alone does not have."""
        return self.config.uses_words

    def outputs(self, part: Part) -> np.ndarray:
        """The outputs of the network, on the scale [-1, 1], shape (utterances, 3)."""
        from_frames = self.config.uses_audio and self.config.level == "lld"
        size = self.config.batch_size if from_frames else PREDICTION_BATCH_SIZE
        model, preprocessor = self.model, self.preprocessor
        if self._has_pretrained_words:
            vocabulary, vectors, _ = with_words_of(self.config, preprocessor.vocabulary, texts(part))
            model = self._with_vectors(vocabulary, vectors)
            preprocessor = dataclasses.replace(preprocessor, vocabulary=vocabulary)
        return model.predict(Batches(preprocessor, part, size), verbose=0)

    @property
    def _has_pretrained_words(self) -> bool:
        return self.config.uses_words and self.config.words != "we"

    def _with_vectors(self, vocabulary: Vocabulary, vectors: np.ndarray) -> keras.Model:
        """The network with an embedding that also has the vectors of words that training did not have."""
        if not len(vectors):
            return self.model
        shape = self.preprocessor.acoustic_shape if self.config.uses_audio else ()
        if vocabulary.words not in self._wider_models:
            self._wider_models[vocabulary.words] = build_model(self.config, shape, len(vocabulary))
        wider = self._wider_models[vocabulary.words]
        for own, layer in zip(self.model.layers, wider.layers, strict=True):
            weights = own.get_weights()
            layer.set_weights([np.concatenate([*weights, vectors])] if own.name == "embedding" else weights)
        return wider

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Columns "predicted_<dimension>" on the corpus's own scale, 1 to 5; not clipped to it."""
        if self._has_pretrained_words:
            _, _, missing = with_words_of(self.config, self.preprocessor.vocabulary, texts(part))
            self.context.flags.append(
                f"words without a pretrained vector: {100 * missing:.1f} % of those predicted from"
            )
        with self.context.timed("predict"):
            values = to_label_scale(self.outputs(part), self.config)
        return {f"predicted_{dimension}": values[:, number] for number, dimension in enumerate(DIMENSIONS)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, self.preprocessor.normalisation.arrays())
        if self.preprocessor.vocabulary is not None:
            self.preprocessor.vocabulary.save(folder / VOCABULARY)


def load(folder: Path) -> FittedDimensional:
    """Reads what `FittedDimensional.save` wrote."""

    def build(saved: Saved) -> FittedDimensional:
        vocabulary = Vocabulary.load(folder / VOCABULARY) if saved.config.uses_words else None
        preprocessor = Preprocessor(saved.config, Normalisation.from_arrays(saved.arrays), vocabulary)
        return FittedDimensional(saved.config, saved.networks["model"], preprocessor)

    return load_fitted(folder, DimensionalConfig, build)


def fit(config: DimensionalConfig, train: Part, validation: Part, context: Context) -> FittedDimensional:
    """Trains one network (Sec. IV-A), or, with `choose`, one for each choice, and keeps the best on validation.

    Args:
        config: settings.
        train: training part; vocabulary and statistics are taken from it alone.
        validation: the epoch and, with `choose`, weights or dropout are chosen on it; empty: the last epoch is kept.
        context: seed, progress, timings.

    Raises:
        UserError: Labels or transcripts are missing, or there is no validation part to choose on.
    """
    keras.utils.set_random_seed(_seed(config, context))
    preprocessor = Preprocessor.fitted(config, train)
    vectors = None
    if config.uses_words:
        without = sum(not tokenise(text) for text in texts(train))
        if without:
            context.flags.append(f"without words: {without} of {len(train)} training utterances")
        pretrained = pretrained_vectors(config, preprocessor.vocabulary)
        if pretrained is not None:
            vectors, missing = pretrained.matrix, 100 * pretrained.missing_tokens
            context.flags.append(f"words without a pretrained vector: {missing:.1f} % of those trained on")
            context.flags.extend(pretrained.notes)
    if config.choose == "none":
        return _train_network(preprocessor, train, validation, vectors, context)
    if not len(validation):
        raise UserError(f"choose={config.choose} needs a validation part, but this protocol has none.")
    return _train_choices(preprocessor, train, validation, vectors, context)


def _seed(config: DimensionalConfig, context: Context) -> int:
    return config.seed or context.seed


def _train_network(
    preprocessor: Preprocessor, train: Part, validation: Part, vectors: np.ndarray | None, context: Context
) -> FittedDimensional:
    """Trains one network; its epoch is chosen by the loss of the whole validation part, not of batches."""
    config = preprocessor.config
    loss = build_loss(config)
    model = build_model(
        config,
        preprocessor.acoustic_shape if config.uses_audio else (),
        len(preprocessor.vocabulary) if config.uses_words else 0,
        vectors,
    )
    model.compile(build_optimiser(config), loss, jit_compile=jit_compile())
    fitted = FittedDimensional(config, model, preprocessor, context)
    score = None
    if len(validation):
        truth = labels(validation, config)
        sign = -1.0 if config.keep == "lowest" else 1.0

        def score() -> float:
            return sign * float(loss(truth, fitted.outputs(validation)))

    batches = Batches(preprocessor, train, config.batch_size, labels(train, config), seed=_seed(config, context))
    best = BestEpoch(score, config.patience, context)
    with context.timed("fit"):
        model.fit(batches, epochs=config.epochs, shuffle=False, callbacks=[best], verbose=0)
    return fitted


def _train_choices(
    preprocessor: Preprocessor, train: Part, validation: Part, vectors: np.ndarray | None, context: Context
) -> FittedDimensional:
    """Trains a network for each choice, all with the same seed, and keeps the one with the best mean CCC."""
    config = preprocessor.config
    choices = config.choices()
    truth = labels(validation, config)
    best, best_history, scores = None, {}, []
    for number, choice in enumerate(choices):
        own = context.for_training(number, len(choices))
        keras.utils.set_random_seed(_seed(config, context))
        changed = dataclasses.replace(preprocessor, config=dataclasses.replace(config, **choice))
        fitted = _train_network(changed, train, validation, vectors, own)
        scores.append(float(np.mean(keras.ops.convert_to_numpy(concordance(truth, fitted.outputs(validation))))))
        if best is None or scores[-1] > max(scores[:-1]):
            best, best_history = fitted, own.history
    context.history.update(best_history)
    context.history.update({f"choice_{name}": [choice[name] for choice in choices] for name in choices[0]})
    context.history["choice_validation_ccc"] = scores
    best.context = context
    return best


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("dimensional_mtl"))
