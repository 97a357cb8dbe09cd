import functools

import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import accuracy_score

from common.intervals import aggregate, by_run_fold_speaker, speaker_interval
from common.metrics import METRICS, confusion, moments, ua, wa
from tests.helpers.concordance import literal_ccc, ratings


def test_folds_and_pooled_by_hand():
    # Fold 1: 1 of 1 right (class 0). Fold 2: class 0 1 of 2, class 1 3 of 6.
    folds = np.array([[[1, 0], [0, 0]], [[1, 1], [3, 3]]])
    assert float(aggregate(folds, wa, "folds")) == pytest.approx((1 + 4 / 8) / 2)
    assert float(aggregate(folds, wa, "pooled")) == pytest.approx(5 / 9)
    assert float(aggregate(folds, ua, "folds")) == pytest.approx((1 + 0.5) / 2)
    assert float(aggregate(folds, ua, "pooled")) == pytest.approx((2 / 3 + 3 / 6) / 2)


def test_an_empty_fold_is_left_out_of_the_mean():
    folds = np.array([[[2, 0], [0, 2]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]])
    assert float(aggregate(folds, ua, "folds")) == pytest.approx(0.75)
    assert np.isnan(aggregate(np.zeros((3, 2, 2)), ua, "folds"))
    assert np.isnan(aggregate(np.zeros((3, 2, 2)), wa, "pooled"))


def random_counts(runs=2, folds=3, speakers=4, classes=3, shared=True, seed=3):
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 6, (runs, folds, speakers, classes, classes))
    if not shared:  # each speaker in one fold
        counts *= (np.arange(speakers)[None, :] % folds == np.arange(folds)[:, None])[None, ..., None, None]
    return counts


SCORES = {
    "wa": accuracy_score,
    "ua": lambda t, p: np.mean([np.mean(p[t == c] == c) for c in np.unique(t)]),
}


def literal_value(counts, metric, aggregation, speakers):
    """The metric over some speakers, from lists of utterances."""
    runs, folds, everyone, classes, _ = counts.shape

    def utterances(run, fold, speaker):
        pairs = [
            (t, p) for t in range(classes) for p in range(classes) for _ in range(counts[run, fold, speaker, t, p])
        ]
        return np.array(pairs, int).reshape(-1, 2)

    of_runs = []
    for run in range(runs):
        values, weights, everything = [], [], []
        for fold in range(folds):
            here = [s for s in range(everyone) if len(utterances(run, fold, s))]
            left = [utterances(run, fold, s) for s in here if s in speakers]
            if not left:
                continue
            pairs = np.concatenate(left)
            everything.append(pairs)
            values.append(SCORES[metric](pairs[:, 0], pairs[:, 1]))
            weights.append(len(left) / len(here))
        if aggregation == "folds":
            of_runs.append(np.average(values, weights=weights))
        else:
            pairs = np.concatenate(everything)
            of_runs.append(SCORES[metric](pairs[:, 0], pairs[:, 1]))
    return np.mean(of_runs)


def literal_values(counts, metric, aggregation):
    everyone = set(range(counts.shape[2]))
    return [literal_value(counts, metric, aggregation, everyone - {left_out}) for left_out in (None, *sorted(everyone))]


@pytest.mark.parametrize("metric", ["wa", "ua"])
@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
@pytest.mark.parametrize("shared", [True, False])
def test_interval_against_a_literal_jackknife(metric, aggregation, shared):
    counts = random_counts(speakers=6, shared=shared)
    value, *without_one = literal_values(counts, metric, aggregation)
    error = np.sqrt(5 / 6 * np.sum((without_one - np.mean(without_one)) ** 2))
    width = stats.t.ppf(0.975, 5) * error / (value * (1 - value))  # the derivative of the logit is 1 / (m (1 - m))
    expected = special.expit(special.logit(value) + np.array([-1, 1]) * width)
    np.testing.assert_allclose(speaker_interval(counts, METRICS[metric].of, aggregation), expected, rtol=1e-12)


