"""Reported cells, measured trials, and the verdict that holds one against the other.

A paper's `reported.csv` has one line a number it prints: cell, table, row, column, metric, value, std, experiment,
note. Values are in percent. A metric's id says function, labels and aggregation: "ua/7class/folds" is the mean over
folds of the unweighted accuracy on seven classes. A cell without experiment is quoted (a peer's number) or not rebuilt
yet.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from common.trials import Measured

COLUMNS = ("cell", "table", "row", "column", "metric", "value", "std", "experiment", "note")

VERDICTS = ("within", "above", "below", "not run", "corpus absent", "scaled run")
"""within, above, below: where the measured 95 % interval lies to the reported value, or around it; only for a run of
the experiment as the paper declares it, with all folds and repeats. Everything else that was run is a "scaled run"."""


@dataclass(frozen=True)
class Cell:
    """One reported number.

    Attributes:
        cell: id, unique in its paper.
        table: table or figure.
        row: as a person reads it.
        column: as printed.
        metric: "function/labels/aggregation".
        value: in percent.
        std: in percent; NaN if none is printed.
        experiment: id of the experiment that measures it; empty if none does.
        note: slips and sources.
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
        """The metric's function, for example "ua"."""
        return self.metric.split("/")[0]

    @property
    def aggregation(self) -> str:
        """How folds become one number, for example "folds"."""
        return self.metric.split("/")[-1]


def read_cells(path: Path) -> list[Cell]:
    """All cells of a `reported.csv`, in its order.

    Raises:
        UserError: other columns, a value that is no number, or a cell that occurs twice.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path} must have the columns {', '.join(COLUMNS)}.")
        cells = []
        for number, line in enumerate(reader, start=2):
            try:
                value = float(line["value"])
                std = float(line["std"]) if line["std"] else math.nan
            except (TypeError, ValueError):
                raise UserError(f"{path}, line {number}: value and std must be numbers.") from None
            cells.append(Cell(**{**line, "value": value, "std": std}))
    seen: set[str] = set()
    for cell in cells:
        if cell.cell in seen:
            raise UserError(f"{path}: the cell {cell.cell} occurs twice.")
        seen.add(cell.cell)
    return cells


@dataclass(frozen=True)
class Measurement:
    """One metric of one run.

    Attributes:
        value: mean over repeats, in percent.
        std: sample standard deviation over repeats; NaN for one repeat.
        low: lower end of the 95 % interval (speakers resampled).
        high: its upper end.
        repeats: repeats that went in.
        folds: folds that went in.
        of_folds: folds the protocol has.
        utterances: test utterances of one repeat.
        speakers: test speakers.
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


def confusions(measured: Measured) -> np.ndarray:
    """Counts of a run's classification by repeat, fold and speaker, shape (repeats, folds, speakers, classes, classes).

    Only repeats that have all the folds of the fullest repeat enter: a half-finished repeat would mix folds of
    different difficulty into the mean.
    """
    import numpy as np

    from common.metrics import by_run_fold_speaker

    classes = measured.run["classes"]
    folds_of: dict[int, set[str]] = {}
    for trial in measured.trials:
        folds_of.setdefault(trial["repeat"], set()).add(trial["fold"])
    fullest = max(folds_of.values(), key=len)
    kept = [
        (trial, table)
        for trial, table in zip(measured.trials, measured.predictions, strict=True)
        if folds_of[trial["repeat"]] == fullest
    ]
    number = {emotion: index for index, emotion in enumerate(classes)}
    columns = [f"p_{emotion}" for emotion in classes]
    return by_run_fold_speaker(
        [table["emotion"].map(number).to_numpy(np.int64) for _, table in kept],
        [table[columns].to_numpy().argmax(axis=1) for _, table in kept],
        [table["speaker"].to_numpy(str) for _, table in kept],
        [trial["repeat"] for trial, _ in kept],
        [trial["fold"] for trial, _ in kept],
        len(classes),
    )


