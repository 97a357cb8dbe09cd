"""Fitting and predicting; also `python -m papers.mtap.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np

from common.errors import UserError
from common.experiments import Context, Part, override
from common.files import write_json
from common.metrics import confusion, ua
from common.training import BestEpoch, jit_compile
from papers.mtap.config import MtapConfig
from papers.mtap.data import Normalisation, spectrograms
from papers.mtap.model import build_loss, build_model, build_optimiser


@dataclasses.dataclass
class FittedMtap:
    """A trained network with what its input needs.

    Attributes:
        config: its settings.
        classes: emotions in the order of the outputs.
        model: the network.
        normalisation: of the spectrograms.
    """

    config: MtapConfig
    classes: tuple[str, ...]
    model: keras.Model
    normalisation: Normalisation
    context: Context = dataclasses.field(default_factory=Context)

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Class probabilities "p_<emotion>", without margin: softmax of the logits, or of s times the cosines."""
        images = self.normalisation.images(spectrograms(part), self.config.frames)
        with self.context.timed("predict"):
            outputs = self.model.predict(images, batch_size=self.config.batch_size, verbose=0)
        logits = build_loss(self.config).scale * outputs.astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return {f"p_{emotion}": probabilities[:, number] for number, emotion in enumerate(self.classes)}

    def save(self, folder: Path) -> None:
        """Writes `model.keras`, `normalisation.npz` and `config.json`."""
        self.model.save(folder / "model.keras")
        np.savez(folder / "normalisation.npz", mean=self.normalisation.mean, deviation=self.normalisation.deviation)
        write_json(folder / "config.json", {"config": dataclasses.asdict(self.config), "classes": self.classes})


def load(folder: Path) -> FittedMtap:
    """Reads what `FittedMtap.save` wrote; nothing is unpickled."""
    try:
        described = json.loads((folder / "config.json").read_bytes())
        config = override(MtapConfig(), described["config"])
        with np.load(folder / "normalisation.npz", allow_pickle=False) as stored:
            normalisation = Normalisation(stored["mean"], stored["deviation"])
        model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{folder} is not a kept mtap model: {str(error).splitlines()[0]}") from error
    return FittedMtap(config, tuple(described["classes"]), model, normalisation)


def fit(config: MtapConfig, train: Part, validation: Part, context: Context) -> FittedMtap:
    """Trains one network (Sec. 5.2.2); the epoch is chosen on validation UA, or is the last if there is no validation.

    Args:
        config: settings.
        train: what is learnt from; its spectrograms alone give the normalisation.
        validation: may be empty.
        context: seed, progress, timings.
    """
    keras.config.set_dtype_policy(config.precision)
    learnt = spectrograms(train)
    normalisation = Normalisation.fitted(learnt, config.normalisation)
    images = normalisation.images(learnt, config.frames)
    del learnt
    model = build_model(config, len(train.classes))
    model.compile(optimizer=build_optimiser(config), loss=build_loss(config), jit_compile=jit_compile())
    score = None
    if len(validation):
        held_out = normalisation.images(spectrograms(validation), config.frames)

        def score() -> float:
            outputs = model.predict(held_out, batch_size=config.batch_size, verbose=0)
            return float(ua(confusion(validation.labels, outputs.argmax(axis=1), len(train.classes))))

    with context.timed("fit"):
        model.fit(
            images,
            train.labels,
            batch_size=config.batch_size,
            epochs=config.epochs,
            callbacks=[BestEpoch(score, config.patience, context)],
            verbose=0,
        )
    return FittedMtap(config, train.classes, model, normalisation, context)


if __name__ == "__main__":
    from papers.mtap.experiments import PAPER
    from papers.runner import train_main

    sys.exit(train_main(PAPER))