@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
@pytest.mark.parametrize("speakers", [5, 10])
def test_the_interval_has_its_nominal_coverage_with_few_speakers(aggregation, speakers):
    # Speakers' own accuracies scatter around .6; an interval over utterances would cover far less.
    generator = np.random.default_rng(0)
    utterances, trials, covered, naive = 30, 600, 0, 0
    for _ in range(trials):
        right = generator.binomial(utterances, np.clip(generator.normal(0.6, 0.12, speakers), 0.02, 0.98))
        counts = np.zeros((1, speakers if aggregation == "folds" else 1, speakers, 2, 2), int)
        for speaker in range(speakers):
            fold = speaker if aggregation == "folds" else 0
            counts[0, fold, speaker, 0] = right[speaker], utterances - right[speaker]
        low, high = speaker_interval(counts, wa, aggregation)
        covered += low <= 0.6 <= high
        mean = right.sum() / (speakers * utterances)
        naive += abs(mean - 0.6) <= 1.96 * (mean * (1 - mean) / (speakers * utterances)) ** 0.5
    # 95 % of 600 has a standard deviation of 0.9 %.
    assert 0.93 <= covered / trials <= 0.975
    assert naive / trials < 0.86


def test_no_interval_for_few_speakers_and_at_the_bounds():
    assert np.isnan(speaker_interval(random_counts(speakers=4), ua, "folds")).all()
    right = np.zeros((2, 3, 6, 2, 2), int)
    right[..., 0, 0] = right[..., 1, 1] = 5
    for counts in (right, right[..., ::-1]):
        assert np.isnan(speaker_interval(counts, ua, "folds")).all()


def test_a_higher_level_gives_a_wider_interval_within_the_bounds():
    counts = random_counts(speakers=10)
    narrow, wide = (speaker_interval(counts, ua, "pooled", level=level) for level in (0.5, 0.999999))
    assert 0 < wide[0] < narrow[0] < narrow[1] < wide[1] < 1


def test_by_run_fold_speaker_against_loops():
    generator = np.random.default_rng(4)
    trials = [(run, fold) for run in (1, 2) for fold in ("b", "a", "c")][:-1]  # one trial was never run
    names = np.array(["z", "x", "y"])
    data = [(*generator.integers(0, 3, (2, 25)), names[generator.integers(0, 3, 25)]) for _ in trials]
    counts = by_run_fold_speaker(
        *zip(*data, strict=True), *zip(*trials, strict=True), functools.partial(confusion, classes=3)
    )
    expected = np.zeros((2, 3, 3, 3, 3), int)
    for (truth, prediction, speaker), (run, fold) in zip(data, trials, strict=True):
        for t, p, s in zip(truth, prediction, speaker, strict=True):
            expected[run - 1, "abc".index(fold), "xyz".index(s), t, p] += 1
    np.testing.assert_array_equal(counts, expected)
    assert counts.dtype == np.int64
    assert counts[1, 2].sum() == 0
    assert counts.sum() == 25 * 5


def test_by_run_fold_speaker_needs_lists_of_one_length():
    one = [np.array([0])]
    with pytest.raises(ValueError, match="zip"):
        by_run_fold_speaker(one, one, [np.array(["x"])], [1, 2], ["a"], functools.partial(confusion, classes=2))


@pytest.mark.parametrize("aggregation", ["folds", "pooled", "batches"])
def test_interval_of_a_ccc_against_a_literal_jackknife(aggregation):
    truth, prediction = ratings(7, n=120, dimensions=2)
    generator = np.random.default_rng(8)
    speaker, fold = generator.integers(0, 6, 120), np.repeat(["a", "b", "c"], 40)
    pieces = [fold == name for name in "abc"]
    sums = by_run_fold_speaker(
        [truth[p] for p in pieces],
        [prediction[p] for p in pieces],
        [speaker[p] for p in pieces],
        [1] * 3,
        list("abc"),
        moments,
    )
    values = []
    for left_out in (None, *range(6)):
        of_folds, weights = [], []
        for name in ["abc"] if aggregation == "pooled" else "abc":
            kept = np.isin(fold, list(name)) & (speaker != left_out)
            of_folds.append(literal_ccc(truth[kept, 1], prediction[kept, 1]))
            weights.append(kept.sum() if aggregation == "batches" else len(set(speaker[kept])))
        values.append(np.average(of_folds, weights=weights))
    value, *without_one = values
    error = np.sqrt(5 / 6 * np.sum((without_one - np.mean(without_one)) ** 2))
    # Fisher's z, whose derivative is 1 / (1 - m^2).
    expected = np.tanh(np.arctanh(value) + np.array([-1, 1]) * stats.t.ppf(0.975, 5) * error / (1 - value**2))
    metric = METRICS["ccc"]
    found = speaker_interval(sums, metric.function("b", "ab"), aggregation, bounds=metric.bounds)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
