"""Metrics over whole vectors of predictions, and the registry that cells, yardsticks and reports read.

WA (weighted accuracy) is the share of correct answers; UA (unweighted accuracy) is the mean of the classes' recalls.
Classes are always given, never inferred from predictions. A class that does not occur in the truth has no recall and
is left out of means over classes (EMODB's speaker 08 recorded no disgust). CCC is the concordance correlation
coefficient of a continuous label. Only `ccc_batches` averages over batches; it exists so that a result can be compared
with papers that did so.

Every metric is a function of statistics that add up over utterances: a confusion matrix, or moments of truth and
prediction. So folds are pooled and speakers are left out by adding, whatever the metric (see `common.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Counts of (true class, predicted class).

    Args:
        truth: class numbers, int, shape (n,).
        prediction: class numbers, int, shape (n,).
        classes: number of classes.

    Returns:
        int64, shape (classes, classes).

    Raises:
        ValueError: The lengths differ, or a number lies outside 0 ... classes - 1.
    """
    truth, prediction = np.asarray(truth, dtype=np.int64), np.asarray(prediction, dtype=np.int64)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise ValueError(f"truth and prediction must be vectors of one length, not {truth.shape}, {prediction.shape}.")
    for values in (truth, prediction):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"class numbers must lie in 0 ... {classes - 1}.")
    return np.bincount(truth * classes + prediction, minlength=classes * classes).reshape(classes, classes)


