"""Fitting and predicting; also `python -m papers.mtap.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.corpus import GENDERS, gender_numbers
from common.errors import UserError
from common.features.store import transcripts
from common.metrics import confusion, softmax, ua
from common.saving import Saved, load_fitted, save_fitted
from common.training import BestEpoch
from papers.mtap.config import MtapConfig
from papers.mtap.data import InputPreparation
from papers.mtap.model import build_loss, build_model, compile_model, fused_features


@dataclasses.dataclass
class FittedMtap:
    """A trained network with the preparation of its input.

    Attributes:
        config: its settings; with `choose`, gamma and margin are the chosen ones.
        classes: emotions in the order of the outputs.
        model: the network.
        preparation: prepares its input.
        context: receives timings.
    """

    config: MtapConfig
    classes: tuple[str, ...]
    model: keras.Model
    preparation: InputPreparation
    context: Context = dataclasses.field(default_factory=Context)

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Returns probabilities "p_<emotion>": softmax of the logits, or of s times the cosines, without margin."""
        inputs = self.preparation(part)
        with self.context.timed("predict"):
            outputs = emotion_outputs(self.model, inputs, self.config.batch_size)
        probabilities = softmax(build_loss(self.config).scale * outputs.astype(np.float64))
        return {f"p_{emotion}": probabilities[:, number] for number, emotion in enumerate(self.classes)}

    def activations(self, part: Part) -> dict[str, np.ndarray]:
        """Returns F of each utterance, float32, if the config keeps it (Fig. 4 and 5)."""
        if not self.config.keep_features:
            return {}
        network = fused_features(self.model)
        return {"features": network.predict(self.preparation(part), batch_size=self.config.batch_size, verbose=0)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, self.preparation.arrays(), classes=self.classes)


def load(folder: Path) -> FittedMtap:
    """Reads what `FittedMtap.save` wrote."""

    def build(saved: Saved) -> FittedMtap:
        preparation = InputPreparation.from_arrays(saved.config, saved.arrays)
        return FittedMtap(saved.config, saved.classes, saved.networks["model"], preparation)

    return load_fitted(folder, MtapConfig, build)


def emotion_outputs(model: keras.Model, inputs, batch_size: int) -> np.ndarray:
    """Predicts logits or cosines of the emotions, also for a model with several heads."""
    outputs = model.predict(inputs, batch_size=batch_size, verbose=0)
    return outputs[0] if isinstance(outputs, list) else outputs


def fit(config: MtapConfig, train: Part, validation: Part, context: Context) -> FittedMtap:
    """Trains a network (Sec. 5.2.2), or, with `choose`, one for each gamma and m, and keeps the best on validation.

    Args:
        config: settings.
        train: training part; the inputs are scaled with its statistics.
        validation: the epoch and, with `choose`, gamma and m are chosen by the UA on it; empty: the last epoch is kept.
        context: seed, progress, timings; receives flags.

    Raises:
        UserError: There is a gender head, but the corpus has only one gender, or a gender is missing; or there is no
            validation part to choose on.
    """
    keras.utils.set_random_seed(context.seed)
    keras.config.set_dtype_policy(config.precision)
    if config.choices and not len(validation):
        raise UserError("choose=true needs a validation part, but this protocol has none.")
    targets = train.labels
    if config.gender_head != "none":
        targets = [targets, _gender_labels(train, validation, context)]
    if config.text and not any(transcripts(train.table)):
        context.flags.append("no transcripts: the text features are those of an empty text")
    preparation, inputs = InputPreparation.fitted(config, train)
    validation_inputs = preparation(validation) if len(validation) else None

    def train_network(chosen: MtapConfig, own: Context) -> FittedMtap:
        model = build_model(chosen, len(train.classes), preparation.widths)
        compile_model(model, chosen)

        def score() -> float:
            outputs = emotion_outputs(model, validation_inputs, chosen.batch_size)
            return float(ua(confusion(validation.labels, outputs.argmax(axis=1), len(train.classes))))

        best = BestEpoch(score if len(validation) else None, chosen.patience, own)
        with context.timed("fit"):
            model.fit(inputs, targets, batch_size=chosen.batch_size, epochs=chosen.epochs, callbacks=[best], verbose=0)
        return FittedMtap(chosen, train.classes, model, preparation, context)

    if not config.choices:
        return train_network(config, context)
    return _best_choice(config, train_network, context)


def _best_choice(
    config: MtapConfig, train_network: Callable[[MtapConfig, Context], FittedMtap], context: Context
) -> FittedMtap:
    """Trains a network for each choice, all from the same seed, and keeps the first with the best validation UA."""
    best, best_history, scores = None, {}, []
    for number, choice in enumerate(config.choices):
        own = context.for_training(number, len(config.choices))
        keras.utils.set_random_seed(context.seed)
        fitted = train_network(dataclasses.replace(config, **choice), own)
        scores.append(max(own.history["validation"]))
        if best is None or scores[-1] > max(scores[:-1]):
            best, best_history = fitted, own.history
    context.history.update(best_history)
    for name in config.choices[0]:
        context.history[f"choice_{name}"] = [choice[name] for choice in config.choices]
        context.history[name] = [getattr(best.config, name)]
    context.history["choice_validation_ua"] = scores
    return best


def _gender_labels(train: Part, validation: Part, context: Context) -> np.ndarray:
    """Genders of the training utterances; only one in this fold is a flag, only one in the corpus an error."""
    remedy = "Use gender_head=none."
    genders = gender_numbers(train.table, remedy)
    if len(np.unique(genders)) < 2:
        only = GENDERS[genders[0]]
        if not len(validation) or len(np.unique([*genders, *gender_numbers(validation.table, remedy)])) < 2:
            raise UserError(f"gender_head needs two genders, but all speakers here are {only}. {remedy}")
        context.flags.append(f"gender head: all training speakers of a fold are {only}")
    return genders


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("mtap"))
