"""Three levels compared with Table I, and clusters compared with an exhaustive search."""

import itertools

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from papers.mtl_aae.targets import EDGES, Clusters, ThreeLevels


def table(valence, arousal):
    return pd.DataFrame({"valence": np.asarray(valence, float), "arousal": np.asarray(arousal, float)})


@pytest.mark.parametrize(
    ("corpus", "ratings", "expected"),
    [
        # Table I: [1, 2] (2, 3.5] (3.5, 5]
        ("iemocap", [1, 2, 2.0001, 2.5, 3.5, 3.5001, 5], [0, 0, 1, 1, 1, 2, 2]),
        # Table I: [1, 2.5] (2.5, 3.5] (3.5, 5]
        ("msp_improv", [1, 2.5, 2.5001, 3.5, 3.6, 5], [0, 0, 1, 1, 2, 2]),
    ],
)
def test_levels_of_table_1(corpus, ratings, expected):
    low, high = EDGES[corpus]
    opposite = [6 - rating for rating in ratings]
    activation, valence = ThreeLevels("activation", low, high), ThreeLevels("valence", low, high)
    assert activation.labeller(None, ())(table(opposite, ratings)).tolist() == expected
    assert valence.labeller(None, ())(table(ratings, opposite)).tolist() == expected
    assert activation.labeller(None, ())(table(opposite, ratings)).dtype == np.int64
    assert (activation.needs, valence.needs) == (("arousal",), ("valence",))
    assert activation.classes == ("low", "medium", "high") and valence.classes == ("negative", "neutral", "positive")


def lumps(centres, count=30, seed=0):
    generator = np.random.default_rng(seed)
    points = np.concatenate([centre + generator.normal(0, 0.1, (count, 2)) for centre in np.asarray(centres, float)])
    return table(points[:, 0], points[:, 1])


def test_clusters_are_numbered_by_activation_then_valence():
    # (valence, arousal): the least active one first; then the other two by their activation.
    centres = [(3.0, 4.5), (1.5, 3.0), (4.0, 1.5)]
    target = Clusters(3)
    train = lumps(centres)
    np.testing.assert_allclose(target.midpoints(train), [(4.0, 1.5), (1.5, 3.0), (3.0, 4.5)], atol=0.1)
    assert target.labeller(train, ())(train).tolist() == [2] * 30 + [1] * 30 + [0] * 30
    assert target.classes == ("cluster-1", "cluster-2", "cluster-3")
    equal = table([1, 1, 5, 5], [2, 2, 2, 2])
    assert Clusters(2).labeller(equal, ())(equal).tolist() == [0, 0, 1, 1]


def test_the_midpoints_equal_those_of_an_exhaustive_search():
    points = np.random.default_rng(4).uniform(1, 5, (9, 2))
    best = np.inf
    for assignment in itertools.product(range(3), repeat=9):
        groups = [points[[k for k in range(9) if assignment[k] == g]] for g in range(3)]
        if all(map(len, groups)):
            best = min(best, sum(((group - group.mean(0)) ** 2).sum() for group in groups))
    train = table(points[:, 0], points[:, 1])
    midpoints = Clusters(3).midpoints(train)
    numbers = Clusters(3).labeller(train, ())(train)
    assert ((points - midpoints[numbers]) ** 2).sum() == pytest.approx(best, rel=1e-6)


def test_clusters_are_fitted_on_the_training_part_alone():
    train = lumps([(1, 1), (5, 1.5), (3, 5)])
    label = Clusters(3).labeller(train, ())
    # Test utterances that would be clusters of their own change nothing.
    far = table([1.2, 4.8, 3.0, 9.0], [1.4, 1.4, 4.0, 9.0])
    assert label(far).tolist() == [0, 1, 2, 2]
    assert label(far.iloc[:1]).tolist() == [0]
    again = Clusters(3).labeller(train.iloc[::-1], ())
    assert again(far).tolist() == label(far).tolist()


def test_too_few_ratings_and_missing_ratings_are_errors():
    with pytest.raises(UserError, match="5 clusters need as many distinct ratings; the training part has 2"):
        Clusters(5).midpoints(table([1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1, 1]))
    for target in (Clusters(2), ThreeLevels("valence", 2.0, 3.5)):
        label = target.labeller(table([1, 2, 5], [1, 2, 5]), ())
        with pytest.raises(ValueError, match="no rating"):
            label(table([np.nan], [np.nan]))
