import numpy as np
import pytest
from scipy import stats

from common.differences import Difference, Pair, combined, over_repeats, over_speakers, over_trials
from common.metrics import METRICS, ccc, ccc_batches, ccc_of, moments, ua, wa
from tests.common.test_intervals import literal_value, random_counts


def pair_of(first, second, metric=wa, aggregation="folds", folds=None, speakers=None):
    repeats, own_folds, own_speakers = first.shape[:3]
    return Pair(
        first, second, metric, aggregation,
        tuple(range(repeats)), tuple(folds or range(own_folds)), tuple(speakers or range(own_speakers)),
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["wa", "ua"])
def test_with_one_speaker_per_fold_it_is_the_paired_t_test_over_speakers(metric):
    # The mean over folds is then the mean of one value per speaker.
    first, second = (random_counts(runs=1, folds=12, speakers=12, shared=False, seed=seed) for seed in (3, 4))
    values = [[float(METRICS[metric].of(counts[0, s, s])) for s in range(12)] for counts in (first, second)]
    peer = stats.ttest_rel(*values).confidence_interval(0.95)
    found = over_speakers([pair_of(first, second, METRICS[metric].of)])
    assert found.value == pytest.approx(np.mean(values[0]) - np.mean(values[1]))
    np.testing.assert_allclose(found.interval(), peer, rtol=1e-10)
    assert (found.over, found.units, found.freedom) == ("speakers", 12, 11)


def test_repeats_of_one_speaker_per_fold_are_averaged_before_the_t_test():
    first, second = (random_counts(runs=3, folds=8, speakers=8, shared=False, seed=seed) for seed in (3, 4))
    values = [wa(counts[:, range(8), range(8)]).mean(0) for counts in (first, second)]
    found = over_speakers([pair_of(first, second)])
    np.testing.assert_allclose(found.interval(), stats.ttest_rel(*values).confidence_interval(0.95), rtol=1e-10)


@pytest.mark.parametrize("aggregation", ["folds", "pooled"])
def test_speakers_that_share_models_against_a_literal_two_way_jackknife(aggregation):
    first, second = (random_counts(runs=1, folds=4, speakers=6, seed=seed) for seed in (3, 4))

    def value(kept):
        """The difference with the utterances of some (fold, speaker), a metric of lists of utterances."""
        mask = np.zeros((1, 4, 6, 1, 1), int)
        for place in kept:
            mask[0][place] = 1
        values = []
        for counts in (first, second):
            if aggregation == "pooled":
                values.append(literal_value((counts * mask).sum(1, keepdims=True), "ua", "pooled", set(range(6))))
                continue
            of_folds, weights = [], []
            for fold in {fold for fold, _ in kept}:
                left = [speaker for other, speaker in kept if other == fold]
                of_folds.append(literal_value(counts[:, [fold]], "ua", "pooled", set(left)))
                weights.append(len(left))
            values.append(np.average(of_folds, weights=weights))
        return values[0] - values[1]

    everything = [(fold, speaker) for fold in range(4) for speaker in range(6)]

    def variance(clusters):
        without = [value([place for place in everything if place not in cluster]) for cluster in clusters]
        return (len(clusters) - 1) / len(clusters) * np.sum(np.square(without - np.mean(without)))

    speakers = variance([[(fold, speaker) for fold in range(4)] for speaker in range(6)])
    trials = variance([[(fold, speaker) for speaker in range(6)] for fold in range(4)])
    cells = variance([[place] for place in everything])
    found = over_speakers([pair_of(first, second, ua, aggregation)])
    assert found.value == pytest.approx(value(everything))
    assert found.error == pytest.approx(np.sqrt(speakers + max(0, trials - cells)))
    assert found.freedom == (3 if trials > cells else 5)


