"""What a trial computes, before it is run: examples by network, from which `ser.costs` makes hours.

A paper's ``work(config, utterances)`` (`Paper.cost`) is arithmetic on its settings: no corpus, no backend.
"""

from __future__ import annotations

from dataclasses import dataclass

FORWARD = 1 / 3
"""An example that is only heard, as a part of one that is learnt from: its slopes take twice its forward pass."""


@dataclass(frozen=True)
class Utterances:
    """How many utterances a fold has on a complete corpus, as the mean over folds.

    Attributes:
        corpus: their corpus.
        train: learnt from.
        validation: heard after each epoch; 0: training ends with the last epoch.
        test: heard once.
        auxiliary: there are utterances of another corpus to learn from besides.
    """

    corpus: str
    train: float
    validation: float = 0.0
    test: float = 0.0
    auxiliary: bool = False


@dataclass(frozen=True)
class Work:
    """Examples that one network learns from in a trial; one that is only heard counts `FORWARD`.

    Attributes:
        network: key of `ser/steps.csv`.
        most: if early stopping never ends a training.
        least: if it ends each as early as it may.
        shared: name under which the paper's other experiments on the same folds find it done; empty: never.
    """

    network: str
    most: float
    least: float
    shared: str = ""


def training(
    network: str,
    utterances: Utterances,
    epochs: int,
    patience: int | None = None,
    *,
    size: float = 1.0,
    times: int = 1,
    shared: str = "",
) -> Work:
    """The work of a training whose epoch is chosen on the validation part, and of hearing the test part once.

    Args:
        network: key of `ser/steps.csv`.
        utterances: of the fold.
        epochs: at most so many.
        patience: epochs without a better one that end it (`common.training.BestEpoch`, so at least one epoch more is
            run); None, or nothing to validate on: all are run.
        size: examples of the network's size an utterance is.
        times: trainings of which one is kept.
        shared: see `Work`.
    """
    fewest = min(epochs, patience + 1) if patience is not None and utterances.validation else epochs
    epoch = times * (utterances.train + FORWARD * utterances.validation)
    tested = FORWARD * utterances.test
    return Work(network, size * (epochs * epoch + tested), size * (fewest * epoch + tested), shared)
