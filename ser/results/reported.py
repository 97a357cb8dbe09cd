"""Reported cells, measured trials, and the verdict that holds one against the other.

A paper's `reported.csv` has one line a number it prints: cell, table, row, column, metric, value, std, experiment,
note. A metric's id says function, labels and aggregation: "ua/7class/folds" is the mean over folds of the unweighted
accuracy on seven classes, "ccc/valence/pooled" the CCC of all test utterances together, "ccc_batch32/mean/file-order"
the mean over three dimensions of what `common.metrics.ccc_batches` gives. Accuracies are in percent, a CCC is as it is.
A cell without experiment is quoted (a peer's number) or not rebuilt yet; one without value is measured beside the
paper's own (an honest twin of its protocol) and not printed there.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from common.trials import Measured

COLUMNS = ("cell", "table", "row", "column", "metric", "value", "std", "experiment", "note")

VERDICTS = ("within", "above", "below", "not run", "corpus absent", "scaled run", "not reported")
"""within, above, below: where the measured 95 % interval lies to the reported value, or around it; only for a run of
the experiment as the paper declares it, with all folds and repeats. Everything else that was run is a "scaled run".
"not reported": measured, and the paper prints no number of the kind."""

PERCENT = ("wa", "ua", "wa_chunks", "ua_chunks")
"""Functions whose values are in percent; those of chunks count every chunk that an utterance was cut into."""

BATCH = 32
"""Utterances a batch of "ccc_batch32"."""


@dataclass(frozen=True)
class Cell:
    """One reported number.

    Attributes:
        cell: id, unique in its paper.
        table: table or figure.
        row: as a person reads it.
        column: as printed.
        metric: "function/labels/aggregation".
        value: in percent, or a CCC; NaN if the paper prints none.
        std: as the value; NaN if none is printed.
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
    def labels(self) -> str:
        """What the metric is of, for example "7class", "valence", or "mean" of the dimensions."""
        return self.metric.split("/")[1]

    @property
    def digits(self) -> int:
        """Digits after the point that papers print."""
        return digits(self.function)

    @property
    def places(self) -> int:
        """Digits after the point that this cell is printed with, at least `digits`."""
        return max(self.digits, len(repr(self.value).partition(".")[2]))

    @property
    def aggregation(self) -> str:
        """How folds become one number, for example "folds"."""
        return self.metric.split("/")[-1]


def digits(function: str) -> int:
    """Digits after the point that papers print of a metric."""
    return 2 if function in PERCENT else 3


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
                value = float(line["value"]) if line["value"] or not line["experiment"] else math.nan
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
        value: mean over repeats, in percent or a CCC.
        std: sample standard deviation over repeats; NaN for one repeat.
        low: lower end of the 95 % interval (speakers resampled).
        high: its upper end.
        repeats: repeats that went in.
        folds: folds that went in.
        of_folds: folds the protocol has.
        utterances: test utterances of one repeat.
        speakers: test speakers.
        digits: to print.
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


@dataclass(frozen=True)
class Statistics:
    """What a run's metrics are computed from: statistics that add up, by repeat, fold and speaker.

    Attributes:
        sums: shape (repeats, folds, speakers, a, b); confusion counts or moments (see `common.metrics`).
        folds: names of the folds along the second axis.
        dimensions: of a regression.
    """

    sums: np.ndarray
    folds: tuple[str, ...]
    dimensions: tuple[str, ...] = ()

    def on(self, folds: Iterable[str]) -> Statistics:
        """Of some folds only (and of the batches cut from them), and of the speakers tested there."""
        wanted = set(folds)
        kept = [number for number, fold in enumerate(self.folds) if fold.split("#")[0] in wanted]
        sums = self.sums[:, kept]
        filled = (sums != 0).any((0, 1, 3, 4))
        return Statistics(sums[:, :, filled], tuple(self.folds[number] for number in kept), self.dimensions)