def test_on_a_fixed_test_set_it_is_the_paired_t_test_over_seeds():
    first, second = (random_counts(runs=4, folds=1, speakers=6, seed=seed) for seed in (3, 4))
    values = [ua(counts.sum((1, 2))) for counts in (first, second)]
    found = over_repeats([pair_of(first, second, ua, "pooled")])
    np.testing.assert_allclose(found.interval(), stats.ttest_rel(*values).confidence_interval(0.95), rtol=1e-10)
    assert (found.over, found.units) == ("seeds", 4)
    alone = over_repeats([pair_of(first[:1], second[:1])])
    assert np.isnan(alone.interval()).all() and not np.isnan(alone.value)


def test_costs_of_trials_are_a_paired_t_test():
    generator = np.random.default_rng(2)
    first, second = ({("a", n): value for n, value in enumerate(generator.normal(m, 1, 7))} for m in (5, 9))
    found = over_trials([({**first, ("b", 1): 1.0}, {**second, ("c", 1): 1.0})])
    peer = stats.ttest_rel(list(first.values()), list(second.values()))
    np.testing.assert_allclose(found.interval(), peer.confidence_interval(0.95), rtol=1e-10)
    assert (found.over, found.units) == ("trials", 7)


def test_several_pairs_on_the_same_speakers_are_averaged_by_speaker():
    counts = [random_counts(runs=1, folds=8, speakers=8, shared=False, seed=seed) for seed in range(4)]
    values = [wa(one[0, range(8), range(8)]) for one in counts]
    pairs = [pair_of(counts[0], counts[1]), pair_of(counts[2], counts[3])]
    of_speakers = (values[0] - values[1] + values[2] - values[3]) / 2
    peer = stats.ttest_1samp(of_speakers, 0).confidence_interval(0.95)
    np.testing.assert_allclose(over_speakers(pairs).interval(), peer, rtol=1e-10)
    # The same pair twice says no more than once.
    once, twice = over_speakers(pairs[:1]), over_speakers(pairs[:1] * 2)
    assert twice.interval() == pytest.approx(once.interval())
    # Pairs on other speakers of the corpus are further speakers.
    apart = over_speakers([pairs[0], pair_of(counts[2], counts[3], folds=range(8, 16), speakers=range(8, 16))])
    assert apart.units == 16 and apart.freedom == 15
    assert apart.value == pytest.approx(of_speakers.mean())


def test_two_corpora_are_combined_as_in_welchs_test():
    generator = np.random.default_rng(5)
    first, second = generator.normal(3, 1, 6), generator.normal(1, 4, 9)
    parts = [
        Difference(values.mean(), values.std(ddof=1) / len(values) ** 0.5, len(values) - 1, "speakers", len(values))
        for values in (first, second)
    ]
    # The sum of two means is the difference between one mean and the negative other one.
    peer = stats.ttest_ind(first, -second, equal_var=False).confidence_interval(0.95)
    found = combined(parts, [1, 1])
    np.testing.assert_allclose(found.interval(), (peer.low / 2, peer.high / 2), rtol=1e-10)
    weighted = combined(parts, [3, 1])
    assert weighted.value == pytest.approx(0.75 * first.mean() + 0.25 * second.mean())
    assert weighted.units == 15 and weighted.over == "speakers"
    mixed = combined([parts[0], Difference(1.0, np.nan, 0, "seeds", 1)], [1, 1])
    assert mixed.over == "speakers and seeds" and np.isnan(mixed.interval()).all()


def test_a_dimension_without_a_value_leaves_the_others_alone():
    # A repeat of a constant truth has no CCC and is left out of the mean over repeats.
    sums = np.zeros((2, 1, 1, 1, 6))
    sums[0, 0, 0, 0] = 4, 10, 10, 30, 30, 30
    found = over_repeats([pair_of(sums, sums, lambda one: ccc_of(one)[..., 0], "pooled")])
    assert found.value == 0


