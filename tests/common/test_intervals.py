import functools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from common.intervals import aggregate, by_run_fold_speaker, clustered_interval
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


def random_counts(runs=2, folds=3, speakers=4, classes=3, shared=True):
    generator = np.random.default_rng(3)
    counts = generator.integers(0, 6, (runs, folds, speakers, classes, classes))
    if not shared:  # each speaker in one fold
        counts *= (np.arange(speakers)[None, :] % folds == np.arange(folds)[:, None])[None, ..., None, None]
    return counts


def literal_interval(counts, metric, aggregation, resamples, seed):
    """The same draws, and everything else in loops over lists of utterances."""
    runs, folds, speakers, classes, _ = counts.shape
    score = {
        "wa": accuracy_score,
        "ua": lambda t, p: np.mean([np.mean(p[t == c] == c) for c in range(classes) if (t == c).any()]),
    }[metric]

    def utterances(run, fold, speaker):
        pairs = [
            (t, p) for t in range(classes) for p in range(classes) for _ in range(counts[run, fold, speaker, t, p])
        ]
        return np.array(pairs, int).reshape(-1, 2)

    draws = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)
    means = []
    for draw in draws:
        of_runs = []
        for run in range(runs):
            values, weights, everything = [], [], []
            for fold in range(folds):
                here = [s for s in range(speakers) if len(utterances(run, fold, s))]
                drawn = [utterances(run, fold, s) for s in here for _ in range(draw[s])]
                if not drawn:
                    continue
                pairs = np.concatenate(drawn)
                everything.append(pairs)
                values.append(score(pairs[:, 0], pairs[:, 1]))
                weights.append(sum(draw[s] for s in here) / len(here))
            if aggregation == "folds":
                of_runs.append(np.average(values, weights=weights))
            else:
                pairs = np.concatenate(everything)
                of_runs.append(score(pairs[:, 0], pairs[:, 1]))
        means.append(np.mean(of_runs))
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize("metric", ["wa", "ua"])
@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
@pytest.mark.parametrize("shared", [True, False])
def test_interval_against_a_literal_bootstrap(metric, aggregation, shared):
    counts = random_counts(shared=shared)
    found = clustered_interval(counts, METRICS[metric].of, aggregation, resamples=60, seed=5)
    np.testing.assert_allclose(found, literal_interval(counts, metric, aggregation, 60, 5), rtol=1e-12)


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_with_one_speaker_per_fold_it_is_the_bootstrap_of_the_fold_values(metric):
    # The mean over folds is then the mean of one value a speaker, whose bootstrap scipy knows.
    from scipy.stats import bootstrap

    counts = random_counts(runs=1, folds=12, speakers=12, shared=False)
    values = [float(METRICS[metric].of(counts[0, s, s])) for s in range(12)]
    found = clustered_interval(counts, METRICS[metric].of, "folds", resamples=4000, seed=1)
    peer = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2).confidence_interval
    np.testing.assert_allclose(found, peer, atol=0.1 * (peer[1] - peer[0]))


@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
@pytest.mark.parametrize("one_speaker_a_fold", [True, False])
def test_the_interval_has_its_nominal_coverage(aggregation, one_speaker_a_fold):
    # 20 speakers whose own accuracies scatter around .6; an interval over utterances would cover far less.
    generator = np.random.default_rng(0)
    speakers, utterances, trials, covered, naive = 20, 30, 200, 0, 0
    for trial in range(trials):
        right = generator.binomial(utterances, np.clip(generator.normal(0.6, 0.12, speakers), 0.02, 0.98))
        by_speaker = np.zeros((speakers, 2, 2), int)
        by_speaker[:, 0, 0], by_speaker[:, 0, 1] = right, utterances - right
        counts = np.zeros((1, speakers if one_speaker_a_fold else 2, speakers, 2, 2), int)
        for speaker in range(speakers):
            fold = speaker if one_speaker_a_fold else slice(None)
            counts[0, fold, speaker] = by_speaker[speaker]
        low, high = clustered_interval(counts, wa, aggregation, resamples=400, seed=trial)
        covered += low <= 0.6 <= high
        mean = right.sum() / (speakers * utterances)
        naive += abs(mean - 0.6) <= 1.96 * (mean * (1 - mean) / (speakers * utterances)) ** 0.5
    # 95 % of 200 has a standard deviation of 1.5 %; 20 speakers cost a percentile bootstrap about 2 %.
    assert 0.90 <= covered / trials <= 0.985
    assert naive / trials < 0.86


def test_degenerate_intervals():
    assert np.isnan(clustered_interval(random_counts(speakers=1), ua, "folds")).all()
    right = np.zeros((2, 3, 4, 2, 2), int)
    right[..., 0, 0] = right[..., 1, 1] = 5
    assert clustered_interval(right, ua, "folds", resamples=50) == (1.0, 1.0)
    assert clustered_interval(right, wa, "pooled", resamples=50) == (1.0, 1.0)
    wrong = right[..., ::-1]
    assert clustered_interval(wrong, ua, "folds", resamples=50) == (0.0, 0.0)


def test_interval_level_and_seed():
    counts = random_counts(speakers=10)
    narrow = clustered_interval(counts, ua, "pooled", level=0.5, seed=1)
    wide = clustered_interval(counts, ua, "pooled", level=0.99, seed=1)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert clustered_interval(counts, ua, "pooled", level=0.5, seed=1) == narrow
    assert clustered_interval(counts, ua, "pooled", level=0.5, seed=2) != narrow


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


@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
def test_interval_of_a_ccc_against_a_literal_bootstrap(aggregation):
    truth, prediction = ratings(7, n=120, dimensions=2)
    generator = np.random.default_rng(8)
    speaker, fold = generator.integers(0, 4, 120), np.repeat(["a", "b", "c"], 40)
    pieces = [fold == name for name in "abc"]
    sums = by_run_fold_speaker(
        [truth[p] for p in pieces],
        [prediction[p] for p in pieces],
        [speaker[p] for p in pieces],
        [1] * 3,
        list("abc"),
        moments,
    )
    found = clustered_interval(sums, METRICS["ccc"].function("b", "ab"), aggregation, resamples=60, seed=2)
    means = []
    for draw in np.random.default_rng(2).multinomial(4, np.full(4, 1 / 4), size=60):
        values, weights = [], []
        for name in ["abc"] if aggregation == "pooled" else "abc":
            own = [np.flatnonzero(np.isin(fold, list(name)) & (speaker == s)) for s in range(4)]
            chosen = np.concatenate([own[s] for s in range(4) for _ in range(draw[s])])
            values.append(literal_ccc(truth[chosen, 1], prediction[chosen, 1]))
            weights.append(sum(draw[s] for s in range(4) if len(own[s])))
        means.append(np.average(values, weights=weights))
    np.testing.assert_allclose(found, np.quantile(means, [0.025, 0.975]), rtol=1e-9)
