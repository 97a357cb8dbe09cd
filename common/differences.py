"""Is one method better than another? Paired differences of a metric on the same test utterances.

Both methods are run on the same folds with the same seeds. A *pair* holds the statistics of both (see
`common.metrics`), and a claim over several pairs is about the mean of their differences, d. Its interval is
d +- t(f, .975) e, with one of three standard errors e:

**Over speakers** (`over_speakers`). Two things make d differ from what other speakers and other seeds would give: the
speakers, each with all utterances, and the trained models, each with all utterances that it predicts. So the variance
is clustered in both ways (Cameron, Gelbach and Miller 2011, Eq. 2.7)::

    e^2 = V(speakers) + max(0, V(trials) - V(speakers within trials)),
    V(clusters) = (G - 1) / G * sum_g (d_g - mean_g d_g)^2

where d_g is d without cluster g of G in both methods (delete-one jackknife, Efron and Stein 1981), and a trial is one
fold with one seed. If each trial tests one speaker the second term is zero and e is that of `common.intervals`. The
degrees of freedom are the number of speakers - 1 or, if the second term counts and there are fewer trials than
speakers, the number of trials - 1. What both methods share (hard speakers, hard folds) cancels out.

**Over seeds** (`over_repeats`), for a fixed test set or few speakers: V(repeats), so that the interval is that of
Student's paired t-test of one value per seed. It says nothing about other speakers.

**Over trials** (`over_trials`), for costs: the same for values that each trial has, such as seconds.

Differences on several corpora are independent: their mean has the weighted sum of the variances, and Satterthwaite's
degrees of freedom (`combined`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.intervals import student_t


@dataclass(frozen=True)
class Pair:
    """Statistics of two methods on the same trials and speakers.

    Attributes:
        first: of the one method by repeat, fold and speaker, shape (repeats, folds, speakers, a, b).
        second: of the other one.
        metric: function of statistics, shape (..., a, b) -> (...).
        aggregation: see `common.intervals.aggregate`.
        repeats: names along the first axis.
        folds: names along the second axis; parts of one fold have the same name.
        speakers: names along the third axis.
    """

    first: np.ndarray
    second: np.ndarray
    metric: Callable[[np.ndarray], np.ndarray]
    aggregation: str
    repeats: tuple[Hashable, ...]
    folds: tuple[Hashable, ...]
    speakers: tuple[Hashable, ...]

    @property
    def one_speaker_per_trial(self) -> bool:
        """True if no trained model is tested by several speakers."""
        return bool(((self.first != 0).any((-2, -1)).sum(-1) <= 1).all())

    def without_each(self, name: Callable[[Hashable, Hashable, Hashable], Hashable]) -> tuple[float, dict]:
        """The difference with all test utterances, and without those of each cluster.

        Args:
            name: names the cluster of a repeat, a fold and a speaker.

        Returns:
            The difference, and those without a cluster by the name of the cluster.
        """
        present = (self.first != 0).any((-2, -1))
        places = np.nonzero(present)
        clusters: dict[Hashable, int] = {}
        axes = self.repeats, self.folds, self.speakers
        cluster = np.array(
            [
                clusters.setdefault(name(*(names[at] for names, at in zip(axes, place, strict=True))), len(clusters))
                for place in zip(*places, strict=True)
            ]
        )
        # A metric is computed of each fold or, if folds are pooled, of each repeat. What is left out takes its share
        # of weight along: a speaker is one part of the trials that test it.
        folds = len(self.folds)
        unit = places[0] if self.aggregation == "pooled" else places[0] * folds + places[1]
        weight = (1 / np.maximum(present.sum(-1), 1))[places[:2]]
        if self.aggregation == "batches":
            weight = self.first[places][:, 0, 0]
        found = [
            _means_without(statistics[places].astype(np.float64), self.metric, unit, weight, cluster)
            for statistics in (self.first, self.second)
        ]
        everything, *without = found[0] - found[1]
        return float(everything), dict(zip(clusters, map(float, without), strict=True))


def _means_without(
    cells: np.ndarray,
    metric: Callable[[np.ndarray], np.ndarray],
    unit: np.ndarray,
    weight: np.ndarray,
    cluster: np.ndarray,
) -> np.ndarray:
    """Weighted mean of a metric over units, with all cells and then without those of each cluster.

    Args:
        cells: statistics, shape (cells, a, b).
        metric: function of a unit's sum of cells.
        unit: number of each cell's unit.
        weight: weight of each cell; a unit weighs as much as its cells.
        cluster: number of each cell's cluster.

    Returns:
        Shape (1 + clusters,).
    """
    units, unit = np.unique(unit, return_inverse=True)
    sums, weights = np.zeros((len(units), *cells.shape[1:])), np.zeros(len(units))
    np.add.at(sums, unit, cells)
    np.add.at(weights, unit, weight)
    # Only the units that a cluster has cells in change without it.
    changed, change = np.unique(cluster * len(units) + unit, return_inverse=True)
    of_cluster, of_unit = np.divmod(changed, len(units))
    left, left_weights = sums[of_unit], weights[of_unit]
    np.subtract.at(left, change, cells)
    np.subtract.at(left_weights, change, weight)
    left_weights[left_weights < 1e-9] = 0.0  # nothing is left but rounding errors
    values, weights = _defined(metric(sums), weights)
    left_values, left_weights = _defined(metric(left), left_weights)
    count = cluster.max() + 1
    total = (values * weights).sum() - np.bincount(of_cluster, values[of_unit] * weights[of_unit], count)
    share = weights.sum() - np.bincount(of_cluster, weights[of_unit], count)
    total += np.bincount(of_cluster, left_values * left_weights, count)
    share += np.bincount(of_cluster, left_weights, count)
    total = np.append((values * weights).sum(), total)
    share = np.append(weights.sum(), share)
    return np.divide(total, share, out=np.full(len(total), np.nan), where=share > 1e-9)


def _defined(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and weights in which what is undefined counts nothing."""
    undefined = np.isnan(values) | (weights == 0)
    return np.where(undefined, 0.0, values), np.where(undefined, 0.0, weights)


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences, and how well it is known.

    Attributes:
        value: first minus second.
        error: standard error; NaN if it is not known.
        freedom: degrees of freedom of `error`; infinite for what has no spread.
        over: what the error is over: "speakers", "seeds", "trials", both for several corpora ("speakers and seeds"),
            or "nothing" for what has no spread.
        units: how many of them there are.
    """

    value: float
    error: float
    freedom: float
    over: str
    units: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Both ends of the two-sided interval; NaN if no error is known."""
        if math.isnan(self.error):
            return math.nan, math.nan
        half = student_t((1 + level) / 2, self.freedom) * self.error if self.error else 0.0
        return self.value - half, self.value + half

    def scaled(self, factor: float) -> Difference:
        """The difference in another unit; a negative factor also changes its sign."""
        return Difference(factor * self.value, abs(factor) * self.error, self.freedom, self.over, self.units)

    def with_units(self, units: int) -> Difference:
        """What another number of speakers, seeds or trials would give if value and spread stayed as they are."""
        error = self.error * math.sqrt(self.units / units)
        return Difference(self.value, error, self.freedom + units - self.units, self.over, units)