def confusion_of_scores(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Counts of (true class, class with the highest score).

    Args:
        truth: class numbers, int, shape (n,).
        scores: probabilities or other scores, shape (n, classes).
    """
    return confusion(truth, scores.argmax(axis=1), scores.shape[1])


def confusion_of_chunks(truth: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Counts of (true class, predicted class) over chunks, where each utterance is cut into several.

    Args:
        truth: class numbers of the utterances, int, shape (n,).
        votes: how many of an utterance's chunks were predicted as each class, shape (n, classes).
    """
    counts = np.zeros((votes.shape[1], votes.shape[1]), dtype=np.int64)
    np.add.at(counts, truth, votes.astype(np.int64))
    return counts


def wa(confusions: np.ndarray) -> np.ndarray:
    """Weighted accuracy of confusion matrices, shape (..., classes, classes) -> (...); NaN for an empty one."""
    confusions = np.asarray(confusions, dtype=np.float64)
    return _ratio(np.trace(confusions, axis1=-2, axis2=-1), confusions.sum((-2, -1)))


def ua(confusions: np.ndarray) -> np.ndarray:
    """Unweighted accuracy of confusion matrices, shape (..., classes, classes) -> (...); NaN for an empty one."""
    confusions = np.asarray(confusions, dtype=np.float64)
    support = confusions.sum(-1)
    recall = _ratio(np.diagonal(confusions, axis1=-2, axis2=-1), support, empty=0.0)
    return _ratio(recall.sum(-1), (support > 0).sum(-1))


def macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Mean of the classes' F1 scores, shape (..., classes, classes) -> (...); NaN for an empty matrix.

    F1 is 2 TP / (2 TP + FP + FN). As in `ua`, the mean is over the classes that occur in the truth.
    """
    scores, support = _f1(confusions)
    present = support > 0
    return _ratio(np.where(present, scores, 0.0).sum(-1), present.sum(-1))


def weighted_f1(confusions: np.ndarray) -> np.ndarray:
    """Mean of the classes' F1 scores weighted by their counts in the truth; shapes as for `macro_f1`."""
    scores, support = _f1(confusions)
    return _ratio((scores * support).sum(-1), support.sum(-1))


def _f1(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F1 of each class (0 where it is undefined) and the class's count in the truth, both shape (..., classes)."""
    confusions = np.asarray(confusions, dtype=np.float64)
    support = confusions.sum(-1)
    correct = np.diagonal(confusions, axis1=-2, axis2=-1)
    return _ratio(2 * correct, support + confusions.sum(-2), empty=0.0), support


def _ratio(above: np.ndarray, below: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """`above / below`, and `empty` where `below` is 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(below.shape, empty), where=below > 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits along the last axis, float64."""
    logits = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def ccc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Concordance correlation coefficient (Lin 1989) of two vectors, in [-1, 1].

    2 cov(t, p) / (var t + var p + (mean t - mean p)^2), with population moments. It is 0 if truth or prediction is
    constant, and NaN if both are the same constant or if the vectors are empty.

    Raises:
        ValueError: The vectors differ in length.
    """
    truth, prediction = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise ValueError(f"truth and prediction must be vectors of one length, not {truth.shape}, {prediction.shape}.")
    return float(ccc_of(moments(truth[:, None], prediction[:, None]))[0])


def ccc_batches(truth: np.ndarray, prediction: np.ndarray, size: int = 32) -> float:
    """Mean over utterances of the CCC of their batch of consecutive utterances, not the CCC of the whole vector.

    This is what `model.evaluate` of Keras gives for a CCC written as a metric function, and so what some papers
    report. It depends on the order of the utterances, and it is lower than `ccc` where labels vary more between
    batches than within them.

    Args:
        truth: shape (n,), in file order.
        prediction: shape (n,).
        size: utterances per batch; the last batch may be smaller, and then counts less, as in Keras. Batches without
            a defined CCC are left out.
    """
    batches = [(truth[start : start + size], prediction[start : start + size]) for start in range(0, len(truth), size)]
    values = np.array([ccc(*batch) for batch in batches])
    sizes = np.array([len(batch[0]) for batch in batches]) * ~np.isnan(values)
    return float(np.nan_to_num(values) @ sizes / sizes.sum()) if sizes.any() else float("nan")


def moments(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Sums from which a CCC is computed, for each dimension: n, and the sums of t, p, t^2, p^2 and t p.

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


def ccc_of(sums: np.ndarray) -> np.ndarray:
    """CCC of each dimension from `moments`, shape (..., 6) -> (...); NaN where it is undefined."""
    count, t, p, tt, pp, tp = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    n = np.maximum(count, 1.0)
    mean_t, mean_p = t / n, p / n
    variance_t, variance_p = tt / n - mean_t**2, pp / n - mean_p**2
    covariance = tp / n - mean_t * mean_p
    below = variance_t + variance_p + (mean_t - mean_p) ** 2
    # Differences of sums leave a rounding residue where the exact value is zero.
    defined = (count > 0) & (below > 1e-12 * np.maximum(tt / n + pp / n, 1e-300))
    return np.divide(2 * covariance, below, out=np.full(below.shape, np.nan), where=defined)


@dataclass(frozen=True)
class Statistic:
    """Sums over utterances from which metrics are computed.

    Attributes:
        task: kind of experiment that has it.
        columns: how the columns of predictions that it reads begin; a class's or a dimension's name follows.
        of: function of truth (class numbers, or values of shape (n, dimensions)) and those columns (n, columns);
            returns a matrix that adds up over utterances.
        batch: utterances per batch if folds are cut into batches, in file order; 0: whole folds.
    """

    task: Literal["classification", "regression"]
    columns: str
    of: Callable[[np.ndarray, np.ndarray], np.ndarray]
    batch: int = 0

    def utterances(self, sums: np.ndarray) -> np.ndarray:
        """How many utterances (or chunks) went into sums, shape (..., a, b) -> (...)."""
        return sums.sum((-2, -1)) if self.task == "classification" else sums[..., 0, 0]


STATISTICS = {
    "confusions": Statistic("classification", "p_", confusion_of_scores),
    "chunk confusions": Statistic("classification", "chunks_", confusion_of_chunks),
    "ccc": Statistic("regression", "predicted_", moments),
    "ccc_batch32": Statistic("regression", "predicted_", moments, batch=32),
}
"""All statistics, by the names under which yardsticks are kept on disk."""


@dataclass(frozen=True)
class Metric:
    """One metric: everything that reported cells, yardsticks and reports need to know about it.

    Attributes:
        title: heading in tables.
        statistic: what it is computed from, a key of `STATISTICS`.
        of: function of those sums: a confusion matrix (..., classes, classes) -> (...), or moments
            (..., dimensions, 6) -> (..., dimensions).
        scale: factor from the value to what is printed, 100 for percent.
        digits: digits after the decimal point that papers print.
        bounds: lowest and highest value, before scaling.
        margin: difference between paper and re-run that does not matter, after scaling.
        always: reports show it for every run of its task, also where the paper does not report it.
    """

    title: str
    statistic: str
    of: Callable[[np.ndarray], np.ndarray]
    scale: float = 100.0
    digits: int = 2
    bounds: tuple[float, float] = (0.0, 1.0)
    margin: float = 2.0
    always: bool = False

    @property
    def task(self) -> str:
        """Kind of experiment that it measures: "classification" or "regression"."""
        return STATISTICS[self.statistic].task

    def function(self, label: str = "mean", dimensions: Sequence[str] = ()) -> Callable[[np.ndarray], np.ndarray]:
        """The metric as a function of one fold's statistics, shape (..., a, b) -> (...).

        Args:
            label: for a regression, one of `dimensions`, or "mean" for the mean over all of them.
            dimensions: names along the statistics' dimensions.

        Raises:
            ValueError: There is no such dimension.
        """
        if self.task == "classification":
            return self.of
        if label == "mean":
            return lambda sums: self.of(sums).mean(-1)
        place = list(dimensions).index(label)
        return lambda sums: self.of(sums[..., place, :])


METRICS = {
    "wa": Metric("WA", "confusions", wa),
    "ua": Metric("UA", "confusions", ua),
    "macro_f1": Metric("macro F1", "confusions", macro_f1, always=True),
    "weighted_f1": Metric("weighted F1", "confusions", weighted_f1, always=True),
    "wa_chunks": Metric("WA, chunks", "chunk confusions", wa),
    "ua_chunks": Metric("UA, chunks", "chunk confusions", ua),
    "ccc": Metric("CCC", "ccc", ccc_of, scale=1.0, digits=3, bounds=(-1.0, 1.0), margin=0.02),
    "ccc_batch32": Metric(
        "CCC, batches of 32", "ccc_batch32", ccc_of, scale=1.0, digits=3, bounds=(-1.0, 1.0), margin=0.02
    ),
}
"""Every metric that a reported cell can name. An entry here is all that a new metric needs."""
