"""Counts how much a fit computes, before it runs; `ser.costs` turns the counts into hours.

A paper's ``work(config, speech)`` (`Paper.cost`) is arithmetic on its settings: it neither reads a corpus nor imports a
backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Work:
    """One training of a fit, or another long computation, counted in units.

    A unit is what the paper chooses: usually one utterance, or one second of speech, in one epoch, with validation.

    Attributes:
        step: what is computed, a key of `ser/steps.csv`: the config fields on which the time of a unit depends.
        least: number of units if early stopping ends the training as early as it can.
        most: number of units if all epochs are run.
    """

    step: str
    least: float
    most: float


@dataclass(frozen=True)
class Speech:
    """How much speech there is to train on.

    Attributes:
        utterances: number of utterances in the training part.
        seconds: their total duration; NaN if unknown.
        validated: True if there is a validation part.
    """

    utterances: float
    seconds: float
    validated: bool = True

    def training(self, step: str, units: float, epochs: int, patience: int | None = None) -> Work:
        """Counts a training.

        Args:
            step: see `Work`.
            units: units per epoch.
            epochs: number of epochs at most.
            patience: epochs without improvement after which early stopping, which needs a validation part, ends the
                training; None: it never does.
        """
        least = epochs if patience is None or not self.validated else min(epochs, patience + 1)
        return Work(step, least * units, epochs * units)


def step_name(config: Any, *fields: str) -> str:
    """Fields of a config with their values: "model=cnn rows=128"."""
    return " ".join(f"{name}={getattr(config, name)}" for name in fields)
