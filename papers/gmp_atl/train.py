"""Fitting and predicting; also `python -m papers.gmp_atl.train EXPERIMENT`, which is `ser run`."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.metrics import softmax
from common.saving import load_fitted, save_fitted
from common.training import data_parallel
from papers.gmp_atl.config import GmpConfig
from papers.gmp_atl.model import emotion_loss
from papers.gmp_atl.stages import TrainingStages, predict_outputs


@dataclasses.dataclass
class FittedGmp:
    """The network of stage 3.

    Attributes:
        config: its settings.
        classes: emotions in the order of the outputs.
        model: the network.
        context: receives timings.
        devices: number of devices that share each batch.
    """

    config: GmpConfig
    classes: tuple[str, ...]
    model: keras.Model
    context: Context = dataclasses.field(default_factory=Context)
    devices: int = 1

    def predict(self, part: Part) -> dict[str, np.ndarray]:
        """Returns probabilities "p_<emotion>": softmax of the logits, or of s times the cosines, without margin."""
        with self.context.timed("predict"):
            logits = emotion_loss(self.config).scale * predict_outputs(self.model, part, self.config, self.devices)
        probabilities = softmax(logits)
        return {f"p_{emotion}": probabilities[:, number] for number, emotion in enumerate(self.classes)}

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs."""
        save_fitted(folder, self.config, {"model": self.model}, classes=self.classes)


def load(folder: Path) -> FittedGmp:
    """Reads what `FittedGmp.save` wrote."""
    return load_fitted(folder, GmpConfig, lambda saved: FittedGmp(saved.config, saved.classes, saved.networks["model"]))


def fit(config: GmpConfig, train: Part, validation: Part, context: Context) -> FittedGmp:
    """Trains all stages, except those that are kept as artefacts already, and returns the network of the last.

    Args:
        config: settings.
        train: training part; codebooks and pseudo-labels are made from it alone.
        validation: chooses the epochs of stages 1 and 3; empty: the last epochs are kept (the paper's protocol).
        context: seed, progress, timings, artefacts.
    """
    keras.utils.set_random_seed(context.seed)
    keras.config.set_dtype_policy(config.precision)
    with tempfile.TemporaryDirectory() as folder, data_parallel() as devices:
        artefacts = context.artefacts or Artefacts(Path(folder))
        model = TrainingStages(config, train, validation, context, artefacts, devices).train_network()
        return FittedGmp(config, train.classes, model, context, devices)


if __name__ == "__main__":
    from ser.cli import train_main

    sys.exit(train_main("gmp_atl"))
