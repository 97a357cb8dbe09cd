"""Fitting and predicting; also `python -m papers.mtap.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.corpus import GENDERS, gender_numbers
from common.errors import UserError
from common.features.store import transcripts
from common.metrics import confusion, softmax, ua
from common.saving import load_fitted, save_fitted
from common.training import BestEpoch
from papers.mtap.config import MtapConfig
from papers.mtap.data import Inputs
from papers.mtap.model import build_loss, build_model, compile_model, fused_features


@dataclasses.dataclass
class FittedMtap:
    """A trained network with what its input needs.

    Attributes:
        config: its settings.
        classes: emotions in the order of the outputs.
        model: the network.
        inputs: makes its input.
    """

    config: MtapConfig
    classes: tuple[str, ...]
    model: keras.Model
    inputs: Inputs
    context: Context = dataclasses.field(default_factory=Context)

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Class probabilities "p_<emotion>", without margin: softmax of the logits, or of s times the cosines."""
        inputs = self.inputs(part)
        with self.context.timed("predict"):
            outputs = emotion_outputs(self.model, inputs, self.config.batch_size)
        probabilities = softmax(build_loss(self.config).scale * outputs.astype(np.float64))
        return {f"p_{emotion}": probabilities[:, number] for number, emotion in enumerate(self.classes)}

    def activations(self, part: Part) -> dict[str, np.ndarray]:
        """F of each utterance, float32, if the config keeps it (Fig. 4 and 5)."""
        if not self.config.keep_features:
            return {}
        network = fused_features(self.model)
        return {"features": network.predict(self.inputs(part), batch_size=self.config.batch_size, verbose=0)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, self.inputs.arrays(), classes=self.classes)


def load(folder: Path) -> FittedMtap:
    """Reads what `FittedMtap.save` wrote."""
    return load_fitted(
        folder,
        MtapConfig,
        lambda saved: FittedMtap(
            saved.config, saved.classes, saved.networks["model"], Inputs.from_arrays(saved.config, saved.arrays)
        ),
    )


def emotion_outputs(model: keras.Model, inputs, batch_size: int) -> np.ndarray:
    """Logits or cosines of the emotions, whatever other heads there are."""
    outputs = model.predict(inputs, batch_size=batch_size, verbose=0)
    return outputs[0] if isinstance(outputs, list) else outputs


def fit(config: MtapConfig, train: Part, validation: Part, context: Context) -> FittedMtap:
    """Trains one network (Sec. 5.2.2); the epoch is chosen on validation UA, or is the last if there is no validation.

    Args:
        config: settings.
        train: what is learnt from; its features alone give the inputs' scaling.
        validation: may be empty.
        context: seed, progress, timings.

    Raises:
        UserError: a gender head and only one gender to learn from.
    """
    keras.config.set_dtype_policy(config.precision)
    targets = train.labels
    if config.gender_head != "none":
        targets = [targets, _genders(train, validation, context)]
    if config.text and not any(transcripts(train.table)):
        context.flags.append("no transcripts: the text features are those of an empty text")
    inputs, learnt = Inputs.fitted(config, train)
    model = build_model(config, len(train.classes), inputs.widths)
    compile_model(model, config)
    score = None
    if len(validation):
        held_out = inputs(validation)

        def score() -> float:
            outputs = emotion_outputs(model, held_out, config.batch_size)
            return float(ua(confusion(validation.labels, outputs.argmax(axis=1), len(train.classes))))

    with context.timed("fit"):
        model.fit(
            learnt,
            targets,
            batch_size=config.batch_size,
            epochs=config.epochs,
            callbacks=[BestEpoch(score, config.patience, context)],
            verbose=0,
        )
    return FittedMtap(config, train.classes, model, inputs, context)


REMEDY = "Use gender_head=none."


def _genders(train: Part, validation: Part, context: Context) -> np.ndarray:
    """The training utterances' genders; a fold that lacks one is told, a corpus that lacks one is an error."""
    known = gender_numbers(train.table, REMEDY)
    if len(np.unique(known)) < 2:
        own = GENDERS[known[0]]
        if not len(validation) or len(np.unique([*known, *gender_numbers(validation.table, REMEDY)])) < 2:
            raise UserError(f"gender_head learns gender, and all speakers here are {own}. Use gender_head=none.")
        context.flags.append(f"gender head: all training speakers of a fold are {own}")
    return known


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("mtap"))
