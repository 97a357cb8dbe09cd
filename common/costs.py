"""How much a fit computes, counted before it runs; `ser.costs` turns it into hours.

A paper's ``work(config, speech)`` (`Paper.cost`) is arithmetic on its settings: it reads no corpus and no backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """One training, or another long computation, of a fit.

    Attributes:
        step: what is computed, a key of `ser/steps.csv`: the config fields on which a unit's time depends.
        least: units if early stopping ends the training as early as it can. A unit is one utterance, or one second of
            speech, in one epoch, validation included.
        most: units if all epochs are run.
    """

    step: str
    least: float
    most: float


@dataclass(frozen=True)
class Speech:
    """How much speech there is to train on.

    Attributes:
        utterances: in the training part.
        seconds: of all of them together; NaN if unknown.
        validated: True if there is a validation part.
    """

    utterances: float
    seconds: float
    validated: bool = True

    def training(self, step: str, units: float, epochs: int, patience: int | None = None) -> Work:
        """The work of a training with so many units per epoch, which stops early if there is a validation part."""
        least = epochs if patience is None or not self.validated else min(epochs, patience + 1)
        return Work(step, least * units, epochs * units)


def step_name(config: Any, *fields: str) -> str:
    """Fields of a config with their values: "backbone=densenet169 frames=400"."""
    return " ".join(f"{name}={getattr(config, name)}" for name in fields)