def measure(counts: np.ndarray, function: str, aggregation: str, of_folds: int) -> Measurement:
    """A metric of a run with its interval.

    Args:
        counts: see `confusions`.
        function: key of `common.metrics.METRICS`.
        aggregation: "folds" or "pooled".
        of_folds: how many folds the protocol has.
    """
    from common.metrics import aggregate, clustered_interval

    by_repeat = 100 * aggregate(counts.sum(axis=2), function, aggregation)
    low, high = clustered_interval(counts, function, aggregation)
    repeats, folds, speakers = counts.shape[:3]
    return Measurement(
        value=float(by_repeat.mean()),
        std=float(by_repeat.std(ddof=1)) if repeats > 1 else math.nan,
        low=100 * low,
        high=100 * high,
        repeats=repeats,
        folds=folds,
        of_folds=of_folds,
        utterances=int(counts[0].sum()),
        speakers=speakers,
    )


@dataclass(frozen=True)
class Comparison:
    """A reported cell beside what was measured.

    Attributes:
        cell: the reported number.
        verdict: one of `VERDICTS`.
        measured: None if nothing was run.
        corpus: corpus that was run on.
        difference: measured minus reported, in percentage points; NaN where the two may not be compared.
        changes: how the run differs from the experiment as declared.
        flags: of the corpus and the trials ("synthetic corpus", "random weights", "partial: ...").
        audit: what folds share, in words.
    """

    cell: Cell
    verdict: str
    measured: Measurement | None = None
    corpus: str = ""
    difference: float = math.nan
    changes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()


def verdict(value: float, low: float, high: float, reported: float) -> str:
    """Where a measured interval lies to a reported value; without an interval, where the measured value lies.

    Args:
        value: measured mean.
        low: lower end of its interval, or NaN.
        high: upper end, or NaN.
        reported: the paper's number.
    """
    low, high = (value, value) if math.isnan(low) or math.isnan(high) else (low, high)
    # Papers print two digits: 83.33 is not below 83.3333.
    low, high = round(low, 2), round(high, 2)
    if low > reported:
        return "above"
    return "below" if high < reported else "within"


def compare(cells: Iterable[Cell], runs: dict[str, Measured], absent: Iterable[str] = ()) -> list[Comparison]:
    """Holds cells against runs.

    Args:
        cells: reported cells.
        runs: the run of each experiment, by the experiment's id.
        absent: experiments whose corpus is not here.

    Returns:
        One comparison a cell, in order.
    """
    absent = set(absent)
    counts: dict[str, np.ndarray] = {}
    result = []
    for cell in cells:
        run = runs.get(cell.experiment)
        if run is None or not run.trials:
            result.append(Comparison(cell, "corpus absent" if cell.experiment in absent else "not run"))
            continue
        if cell.experiment not in counts:
            counts[cell.experiment] = confusions(run)
        measured = measure(counts[cell.experiment], cell.function, cell.aggregation, len(run.run["folds"]))
        changes = [*run.run["changes"], *_incomplete(run)]
        flags = sorted({flag for trial in run.trials for flag in trial["flags"]})
        comparable = not changes and not any(flag.startswith(("partial", "bad audio")) for flag in flags)
        result.append(
            Comparison(
                cell,
                verdict(measured.value, measured.low, measured.high, cell.value) if comparable else "scaled run",
                measured,
                run.run["corpus"],
                measured.value - cell.value if comparable else math.nan,
                tuple(changes),
                tuple(flags),
                audit_in_words(run.trials),
            )
        )
    return result


def _incomplete(run: Measured) -> list[str]:
    """What is missing to a whole run, in words."""
    if run.complete:
        return []
    folds = len({trial["fold"] for trial in run.trials})
    repeats = len({trial["repeat"] for trial in run.trials})
    return [f"{folds} of {len(run.run['folds'])} folds", f"{repeats} of {run.run['declared_repeats']} repeats"]


def worst_overlap(trials: Iterable[dict]) -> dict[str, int]:
    """By what test parts share with what was learnt from, the largest count of any trial."""
    worst: dict[str, int] = {}
    for trial in trials:
        for name, count in trial["audit"].items():
            worst[name] = max(worst.get(name, 0), count)
    return worst


def audit_in_words(trials: Iterable[dict]) -> tuple[str, ...]:
    """`worst_overlap` as phrases."""
    return tuple(f"{name} shared: {count}" for name, count in worst_overlap(trials).items())
