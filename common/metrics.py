"""Metrics over whole vectors of predictions, and their confidence intervals clustered by speaker.

WA (weighted accuracy) is the share of right answers; UA (unweighted accuracy) is the mean of the classes' recalls.
Classes are always given, never inferred from predictions; a class that does not occur in the truth has no recall and is
left out of the mean (on EMODB, speaker 08 recorded no disgust). CCC is the concordance correlation coefficient of a
continuous label. Nothing here is averaged over batches but `ccc_batches`, which is there to be held against a paper
that did so.

Every metric is a function of statistics that add up over utterances: a confusion matrix, or the moments of truth and
prediction. So folds pool and speakers are resampled by adding, whatever the metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def confusion_of_votes(truth: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Counts of (true class, voted class) where an utterance votes more than once: one vote for each of its chunks.

    Args:
        truth: int class numbers, shape (n,).
        votes: how many of an utterance's chunks were taken for each class, shape (n, classes).
    """
    classes = votes.shape[1]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, truth, votes.astype(np.int64))
    return counts


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


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, float64, along the last axis."""
    logits = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


METRICS = {"wa": wa, "ua": ua}
"""Metrics of a classification by the name that reported cells use."""


def ccc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Concordance correlation coefficient (Lin 1989) of two vectors, in [-1, 1].

    2 cov(t, p) / (var t + var p + (mean t - mean p)^2), with population moments. A constant truth or prediction agrees
    with nothing, 0; two equal constants have no concordance to speak of, NaN; so has an empty vector.

    Raises:
        ValueError: the vectors differ in length.
    """
    truth, prediction = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise ValueError(f"truth and prediction must be vectors of one length, not {truth.shape}, {prediction.shape}.")
    return float(ccc_of(moments(truth[:, None], prediction[:, None])))


def ccc_batches(truth: np.ndarray, prediction: np.ndarray, size: int = 32) -> float:
    """The mean of one CCC a batch of consecutive utterances; not the CCC of the vector.

    What `model.evaluate` of Keras gives for a CCC written as a metric function, and so what some papers report. It
    depends on the order of the utterances, and is lower than `ccc` where labels vary more between batches than within.

    Args:
        truth: shape (n,), in file order.
        prediction: shape (n,).
        size: utterances a batch; the last one may be smaller. Batches weigh alike; those without a CCC are left out.
    """
    values = [
        ccc(truth[start : start + size], prediction[start : start + size]) for start in range(0, len(truth), size)
    ]
    values = [value for value in values if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def moments(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """What a CCC needs of each dimension, and what adds up: n and the sums of t, p, t^2, p^2 and t p.

    Args:
        truth: shape (n, dimensions).
        prediction: shape (n, dimensions).

    Returns:
        float64, shape (dimensions, 6).
    """
    truth, prediction = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"truth and prediction must be matrices of one shape, not {truth.shape}, {prediction.shape}.")
    count = np.full(truth.shape[1], float(len(truth)))
    sums = [truth.sum(0), prediction.sum(0), (truth**2).sum(0), (prediction**2).sum(0), (truth * prediction).sum(0)]
    return np.stack([count, *sums], axis=1)


def ccc_of(statistics: np.ndarray, dimension: int | None = None) -> np.ndarray:
    """CCC from `moments`, shape (..., dimensions, 6) -> (...).

    Args:
        statistics: sums of moments.
        dimension: which one; None: the mean over dimensions.
    """
    statistics = np.asarray(statistics, dtype=np.float64)
    if dimension is not None:
        statistics = statistics[..., dimension : dimension + 1, :]
    count, t, p, tt, pp, tp = np.moveaxis(statistics, -1, 0)
    n = np.maximum(count, 1.0)
    mean_t, mean_p = t / n, p / n
    variance_t, variance_p = tt / n - mean_t**2, pp / n - mean_p**2
    covariance = tp / n - mean_t * mean_p
    below = variance_t + variance_p + (mean_t - mean_p) ** 2
    # Differences of sums leave a rounding residue where the exact value is zero.
    defined = (count > 0) & (below > 1e-12 * np.maximum(tt / n + pp / n, 1e-300))
    values = np.divide(2 * covariance, below, out=np.full(below.shape, np.nan), where=defined)
    return values.mean(-1)


def utterances_of(statistics: np.ndarray, metric: str | Callable) -> np.ndarray:
    """How many utterances went into statistics, shape (..., a, b) -> (...)."""
    return statistics.sum((-2, -1)) if metric in METRICS else statistics[..., 0, 0]


AGGREGATIONS = ("folds", "pooled")
"""How a run's folds become one number: the mean of the folds' metrics, or the metric of all predictions together."""


def aggregate(
    statistics: np.ndarray, metric: str | Callable, aggregation: str, *, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """One number a run from the statistics of its folds.

    Args:
        statistics: confusion matrices, shape (..., folds, classes, classes), or what `metric` takes.
        metric: key of `METRICS`, or a function of statistics that add up, such as `ccc_of`.
        aggregation: "folds" or "pooled".
        weights: of the folds in their mean, shape (..., folds); a bootstrap's, equal otherwise.

    Returns:
        shape (...), in [0, 1] for a classification.
    """
    function = METRICS.get(metric, metric) if isinstance(metric, str) else metric
    if aggregation == "pooled":
        return function(statistics.sum(-3))
    values = function(statistics)
    # A resample may leave a fold empty: the mean is over the folds that hold something.
    filled = ~np.isnan(values) * weights
    count = filled.sum(-1)
    total = (np.nan_to_num(values) * filled).sum(-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


CHUNK = 4_000_000
"""Numbers that a bootstrap holds at once."""


def clustered_interval(
    statistics: np.ndarray,
    metric: str | Callable,
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
    present = utterances_of(statistics, metric) > 0
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
