"""From a run's predictions to metrics with confidence intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from common.intervals import aggregate, by_run_fold_speaker, speaker_interval
from common.metrics import STATISTICS, Metric
from common.results import Cell, Measurement, RunResults


@dataclass(frozen=True)
class FoldStatistics:
    """What a run's metrics are computed from: sums by repeat, fold and speaker.

    Attributes:
        sums: confusion counts or moments (see `common.metrics.STATISTICS`), shape (repeats, folds, speakers, a, b).
        folds: names of the folds along the second axis; batches cut from a fold are called "FOLD#NUMBER".
        dimensions: of a regression.
        repeats: the repeats along the first axis; empty for a yardstick, which has one without a number.
        speakers: names of the speakers along the third axis; empty for a yardstick.
    """

    sums: np.ndarray
    folds: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    speakers: tuple[str, ...] = ()

    def on(self, folds: Iterable[str]) -> FoldStatistics:
        """The statistics of some folds only, and of the speakers that are tested there."""
        wanted = set(folds)
        kept = [number for number, fold in enumerate(self.folds) if fold.split("#")[0] in wanted]
        sums = self.sums[:, kept]
        filled = (sums != 0).any((0, 1, 3, 4))
        return dataclasses.replace(
            self,
            sums=sums[:, :, filled],
            folds=tuple(self.folds[number] for number in kept),
            speakers=tuple(name for name, used in zip(self.speakers, filled, strict=False) if used),
        )


def statistics_of_run(results: RunResults, statistic: str) -> FoldStatistics:
    """Computes one kind of statistics from a run's predictions.

    Only repeats that have all the folds of the fullest repeat are used: a half-finished repeat would mix folds of
    different difficulty into the mean.

    Args:
        results: the run.
        statistic: key of `common.metrics.STATISTICS`.
    """
    folds_of: dict[int, set[str]] = {}
    for trial in results.trials:
        folds_of.setdefault(trial["repeat"], set()).add(trial["fold"])
    fullest = max(folds_of.values(), key=len)
    kept = [
        (trial, table)
        for trial, table in zip(results.trials, results.predictions, strict=True)
        if folds_of[trial["repeat"]] == fullest
    ]
    classes, dimensions = results.run.get("classes", []), results.run.get("dimensions", [])
    number = {name: index for index, name in enumerate(classes)}
    columns = [f"{STATISTICS[statistic].columns}{name}" for name in classes or dimensions]
    truth = [
        table["label"].map(number).to_numpy(np.int64) if classes else table[list(dimensions)].to_numpy(np.float64)
        for _, table in kept
    ]
    return statistics_of(
        statistic,
        truth,
        [table[columns].to_numpy() for _, table in kept],
        [table["speaker"].to_numpy(str) for _, table in kept],
        [trial["repeat"] for trial, _ in kept],
        [trial["fold"] for trial, _ in kept],
        dimensions,
    )


def statistics_of(
    statistic: str,
    truth: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    speakers: Sequence[np.ndarray],
    repeats: Sequence[int],
    folds: Sequence[str],
    dimensions: Sequence[str] = (),
) -> FoldStatistics:
    """Computes one kind of statistics from the predictions of some trials.

    Args:
        statistic: key of `common.metrics.STATISTICS`.
        truth: of each trial, class numbers (n,) or values (n, dimensions).
        predictions: of each trial, scores (n, classes) or values (n, dimensions).
        speakers: of each trial, the utterances' speakers (n,).
        repeats: each trial's repeat.
        folds: each trial's fold.
        dimensions: of a regression.
    """
    kind = STATISTICS[statistic]
    trials = list(zip(truth, predictions, speakers, repeats, folds, strict=True))
    if kind.batch:
        size = kind.batch
        trials = [
            (t[start : start + size], p[start : start + size], s[start : start + size], repeat, f"{fold}#{start:06d}")
            for t, p, s, repeat, fold in trials
            for start in range(0, len(t), size)
        ]
    sums = by_run_fold_speaker(*zip(*trials, strict=True), kind.of)
    return FoldStatistics(
        sums,
        tuple(sorted({fold for *_, fold in trials})),
        tuple(dimensions),
        tuple(sorted(set(repeats))),
        tuple(sorted({str(name) for names in speakers for name in names})),
    )


def function_of(
    metric: Metric, labels: str, aggregation: str, dimensions: Sequence[str]
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What turns statistics into a metric: a function, and the aggregation for `common.intervals.aggregate`.

    Args:
        metric: an entry of `common.metrics.METRICS`.
        labels: for a regression, a dimension or "mean".
        aggregation: as a metric's id names it.
        dimensions: of the regression.

    Raises:
        ValueError: There is no such dimension.
    """
    # The batches of a fold stand where folds stand: their weighted mean is what the paper's toolkit printed.
    batches = STATISTICS[metric.statistic].batch > 0
    return metric.function(labels, dimensions), "batches" if batches else aggregation


def measure(found: FoldStatistics, cell: Cell, of_folds: int) -> Measurement:
    """Computes a cell's metric with its interval.

    Args:
        found: the statistics that the metric needs.
        cell: names the metric.
        of_folds: how many folds the protocol has.

    Raises:
        UserError: The cell asks for a dimension that the experiment does not predict.
    """
    metric = cell.registered
    try:
        function, aggregation = function_of(metric, cell.labels, cell.aggregation, found.dimensions)
    except ValueError:
        raise UserError(
            f"The cell {cell.cell} measures {cell.labels}, which {cell.experiment} does not predict."
        ) from None
    kind = STATISTICS[metric.statistic]
    by_repeat = metric.scale * aggregate(found.sums.sum(axis=2), function, aggregation)
    low, high = speaker_interval(found.sums, function, aggregation, bounds=metric.bounds)
    repeats, _, speakers = found.sums.shape[:3]
    return Measurement(
        value=float(by_repeat.mean()),
        std=float(by_repeat.std(ddof=1)) if repeats > 1 else math.nan,
        low=metric.scale * low,
        high=metric.scale * high,
        repeats=repeats,
        folds=len({fold.split("#")[0] for fold in found.folds}),
        of_folds=of_folds,
        utterances=int(kind.utterances(found.sums[0]).sum()),
        speakers=speakers,
        digits=metric.digits,
        by_repeat=tuple(by_repeat.tolist()),
    )