def statistics(measured: Measured, function: str) -> Statistics:
    """Statistics of a run for a metric.

    Only repeats that have all the folds of the fullest repeat enter: a half-finished repeat would mix folds of
    different difficulty into the mean.

    Args:
        measured: the run.
        function: of the metric, for example "ua" or "ccc".
    """
    import numpy as np

    from common.metrics import by_run_fold_speaker, confusion_of_votes

    folds_of: dict[int, set[str]] = {}
    for trial in measured.trials:
        folds_of.setdefault(trial["repeat"], set()).add(trial["fold"])
    fullest = max(folds_of.values(), key=len)
    kept = [
        (trial, table)
        for trial, table in zip(measured.trials, measured.predictions, strict=True)
        if folds_of[trial["repeat"]] == fullest
    ]
    repeats, folds = [trial["repeat"] for trial, _ in kept], [trial["fold"] for trial, _ in kept]
    speakers = [table["speaker"].to_numpy(str) for _, table in kept]
    if function in PERCENT:
        classes = measured.run["classes"]
        number = {name: index for index, name in enumerate(classes)}
        truth = [table["label"].map(number).to_numpy(np.int64) for _, table in kept]
        if function.endswith("_chunks"):
            columns = [f"chunks_{name}" for name in classes]
            votes = [table[columns].to_numpy() for _, table in kept]
            counts = by_run_fold_speaker(truth, votes, speakers, repeats, folds, confusion_of_votes)
            return Statistics(counts, tuple(sorted(set(folds))))
        columns = [f"p_{name}" for name in classes]
        prediction = [table[columns].to_numpy().argmax(axis=1) for _, table in kept]
        return of_classes(truth, prediction, speakers, repeats, folds, len(classes))
    dimensions = list(measured.run["dimensions"])
    truth = [table[dimensions].to_numpy(np.float64) for _, table in kept]
    columns = [f"predicted_{name}" for name in dimensions]
    prediction = [table[columns].to_numpy(np.float64) for _, table in kept]
    return of_dimensions(truth, prediction, speakers, repeats, folds, dimensions, function)


def of_classes(truth, prediction, speakers, repeats, folds, classes: int) -> Statistics:
    """Confusion counts of trials; arguments as `common.metrics.by_run_fold_speaker` takes them."""
    from common.metrics import by_run_fold_speaker, confusion

    counts = by_run_fold_speaker(
        truth, prediction, speakers, repeats, folds, functools.partial(confusion, classes=classes)
    )
    return Statistics(counts, tuple(sorted(set(folds))))


def of_dimensions(truth, prediction, speakers, repeats, folds, dimensions: Sequence[str], function: str) -> Statistics:
    """Moments of trials, of whole folds or of their batches in file order ("ccc_batch32")."""
    from common.metrics import by_run_fold_speaker, moments

    if function == "ccc_batch32":
        pieces = [
            (t[start : start + BATCH], p[start : start + BATCH], s[start : start + BATCH], r, f"{f}#{start:06d}")
            for t, p, s, r, f in zip(truth, prediction, speakers, repeats, folds, strict=True)
            for start in range(0, len(t), BATCH)
        ]
        truth, prediction, speakers, repeats, folds = zip(*pieces, strict=True)
    sums = by_run_fold_speaker(truth, prediction, speakers, repeats, folds, moments)
    return Statistics(sums, tuple(sorted(set(folds))), tuple(dimensions))