def simulated(generator, tested, repeats, of_speakers, of_models, size):
    """Counts of a method that is as good as any other: speakers and trained models differ by chance."""
    folds, speakers = tested.shape
    skill = generator.normal(0, of_speakers, speakers) + generator.normal(0, of_models, (repeats, folds, 1))
    right = generator.binomial(size, np.clip(0.65 + skill, 0.02, 0.98)) * tested
    counts = np.zeros((repeats, folds, speakers, 2, 2))
    counts[..., 0, 0], counts[..., 0, 1] = right, size * tested - right
    return counts


DESIGNS = {
    "leave one speaker out": (np.eye(10, dtype=bool), 1),
    "leave one session out": (np.repeat(np.eye(5, dtype=bool), 2, axis=1), 1),
    "random folds": (np.ones((5, 10), bool), 1),
    "random folds, three seeds": (np.ones((5, 10), bool), 3),
}


@pytest.mark.parametrize(
    ("design", "of_speakers", "of_models"),
    [
        ("leave one speaker out", 0.05, 0.02),
        ("leave one session out", 0.05, 0.0),
        ("leave one session out", 0.02, 0.04),
        ("random folds", 0.02, 0.04),
        ("random folds, three seeds", 0.04, 0.02),
    ],
)
def test_equal_methods_rarely_seem_to_differ(design, of_speakers, of_models):
    tested, repeats = DESIGNS[design]
    generator = np.random.default_rng(0)
    better, worse, naive, trials = 0, 0, 0, 500
    for _ in range(trials):
        pair = pair_of(*(simulated(generator, tested, repeats, of_speakers, of_models, 20) for _ in range(2)))
        found = over_speakers([pair])
        low, high = found.interval()
        better, worse = better + (low > 0), worse + (high < 0)
        sums = [counts.sum((0, 1)) for counts in (pair.first, pair.second)]
        naive += stats.ttest_rel(*(wa(one) for one in sums)).pvalue < 0.05
    # 2.5 % of 500 has a standard deviation of 0.7 %.
    assert better / trials <= 0.046 and worse / trials <= 0.046
    assert (better + worse) / trials <= 0.07
    if (
        of_models > of_speakers and "random" in design
    ):  # speakers alone would hide that a trained model was lucky with all of them
        assert naive / trials > 0.1


def test_other_numbers_of_units():
    found = Difference(2.0, 1.0, 9, "speakers", 10)
    more = found.with_units(40)
    assert (more.value, more.error, more.freedom, more.units) == (2.0, 0.5, 39, 40)
    turned = found.scaled(-100)
    assert (turned.value, turned.error) == (-200, 100)
    assert Difference(2.0, 0.0, np.inf, "nothing", 0).interval() == (2.0, 2.0)


def test_batches_weigh_as_much_as_they_have_utterances():
    generator = np.random.default_rng(6)
    truth = generator.uniform(1, 5, (70, 1))
    guesses = [truth + generator.normal(0, 1, truth.shape) for _ in range(2)]
    speaker = np.arange(70) % 2
    sums = np.zeros((2, 1, 3, 2, 1, 6))
    for guess, own in zip(guesses, sums, strict=True):
        for batch, start in enumerate((0, 32, 64)):
            for name in (0, 1):
                rows = np.flatnonzero(speaker[start : start + 32] == name) + start
                own[0, batch, name] = moments(truth[rows], guess[rows])
    pair = pair_of(*sums, lambda one: ccc_of(one)[..., 0], "batches")
    everything, without = pair.without_each(lambda repeat, fold, name: name)
    assert everything == pytest.approx(np.subtract(*(ccc_batches(truth[:, 0], guess[:, 0]) for guess in guesses)))
    left = speaker == 1
    parts = [slice(0, 16), slice(16, 32), slice(32, 35)]
    expected = [
        sum((part.stop - part.start) * ccc(truth[left, 0][part], guess[left, 0][part]) for part in parts) / 35
        for guess in guesses
    ]
    assert without[0] == pytest.approx(np.subtract(*expected))
