"""Folds and repeats combined into one number, and confidence intervals clustered by speaker.

All functions here work on statistics that add up over utterances (confusion counts or moments, see `common.metrics`),
so that folds are pooled and speakers are left out by adding arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def aggregate(
    statistics: np.ndarray, metric: Callable, aggregation: str, *, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """Combines the folds of each run into one number.

    Args:
        statistics: what `metric` takes, with the folds along the third axis from the end, shape (..., folds, a, b).
        metric: function of statistics, shape (..., a, b) -> (...), for example `common.metrics.ua`.
        aggregation: "folds", "pooled", or "batches": the mean over folds that are batches of utterances, weighted by
            their sizes (of moments, whose first number is a count).
        weights: weights of the folds in their mean, shape (..., folds); "batches" has its own.

    Returns:
        Shape (...).
    """
    if aggregation == "pooled":
        return metric(statistics.sum(-3))
    values = metric(statistics)
    if aggregation == "batches":
        weights = statistics[..., 0, 0]
    # A fold may be empty without its only speaker; the mean is over the folds that are not.
    filled = ~np.isnan(values) * weights
    count = filled.sum(-1)
    total = (np.nan_to_num(values) * filled).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


FEWEST_SPEAKERS = 5
"""With fewer speakers no interval is given: the spread of two to four values says too little about new speakers."""


def speaker_interval(
    statistics: np.ndarray,
    metric: Callable,
    aggregation: str,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of the mean over runs that says how far it holds for new speakers.

    Utterances of one speaker are not independent, so whole speakers are left out, one at a time, with all their
    utterances in all runs and folds (delete-one-cluster jackknife, Efron and Stein 1981). With n speakers, the metric
    m and its values m_i without speaker i::

        s^2 = (n - 1) / n * sum_i (m_i - mean_i m_i)^2
        h(m) +- t(n - 1, (1 + level) / 2) * h'(m) * s,   h(m) = log((m - low) / (high - m))

    and the ends are transformed back by the inverse of h, which keeps them within the metric's bounds (for a
    correlation, h is twice Fisher's z). Quantiles of Student's t, instead of a bootstrap's, keep the coverage for few
    speakers: 93 to 97 % for 5 to 24 of them (`python -m benchmarks coverage`).

    In a mean over folds, a fold loses weight with each of its speakers that is left out.

    Args:
        statistics: by run, fold and speaker, shape (runs, folds, speakers, a, b).
        metric: see `aggregate`.
        aggregation: see `aggregate`.
        bounds: lowest and highest value that the metric can have.
        level: coverage.

    Returns:
        Lower and upper end. NaN for fewer than `FEWEST_SPEAKERS`, and for a metric at one of its bounds, where all
        speakers are alike and nothing can be said about others.
    """
    speakers = statistics.shape[2]
    if speakers < FEWEST_SPEAKERS:
        return math.nan, math.nan
    value, *without_one = _without_each_speaker(statistics, metric, aggregation)
    low, high = bounds
    if not low < value < high:
        return math.nan, math.nan
    width = _half_width(without_one, level) * (high - low) / ((value - low) * (high - value))
    middle = math.log((value - low) / (high - value))
    lower, upper = (low + (high - low) * (1 + math.tanh((middle + sign * width) / 2)) / 2 for sign in (-1, 1))
    return lower, upper


def _without_each_speaker(statistics: np.ndarray, metric: Callable, aggregation: str) -> np.ndarray:
    """The mean over runs of a metric with all speakers, and then without each of them, shape (1 + speakers,)."""
    runs, folds, speakers, rows, columns = statistics.shape
    kept = np.vstack([np.ones(speakers), 1 - np.eye(speakers)])
    by_speaker = statistics.transpose(2, 0, 1, 3, 4).reshape(speakers, -1).astype(np.float64)
    present = (statistics != 0).any((-2, -1))
    share = present / np.maximum(present.sum(-1, keepdims=True), 1)
    sums = (kept @ by_speaker).reshape(len(kept), runs, folds, rows, columns)
    return aggregate(sums, metric, aggregation, weights=np.tensordot(kept, share, (1, 2))).mean(axis=1)


def _half_width(without_one: Sequence[float], level: float) -> float:
    """Quantile of Student's t times the jackknife's standard error."""
    speakers = len(without_one)
    squares = np.square(np.asarray(without_one) - np.mean(without_one)).sum()
    return student_t((1 + level) / 2, speakers - 1) * math.sqrt((speakers - 1) / speakers * squares)


def student_t(quantile: float, freedom: float) -> float:
    """Quantile of Student's t distribution; of the normal distribution for infinite degrees of freedom."""
    from scipy.special import stdtrit  # when it is needed: listing experiments must stay quick

    return float(stdtrit(min(freedom, 1e9), quantile))


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
