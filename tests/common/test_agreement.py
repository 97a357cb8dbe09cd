import math

import numpy as np
import pytest
from scipy import stats

from common.agreement import agreement


def test_welch_interval_is_scipys():
    values = np.array([71.2, 73.1, 70.4, 72.9])
    found = agreement(values, 74.37, 0.55, 5, margin=2)
    test = stats.ttest_ind_from_stats(values.mean(), values.std(ddof=1), 4, 74.37, 0.55, 5, equal_var=False)
    # scipy gives t = difference / error and the p value, from which follow error and degrees of freedom.
    error = (values.mean() - 74.37) / test.statistic
    own, theirs = values.var(ddof=1) / 4, 0.55**2 / 5
    freedom = (own + theirs) ** 2 / (own**2 / 3 + theirs**2 / 4)
    assert 2 * stats.t.cdf(test.statistic, freedom) == pytest.approx(test.pvalue)
    half = stats.t.ppf(0.975, freedom) * error
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half))
    assert (found.verdict == "differs") == (test.pvalue < 0.05)


def test_one_reported_number_is_one_more_run():
    values = np.array([60.0, 62.0, 61.0])
    found = agreement(values, 64.0, margin=2)
    half = stats.t.ppf(0.975, 2) * 1.0 * math.sqrt(1 + 1 / 3)
    assert (found.difference, found.low, found.high) == pytest.approx((-3.0, -3 - half, -3 + half))
    swapped = agreement([64.0], 61.0, 1.0, 3, margin=2)
    assert (swapped.difference, swapped.low, swapped.high) == pytest.approx((3.0, 3 - half, 3 + half))


def test_verdicts():
    assert agreement([70.0, 70.2, 69.8], 70.1, 0.3, 5, margin=2).verdict == "agrees"
    assert agreement([70.0, 70.2, 69.8], 71.0, 0.3, 5, margin=2).verdict == "agrees"  # not zero, but it does not matter
    assert agreement([70.0, 70.2, 69.8], 75.0, 0.3, 5, margin=2).verdict == "differs"
    assert agreement([66.0, 74.0], 70.0, 0.3, 5, margin=2).verdict == "undecided"
    nothing = agreement([66.0], 70.0, margin=2)
    assert (nothing.verdict, nothing.seeds) == ("undecided", None) and math.isnan(nothing.low)
    assert agreement([70.0, 70.0], 70.0, 0.0, 5, margin=2).verdict == "agrees"
    assert agreement([70.0, 70.0], 75.0, 0.0, 5, margin=2).verdict == "differs"


def test_so_many_seeds_decide_and_one_less_does_not():
    values = [68.5, 71.5]
    found = agreement(values, 70.5, 0.4, 5, margin=2)
    assert found.verdict == "undecided" and found.seeds > 2
    spread = np.std(values, ddof=1)

    def with_seeds(n):
        more = np.resize([-1.0, 1.0], n) - np.resize([-1.0, 1.0], n).mean()
        return agreement(70.0 + more * spread / more.std(ddof=1), 70.5, 0.4, 5, margin=2).verdict

    assert with_seeds(found.seeds) == "agrees" and with_seeds(found.seeds - 1) == "undecided"
    # One reported number has a spread of its own, which our seeds do not make smaller.
    assert agreement([66.0, 74.0], 70.0, margin=2).seeds is None


def test_error_rates_are_the_nominal_ones():
    generator = np.random.default_rng(0)
    verdicts = {0.0: [], 2.0: []}
    for shift, found in verdicts.items():
        for _ in range(1500):
            paper = generator.normal(70 + shift, 1.0, 5)
            found.append(agreement(generator.normal(70, 1.5, 5), paper.mean(), paper.std(ddof=1), 5, margin=2).verdict)
    # At a true difference of 0, 95 % of the intervals hold it; at one of the margin, at most 5 % "agree".
    assert np.mean(np.array(verdicts[0.0]) == "differs") <= 0.065
    assert np.mean(np.array(verdicts[2.0]) == "agrees") <= 0.065
