"""What was reported and what was measured, as a paper's figures receive it.

The application reads results from disk and compares them (`ser.results`); a paper only draws from these classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.agreement import Agreement
from common.metrics import METRICS, Metric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One reported number.

    Attributes:
        cell: id, unique in its paper.
        table: table or figure, for example "1" or "fig4".
        row: as a person reads it.
        column: as printed.
        metric: "function/labels/aggregation", for example "ua/7class/folds" (see `ser.results.reported`).
        value: in percent, or a CCC; NaN if the paper prints none.
        std: standard deviation in the same unit; NaN if the paper prints none.
        experiment: id of the experiment that measures it; empty if none does.
        note: misprints and sources.
    """

    cell: str
    table: str
    row: str
    column: str
    metric: str
    value: float
    std: float
    experiment: str
    note: str

    @property
    def function(self) -> str:
        """Name of the metric, a key of `common.metrics.METRICS`; cells without an experiment may name other things."""
        return self.metric.split("/")[0]

    @property
    def labels(self) -> str:
        """What the metric is computed on: a number of classes ("7class"), a dimension ("valence") or "mean"."""
        return self.metric.split("/")[1]

    @property
    def aggregation(self) -> str:
        """How folds become one number: "folds", "pooled" or, for a CCC per batch, "file-order"."""
        return self.metric.split("/")[-1]

    @property
    def registered(self) -> Metric:
        """The registry's entry of the metric; every cell that an experiment measures has one."""
        return METRICS[self.function]

    @property
    def digits(self) -> int:
        """Digits after the decimal point that papers print of this metric; 0 for what is no metric, such as a layer."""
        return METRICS[self.function].digits if self.function in METRICS else 0

    @property
    def places(self) -> int:
        """Digits after the decimal point that this cell is printed with, at least `digits`."""
        return max(self.digits, len(f"{self.value:.10g}".partition(".")[2]))


@dataclass(frozen=True)
class Measurement:
    """One metric of one run.

    Attributes:
        value: mean over repeats, in percent or a CCC.
        std: sample standard deviation over repeats; NaN for one repeat.
        low: lower end of the 95 % interval (see `common.intervals.speaker_interval`); NaN if there is none.
        high: its upper end.
        repeats: how many repeats were used.
        folds: how many folds were used.
        of_folds: how many folds the protocol has.
        utterances: test utterances of one repeat.
        speakers: test speakers.
        digits: digits after the decimal point to print.
        by_repeat: the values whose mean is `value`.
    """

    value: float
    std: float
    low: float
    high: float
    repeats: int
    folds: int
    of_folds: int
    utterances: int
    speakers: int
    digits: int = 2
    by_repeat: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A reported cell and what was measured.

    Attributes:
        cell: the reported number.
        verdict: one of `ser.results.comparing.VERDICTS`.
        measured: None if nothing was run.
        corpus: corpus of the run.
        agreement: measured minus reported, and what follows from it; None where the two may not be compared.
        changes: how the run differs from the experiment as declared.
        flags: of the corpus and the trials ("synthetic corpus", "random weights", "partial: ...").
        audit: what folds share, in words.
    """

    cell: Cell
    verdict: str
    measured: Measurement | None = None
    corpus: str = ""
    agreement: Agreement | None = None
    changes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """Measured minus reported; NaN where the two may not be compared."""
        return self.agreement.difference if self.agreement else math.nan


@dataclass(frozen=True)
class RunResults:
    """The finished trials of one run, read from disk.

    Attributes:
        run: content of `run.json`.
        trials: contents of the `trial.json` files, by fold and repeat.
        predictions: their predictions, in the same order.
        folders: their folders, in the same order.
    """

    run: dict[str, Any]
    trials: list[dict[str, Any]]
    predictions: list[pd.DataFrame]
    folders: list[Path] = field(default_factory=list)

    def activations(self, trial: int) -> dict[str, np.ndarray]:
        """Arrays that the fitted model of a trial kept for figures; empty if it kept none.

        Args:
            trial: position in `trials`.
        """
        try:
            with np.load(self.folders[trial] / "activations.npz", allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError):
            return {}

    @property
    def complete(self) -> bool:
        """True if every fold was run in as many repeats as the experiment declares."""
        wanted = {(fold, r) for fold in self.run["folds"] for r in range(1, self.run["declared_repeats"] + 1)}
        return wanted <= {(trial["fold"], trial["repeat"]) for trial in self.trials}
