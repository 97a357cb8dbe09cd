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

from common.intervals import aggregate, student_t


@dataclass(frozen=True)
class Pair:
    """Statistics of two methods on the same trials and speakers.

    Attributes:
        first: of the one method by repeat, fold and speaker, shape (repeats, folds, speakers, a, b).
        second: of the other one.
        metric: function of statistics, shape (..., a, b) -> (...).
        aggregation: "folds" or "pooled", see `common.intervals.aggregate`.
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
    def present(self) -> np.ndarray:
        """Which speakers each trial tests, bool, shape (repeats, folds, speakers)."""
        return (self.first != 0).any((-2, -1))

    def difference(self, kept: np.ndarray) -> np.ndarray:
        """The metric of the first method minus that of the second one.

        Args:
            kept: which speakers of which trials are used, 0 or 1, shape (..., repeats, folds, speakers).

        Returns:
            Shape (...).
        """
        present = self.present
        weights = (kept * (present / np.maximum(present.sum(-1, keepdims=True), 1))).sum(-1)
        values = []
        for statistics in (self.first, self.second):
            sums = np.einsum("...rfs,rfsab->...rfab", kept, statistics.astype(np.float64))
            of_repeats = aggregate(sums, self.metric, self.aggregation, weights=weights)
            # A repeat loses weight with what is left out of it.
            used = np.where(np.isnan(of_repeats), 0.0, weights.sum(-1))
            total = used.sum(-1)
            sum_ = (np.nan_to_num(of_repeats) * used).sum(-1)
            values.append(np.divide(sum_, total, out=np.full(total.shape, np.nan), where=total > 0))
        return values[0] - values[1]


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
    speakers = _clusters(pairs, lambda repeat, fold, speaker: speaker)
    trials = _clusters(pairs, lambda repeat, fold, speaker: (repeat, fold))
    value, variance = _jackknife(pairs, speakers)
    units, freedom = len(speakers), len(speakers) - 1
    if not all((pair.present.sum(-1) <= 1).all() for pair in pairs):
        cells = _clusters(pairs, lambda repeat, fold, speaker: (repeat, fold, speaker))
        of_models = _jackknife(pairs, trials)[1] - _jackknife(pairs, cells)[1]
        if not of_models <= 0:  # also if it is NaN
            variance += of_models
            freedom = min(freedom, len(trials) - 1)
    return Difference(value, math.sqrt(variance), freedom, "speakers", units)


def over_repeats(pairs: Sequence[Pair]) -> Difference:
    """Mean difference of pairs on one corpus, on the same test utterances with other seeds."""
    repeats = _clusters(pairs, lambda repeat, fold, speaker: repeat)
    value, variance = _jackknife(pairs, repeats)
    return Difference(value, math.sqrt(variance), len(repeats) - 1, "seeds", len(repeats))


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


def _clusters(pairs: Sequence[Pair], name: Callable[[Hashable, Hashable, Hashable], Hashable]) -> list[list]:
    """For each cluster of (repeat, fold, speaker), the places that it takes in each pair, bool arrays or None."""
    found: dict[Hashable, list] = {}
    for number, pair in enumerate(pairs):
        for place in zip(*np.nonzero(pair.present), strict=True):
            repeat, fold, speaker = (names[at] for names, at in zip(_axes(pair), place, strict=True))
            own = found.setdefault(name(repeat, fold, speaker), [None] * len(pairs))
            if own[number] is None:
                own[number] = np.zeros(pair.present.shape, bool)
            own[number][place] = True
    return list(found.values())


def _axes(pair: Pair) -> tuple[tuple[Hashable, ...], ...]:
    return pair.repeats, pair.folds, pair.speakers


def _jackknife(pairs: Sequence[Pair], clusters: Sequence[Sequence[np.ndarray | None]]) -> tuple[float, float]:
    """The mean difference of pairs and its variance over clusters; the variance is NaN for a single cluster."""
    total, without_one = 0.0, np.zeros(len(clusters))
    for number, pair in enumerate(pairs):
        everything = float(pair.difference(pair.present.astype(np.float64)))
        touched = [place for place, cluster in enumerate(clusters) if cluster[number] is not None]
        left = np.full(len(clusters), everything)
        kept = pair.present & ~np.stack([clusters[place][number] for place in touched])
        left[touched] = pair.difference(kept.astype(np.float64))
        total += everything / len(pairs)
        without_one += left / len(pairs)
    if len(clusters) < 2:
        return total, math.nan
    squares = np.square(without_one - without_one.mean()).sum()
    return total, float((len(clusters) - 1) / len(clusters) * squares)
