"""Metrics over whole vectors of predictions, and their confidence intervals clustered by speaker.

Nothing here is averaged over batches. WA (weighted accuracy) is the share of right answers; UA (unweighted accuracy) is
the mean of the classes' recalls. Classes are always given, never inferred from predictions; a class that does not occur
in the truth has no recall and is left out of the mean (on EMODB, speaker 08 recorded no disgust).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true class, predicted class), shape (classes, classes).

    Args:
        truth: int class numbers, shape (n,).
        prediction: int class numbers, shape (n,).
        classes: how many classes there are.

    Raises:
        ValueError: lengths differ or a number is outside 0 ... classes - 1.
    """
    truth, prediction = np.asarray(truth, dtype=np.int64), np.asarray(prediction, dtype=np.int64)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise ValueError(f"truth and prediction must be vectors of one length, not {truth.shape}, {prediction.shape}.")
    for values in (truth, prediction):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"class numbers must lie in 0 ... {classes - 1}.")
    return np.bincount(truth * classes + prediction, minlength=classes * classes).reshape(classes, classes)


def wa(confusions: np.ndarray) -> np.ndarray:
    """Weighted accuracy of confusion matrices, shape (..., classes, classes) -> (...); NaN for an empty one."""
    confusions = np.asarray(confusions, dtype=np.float64)
    total = confusions.sum((-2, -1))
    right = np.trace(confusions, axis1=-2, axis2=-1)
    return np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0)


def ua(confusions: np.ndarray) -> np.ndarray:
    """Unweighted accuracy of confusion matrices, shape (..., classes, classes) -> (...); NaN for an empty one."""
    confusions = np.asarray(confusions, dtype=np.float64)
    support = confusions.sum(-1)
    present = support > 0
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    recall = np.divide(right, support, out=np.zeros_like(support), where=present)
    count = present.sum(-1)
    return np.divide(recall.sum(-1), count, out=np.full(count.shape, np.nan), where=count > 0)


METRICS = {"wa": wa, "ua": ua}
"""Metrics of a classification by the name that reported cells use."""

AGGREGATIONS = ("folds", "pooled")
"""How a run's folds become one number: the mean of the folds' metrics, or the metric of all predictions together."""


def aggregate(
    confusions: np.ndarray, metric: str, aggregation: str, *, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """One number a run from the confusion matrices of its folds.

    Args:
        confusions: shape (..., folds, classes, classes).
        metric: key of `METRICS`.
        aggregation: "folds" or "pooled".
        weights: of the folds in their mean, shape (..., folds); a bootstrap's, equal otherwise.

    Returns:
        shape (...), in [0, 1].
    """
    if aggregation == "pooled":
        return METRICS[metric](confusions.sum(-3))
    values = METRICS[metric](confusions)
    # A resample may leave a fold empty: the mean is over the folds that hold something.
    filled = ~np.isnan(values) * weights
    count = filled.sum(-1)
    total = (np.nan_to_num(values) * filled).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def clustered_interval(
    confusions: np.ndarray,
    metric: str,
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
        confusions: counts by run, fold and speaker, shape (runs, folds, speakers, classes, classes).
        metric: key of `METRICS`.
        aggregation: "folds" or "pooled".
        level: coverage.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end, in [0, 1]; NaN for fewer than two speakers, of whom nothing can be said.
    """
    runs, folds, speakers, classes, _ = confusions.shape
    if speakers < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    by_speaker = confusions.transpose(2, 0, 1, 3, 4).reshape(speakers, -1).astype(np.float64)
    resampled = (draws @ by_speaker).reshape(resamples, runs, folds, classes, classes)
    present = confusions.sum((-2, -1)) > 0
    share = present / np.maximum(present.sum(-1, keepdims=True), 1)
    weights = np.tensordot(draws, share, (1, 2))
    means = np.nanmean(aggregate(resampled, metric, aggregation, weights=weights), axis=1)
    tail = (1 - level) / 2
    low, high = np.nanquantile(means, [tail, 1 - tail])
    return float(low), float(high)


def by_run_fold_speaker(
    truth: Sequence[np.ndarray],
    prediction: Sequence[np.ndarray],
    speaker: Sequence[np.ndarray],
    run: Sequence[int],
    fold: Sequence[str],
    classes: int,
) -> np.ndarray:
    """Confusion counts by run, fold and speaker from trials.

    Args:
        truth: class numbers, one vector a trial.
        prediction: class numbers, one vector a trial.
        speaker: speakers, one vector a trial.
        run: each trial's run.
        fold: each trial's fold.
        classes: how many classes.

    Returns:
        int64 counts, shape (runs, folds, speakers, classes, classes); zero where no trial was.
    """
    runs, folds = sorted(set(run)), sorted(set(fold))
    speakers = sorted({name for names in speaker for name in np.unique(names)})
    counts = np.zeros((len(runs), len(folds), len(speakers), classes, classes), dtype=np.int64)
    for t, p, s, r, f in zip(truth, prediction, speaker, run, fold, strict=True):
        for name in np.unique(s):
            chosen = s == name
            place = runs.index(r), folds.index(f), speakers.index(name)
            counts[place] += confusion(t[chosen], p[chosen], classes)
    return counts
