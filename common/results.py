"""What was reported and what was measured, as a paper's figures receive it.

The application reads results from disk and compares them (`ser.results`); a paper only draws from these classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
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
class Condition:
    """What a run is, compared with the experiment as its paper declares it (see `ser.results.condition`).

    Attributes:
        trials: how many of the wanted trials are finished.
        of_trials: how many trials are wanted: folds times declared repeats, or times those of a scaled run.
        corpus: "demo instead of iemocap"; empty if the corpus is the declared one.
        synthetic: the corpus that is used instead of the declared one is synthetic.
        scaled: the settings that `--scaled` changes, as "epochs = 20 instead of 50".
        random: pretrained weights that the declared experiment has and this run has not, in the same form or in words.
        modified: all other differences.
        partial: what the corpus or its audio lacks, in words.
        outdated: what is declared differently today than when the run was made, in words.
    """

    trials: int = 0
    of_trials: int = 0
    corpus: str = ""
    synthetic: bool = False
    scaled: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """True if no wanted trial is missing."""
        return self.trials >= self.of_trials

    @property
    def unchanged(self) -> bool:
        """True if the run differs from the declared experiment in nothing, except that trials may be missing."""
        return not (self.corpus or self.scaled or self.random or self.modified or self.partial or self.outdated)

    @property
    def as_declared(self) -> bool:
        """True for a complete and unchanged run; only such a run gets a verdict on a number."""
        return self.unchanged and self.complete

    @property
    def deviation(self) -> tuple:
        """What is equal for runs that deviate from their experiments in the same way; can be the key of a dict.

        Missing pretrained weights are no part of it: one experiment of a comparison may have none.
        """
        modified = frozenset(change.split(" instead of ")[0] for change in self.modified)
        used = self.corpus.split(" instead of ")[0]
        return used, bool(self.scaled), modified, frozenset(self.partial), bool(self.outdated)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Everything that the run is, each in one or two words; "as declared" if it is nothing else."""
        found = {
            "synthetic": self.synthetic,
            "other corpus": self.corpus and not self.synthetic,
            "scaled": self.scaled,
            "random weights": self.random,
            "modified": self.modified,
            "partial": self.partial,
            "declared differently today": self.outdated,
            "incomplete": not self.complete,
        }
        return tuple(kind for kind, holds in found.items() if holds) or ("as declared",)

    @property
    def label(self) -> str:
        """The kinds as text, with the number of trials of an incomplete run: "scaled, incomplete (3 of 50)"."""
        return ", ".join(self.kinds).replace("incomplete", f"incomplete ({self.trials} of {self.of_trials})")

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same with all details, one line each; empty for a run as declared."""
        details = {
            "Other corpus": self.corpus,
            "Scaled": "; ".join(self.scaled),
            "Random weights": "; ".join(self.random),
            "Modified": "; ".join(self.modified),
            "Declared differently today": "; ".join(self.outdated),
            "Incomplete": "" if self.complete else f"{self.trials} of {self.of_trials} trials",
        }
        found = [f"{kind}: {detail}" for kind, detail in details.items() if detail]
        return (*found, *(flag[0].upper() + flag[1:] for flag in self.partial))


@dataclass(frozen=True)
class Comparison:
    """A reported cell and what was measured.

    Attributes:
        cell: the reported number.
        verdict: one of `ser.results.comparing.VERDICTS`, or what the run is (`Condition.label`).
        measured: None if nothing was run.
        corpus: corpus of the run.
        agreement: measured minus reported, and what follows from it; None where the two may not be compared.
        condition: what the run is; None if nothing was run.
        flags: of the corpus and the trials ("synthetic corpus", "random weights", "partial: ...").
        audit: what folds share, in words.
    """

    cell: Cell
    verdict: str
    measured: Measurement | None = None
    corpus: str = ""
    agreement: Agreement | None = None
    condition: Condition | None = None
    flags: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()

    @property
    def difference(self) -> float:
        """Measured minus reported; NaN where the two may not be compared."""
        return self.agreement.difference if self.agreement else math.nan


def kinds_of(comparisons: Iterable[Comparison]) -> tuple[str, ...]:
    """Everything that the runs of some comparisons are (see `Condition.kinds`), except "as declared"."""
    kinds = dict.fromkeys(kind for one in comparisons if one.condition for kind in one.condition.kinds)
    return tuple(kind for kind in kinds if kind != "as declared")


@dataclass(frozen=True)
class RunResults:
    """The finished trials of one run, read from disk.

    Attributes:
        run: content of `run.json`.
        trials: contents of the `trial.json` files, by fold and repeat.
        predictions: their predictions, in the same order.
        folders: their folders, in the same order.
        left_out: finished trials that are not used because other versions computed them, in words.
    """

    run: dict[str, Any]
    trials: list[dict[str, Any]]
    predictions: list[pd.DataFrame]
    folders: list[Path] = field(default_factory=list)
    left_out: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """What every result of the run must state, each once, in alphabetical order."""
        return tuple(
            sorted({flag for trial in self.trials for flag in trial["flags"]} | set(self.run.get("flags", ())))
        )

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