def measure(found: Statistics, cell: Cell, of_folds: int) -> Measurement:
    """A cell's metric of a run with its interval.

    Args:
        found: see `statistics`.
        cell: names the metric.
        of_folds: how many folds the protocol has.
    """
    from common.metrics import aggregate, clustered_interval, utterances_of

    metric, scale, aggregation = _metric(found, cell)
    by_repeat = scale * aggregate(found.sums.sum(axis=2), metric, aggregation)
    low, high = clustered_interval(found.sums, metric, aggregation)
    repeats, _, speakers = found.sums.shape[:3]
    return Measurement(
        value=float(by_repeat.mean()),
        std=float(by_repeat.std(ddof=1)) if repeats > 1 else math.nan,
        low=scale * low,
        high=scale * high,
        repeats=repeats,
        folds=len({fold.split("#")[0] for fold in found.folds}),
        of_folds=of_folds,
        utterances=int(utterances_of(found.sums[0], metric).sum()),
        speakers=speakers,
        digits=cell.digits,
    )


def _metric(found: Statistics, cell: Cell) -> tuple[str | Callable, float, str]:
    """The function on statistics, what its values are multiplied by, and how folds become one number."""
    from common.metrics import ccc_of

    if cell.function in PERCENT:
        return cell.function.removesuffix("_chunks"), 100.0, cell.aggregation
    if cell.labels != "mean" and cell.labels not in found.dimensions:
        raise UserError(f"The cell {cell.cell} measures {cell.labels}, which {cell.experiment} does not predict.")
    dimension = None if cell.labels == "mean" else found.dimensions.index(cell.labels)
    # The batches of a fold stand where folds stand: their mean is what the paper's toolkit printed.
    aggregation = "folds" if cell.function == "ccc_batch32" else cell.aggregation
    return functools.partial(ccc_of, dimension=dimension), 1.0, aggregation


def whole_vector(cell: Cell) -> Cell:
    """The cell of the same quantity over the whole vector, into which no order of utterances enters."""
    metric = f"ccc/{cell.labels}/pooled"
    column = f"{cell.column}, whole"
    return dataclasses.replace(
        cell, cell=f"{cell.cell}/whole", column=column, metric=metric, value=math.nan, std=math.nan, note=""
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


def verdict(value: float, low: float, high: float, reported: float, places: int = 2) -> str:
    """Where a measured interval lies to a reported value; without an interval, where the measured value lies.

    Args:
        value: measured mean.
        low: lower end of its interval, or NaN.
        high: upper end, or NaN.
        reported: the paper's number.
        places: digits that papers print: 83.33 is not below 83.3333.
    """
    low, high = (value, value) if math.isnan(low) or math.isnan(high) else (low, high)
    low, high = round(low, places), round(high, places)
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
        One comparison a cell, in order; a measured batch-averaged CCC is followed by that of the whole vector.
    """
    absent = set(absent)
    known: dict[tuple[str, str], Statistics] = {}
    result = []
    for cell in cells:
        run = runs.get(cell.experiment)
        if run is None or not run.trials:
            result.append(Comparison(cell, "corpus absent" if cell.experiment in absent else "not run"))
            continue
        pair = (cell, whole_vector(cell)) if cell.function == "ccc_batch32" else (cell,)
        for one in pair:
            kind = "confusions" if one.function in ("wa", "ua") else one.function.removeprefix("wa").removeprefix("ua")
            key = one.experiment, kind
            if key not in known:
                known[key] = statistics(run, one.function)
            result.append(_compared(one, run, known[key]))
    return result


def _compared(cell: Cell, run: Measured, found: Statistics) -> Comparison:
    measured = measure(found, cell, len(run.run["folds"]))
    changes = [*run.run["changes"], *_incomplete(run)]
    flags = sorted({flag for trial in run.trials for flag in trial["flags"]})
    comparable = not changes and not any(flag.startswith(("partial", "bad audio")) for flag in flags)
    if not comparable:
        said = "scaled run"
    elif math.isnan(cell.value):
        said = "not reported"
    else:
        said = verdict(measured.value, measured.low, measured.high, cell.value, cell.places)
    difference = measured.value - cell.value if comparable else math.nan
    audit = audit_in_words(run.trials)
    return Comparison(cell, said, measured, run.run["corpus"], difference, tuple(changes), tuple(flags), audit)


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