def over_speakers(pairs: Sequence[Pair]) -> Difference:
    """Mean difference of pairs on one corpus, for other speakers and other seeds.

    A speaker's utterances are left out of all pairs at once, and so are all trials of one fold and repeat, because
    pairs may share a method.
    """
    value, variance, speakers = _jackknife(pairs, lambda repeat, fold, speaker: speaker)
    freedom = speakers - 1
    if not all(pair.one_speaker_per_trial for pair in pairs):
        _, of_trials, trials = _jackknife(pairs, lambda repeat, fold, speaker: (repeat, fold))
        _, of_both, _ = _jackknife(pairs, lambda repeat, fold, speaker: (repeat, fold, speaker))
        if not of_trials <= of_both:  # also if it is not known
            variance += of_trials - of_both
            freedom = min(freedom, trials - 1)
    return Difference(value, math.sqrt(variance), freedom, "speakers", speakers)


def over_repeats(pairs: Sequence[Pair]) -> Difference:
    """Mean difference of pairs on one corpus, on the same test utterances with other seeds."""
    value, variance, repeats = _jackknife(pairs, lambda repeat, fold, speaker: repeat)
    return Difference(value, math.sqrt(variance), repeats - 1, "seeds", repeats)


def over_trials(pairs: Sequence[tuple[Mapping[Hashable, float], Mapping[Hashable, float]]]) -> Difference:
    """Mean difference of values that trials have, such as seconds; Student's paired t over the trials.

    Args:
        pairs: of each pair, the values of both methods by fold and repeat.
    """
    as_arrays = []
    for first, second in pairs:
        names = sorted(set(first) & set(second))
        values = [np.array([one[name] for name in names], np.float64) for one in (first, second)]
        columns = [one[:, None, None, None, None] for one in values]
        ones = ("-",)
        as_arrays.append(Pair(*columns, lambda sums: sums[..., 0, 0], "folds", tuple(names), ones, ones))
    found = over_repeats(as_arrays)
    return Difference(found.value, found.error, found.freedom, "trials", found.units)


def combined(differences: Sequence[Difference], weights: Sequence[float]) -> Difference:
    """Weighted mean of independent differences.

    Args:
        differences: one per corpus.
        weights: for example the number of pairs of each corpus.
    """
    if len(differences) == 1:
        return differences[0]
    shares = np.asarray(weights, np.float64) / np.sum(weights)
    value = float(sum(share * one.value for share, one in zip(shares, differences, strict=True)))
    parts = [(share * one.error) ** 2 for share, one in zip(shares, differences, strict=True)]
    total = sum(parts)
    below = sum(part**2 / one.freedom for part, one in zip(parts, differences, strict=True) if one.freedom > 0)
    over = " and ".join(dict.fromkeys(one.over for one in differences))
    freedom = total**2 / below if below else math.inf
    return Difference(value, math.sqrt(total), freedom, over, sum(one.units for one in differences))


def _jackknife(
    pairs: Sequence[Pair], name: Callable[[Hashable, Hashable, Hashable], Hashable]
) -> tuple[float, float, int]:
    """The mean difference of pairs, its variance over clusters (NaN for a single one), and the number of clusters.

    A cluster is left out of all pairs at once; `name` is that of `Pair.without_each`.
    """
    found = [pair.without_each(name) for pair in pairs]
    clusters = list(dict.fromkeys(cluster for _, without in found for cluster in without))
    value = float(np.mean([everything for everything, _ in found]))
    if len(clusters) < 2:
        return value, math.nan, len(clusters)
    left = np.mean([[without.get(one, everything) for one in clusters] for everything, without in found], axis=0)
    squares = np.square(left - left.mean()).sum()
    return value, float((len(clusters) - 1) / len(clusters) * squares), len(clusters)
