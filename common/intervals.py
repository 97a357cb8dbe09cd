"""Folds and repeats combined into one number, and confidence intervals clustered by speaker.

All functions here work on statistics that add up over utterances (confusion counts or moments, see `common.metrics`),
so that folds are pooled and speakers are resampled by adding arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

AGGREGATIONS = ("folds", "pooled")
"""How folds become one number: the mean of the folds' metrics, or the metric of all predictions pooled."""


def aggregate(
    statistics: np.ndarray, metric: Callable, aggregation: str, *, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Combines the folds of each run into one number.

    Args:
        statistics: what `metric` takes, with the folds along the third axis from the end, shape (..., folds, a, b).
        metric: function of statistics, shape (..., a, b) -> (...), for example `common.metrics.ua`.
        aggregation: "folds" or "pooled".
        weights: weights of the folds in their mean, shape (..., folds), as a bootstrap draws them.

    Returns:
        Shape (...).
    """
    if aggregation == "pooled":
        return metric(statistics.sum(-3))
    values = metric(statistics)
    # A resample may leave a fold empty; the mean is over the folds that are not.
    filled = ~np.isnan(values) * weights
    count = filled.sum(-1)
    total = (np.nan_to_num(values) * filled).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


CHUNK = 4_000_000
"""Numbers that a bootstrap holds at once."""


def clustered_interval(
    statistics: np.ndarray,
    metric: Callable,
    aggregation: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over runs, resampling whole speakers.

    Utterances of one speaker are not independent, so speakers are drawn, with replacement, and each brings all of its
    utterances in all runs and folds. In a mean over folds, a fold weighs as often as its speakers were drawn on
    average: with one speaker a fold, a speaker drawn twice must count twice, or the interval is a quarter too narrow.

    Args:
        statistics: by run, fold and speaker, shape (runs, folds, speakers, a, b).
        metric: see `aggregate`.
        aggregation: "folds" or "pooled".
        level: coverage.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end; NaN for fewer than two speakers, of whom nothing can be said.
    """
    runs, folds, speakers, rows, columns = statistics.shape
    if speakers < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    # Two speakers can be drawn in three ways only: each way is worked out once.
    draws, way = np.unique(draws, axis=0, return_inverse=True)
    by_speaker = statistics.transpose(2, 0, 1, 3, 4).reshape(speakers, -1).astype(np.float64)
    present = (statistics != 0).any((-2, -1))
    share = present / np.maximum(present.sum(-1, keepdims=True), 1)
    means = []
    for chosen in np.array_split(draws, -(-len(draws) * by_speaker.shape[1] // CHUNK)):
        resampled = (chosen @ by_speaker).reshape(len(chosen), runs, folds, rows, columns)
        weights = np.tensordot(chosen, share, (1, 2))
        means.append(np.nanmean(aggregate(resampled, metric, aggregation, weights=weights), axis=1))
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.concatenate(means)[way.ravel()], [tail, 1 - tail])
    return float(low), float(high)


def by_run_fold_speaker(
    truth: Sequence[np.ndarray],
    prediction: Sequence[np.ndarray],
    speaker: Sequence[np.ndarray],
    run: Sequence[int],
    fold: Sequence[str],
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Statistics by run, fold and speaker from trials.

    Args:
        truth: class numbers (n,) or values (n, dimensions), one array a trial.
        prediction: the same of the predictions.
        speaker: speakers, one vector a trial.
        run: each trial's run.
        fold: each trial's fold.
        statistic: of truth and prediction, a matrix that adds up over utterances (`confusion`, `moments`).

    Returns:
        shape (runs, folds, speakers, a, b); zero where no trial was.
    """
    runs, folds = sorted(set(run)), sorted(set(fold))
    speakers = sorted({name for names in speaker for name in np.unique(names)})
    run_of, fold_of, speaker_of = ({name: n for n, name in enumerate(names)} for names in (runs, folds, speakers))
    result = None
    for t, p, s, r, f in zip(truth, prediction, speaker, run, fold, strict=True):
        for name in np.unique(s):
            chosen = s == name
            found = statistic(t[chosen], p[chosen])
            if result is None:
                result = np.zeros((len(runs), len(folds), len(speakers), *found.shape), found.dtype)
            result[run_of[r], fold_of[f], speaker_of[name]] += found
    return result
