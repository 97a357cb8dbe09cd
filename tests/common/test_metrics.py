import warnings

import audmetric
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from common.metrics import (
    METRICS,
    ccc,
    ccc_batches,
    ccc_of,
    confusion,
    confusion_of_chunks,
    confusion_of_scores,
    macro_f1,
    moments,
    softmax,
    ua,
    wa,
    weighted_f1,
)
from tests.helpers.concordance import literal_ccc, ratings


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 4, 7])
def test_against_scikit_learn_and_audmetric(seed, classes):
    generator = np.random.default_rng(seed)
    truth, prediction = generator.integers(0, classes, (2, 200))
    counts = confusion(truth, prediction, classes)
    np.testing.assert_array_equal(counts, confusion_matrix(truth, prediction, labels=range(classes)))
    assert wa(counts) == pytest.approx(accuracy_score(truth, prediction))
    assert wa(counts) == pytest.approx(audmetric.accuracy(truth, prediction))
    assert ua(counts) == pytest.approx(balanced_accuracy_score(truth, prediction))
    labels = list(range(classes))
    assert ua(counts) == pytest.approx(recall_score(truth, prediction, labels=labels, average="macro"))
    assert ua(counts) == pytest.approx(audmetric.unweighted_average_recall(truth, prediction, labels=labels))


@pytest.mark.parametrize("seed", range(5))
def test_f1_against_scikit_learn_and_audmetric(seed):
    truth, prediction = np.random.default_rng(seed).integers(0, 4, (2, 120))
    counts = confusion(truth, prediction, 4)
    labels = list(range(4))
    assert macro_f1(counts) == pytest.approx(f1_score(truth, prediction, labels=labels, average="macro"))
    assert macro_f1(counts) == pytest.approx(audmetric.unweighted_average_fscore(truth, prediction, labels=labels))
    assert weighted_f1(counts) == pytest.approx(f1_score(truth, prediction, labels=labels, average="weighted"))


def test_f1_by_hand_and_of_classes_that_do_not_occur():
    # F1 of class 0: 2*3 / (4 + 4); of class 1: 2*1 / (2 + 2). Class 2 is neither true nor predicted.
    counts = np.array([[3, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert float(macro_f1(counts)) == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert float(weighted_f1(counts)) == pytest.approx((4 * 6 / 8 + 2 * 2 / 4) / 6)
    assert np.isnan(macro_f1(np.zeros((3, 3)))) and np.isnan(weighted_f1(np.zeros((3, 3))))


def test_scores_and_chunks_become_counts():
    truth, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    np.testing.assert_array_equal(confusion_of_scores(truth, scores), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(confusion_of_chunks(truth, np.array([[2, 1], [0, 1], [3, 0]])), [[2, 1], [3, 1]])


def test_worked_by_hand():
    # Class 0: 3 of 4 right; class 1: 1 of 2 right. WA = 4/6, UA = (3/4 + 1/2) / 2.
    counts = confusion(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0]), 2)
    assert counts.tolist() == [[3, 1], [1, 1]]
    assert float(wa(counts)) == pytest.approx(4 / 6)
    assert float(ua(counts)) == pytest.approx(0.625)


def test_a_class_that_does_not_occur_has_no_recall():
    truth, prediction = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    counts = confusion(truth, prediction, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert float(ua(counts)) == pytest.approx(balanced_accuracy_score(truth, prediction))
        # A library that infers the classes from the predictions would count class 2 with recall 0.
        assert float(ua(counts)) == pytest.approx(0.75) != recall_score(truth, prediction, average="macro")


def test_a_class_that_is_never_predicted_counts_with_recall_zero():
    assert float(ua(confusion(np.array([0, 1, 2, 2]), np.array([0, 0, 2, 2]), 3))) == pytest.approx(2 / 3)


def test_one_class_and_nothing():
    assert float(ua(confusion(np.zeros(5, int), np.zeros(5, int), 1))) == 1.0
    assert float(ua(confusion(np.zeros(5, int), np.ones(5, int), 2))) == 0.0
    empty = confusion(np.array([], int), np.array([], int), 4)
    assert empty.shape == (4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(wa(empty))
        assert np.isnan(ua(empty))


def test_leading_axes():
    counts = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 4))
    for metric in (wa, ua, macro_f1, weighted_f1):
        assert metric(counts).shape == (2, 3)
        assert metric(counts)[1, 2] == metric(counts[1, 2])


@pytest.mark.parametrize(
    ("truth", "prediction", "classes", "message"),
    [
        ([0, 1], [0], 2, "vectors of one length"),
        ([[0, 1]], [[0, 1]], 2, "vectors of one length"),
        ([0, 2], [0, 1], 2, r"0 \.\.\. 1"),
        ([0, 1], [0, -1], 2, r"0 \.\.\. 1"),
    ],
)
def test_errors(truth, prediction, classes, message):
    with pytest.raises(ValueError, match=message):
        confusion(np.array(truth), np.array(prediction), classes)


@pytest.mark.parametrize("seed", range(4))
def test_ccc_against_audmetric_and_the_literal_formula(seed):
    truth, prediction = (values[:, 0] for values in ratings(seed))
    assert ccc(truth, prediction) == pytest.approx(audmetric.concordance_cc(truth, prediction), abs=1e-12)
    assert ccc(truth, prediction) == pytest.approx(literal_ccc(truth, prediction), abs=1e-12)
    # A common shift changes nothing, not even where sums of squares are a million times the variance.
    assert ccc(truth + 1000, prediction + 1000) == pytest.approx(ccc(truth, prediction), abs=1e-8)


def test_ccc_by_hand_and_at_its_edges():
    # Means 2 and 2; population variances 2/3 and 2/3; covariance 1/3.
    assert ccc([1, 2, 3], [2, 1, 3]) == pytest.approx(0.5)
    assert ccc([1, 2, 3], [1, 2, 3]) == pytest.approx(1.0)
    assert ccc([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert ccc([2, 2, 2], [1, 2, 3]) == 0.0
    assert ccc([1, 2, 3], [2, 2, 2]) == 0.0
    assert ccc([2, 2], [3, 3]) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(ccc([2.1, 2.1, 2.1], [2.1, 2.1, 2.1]))
        assert np.isnan(ccc([], []))
    with pytest.raises(ValueError, match="vectors of one length"):
        ccc([1, 2], [1])


def test_the_ccc_of_batches_is_not_that_of_the_whole_vector():
    truth, prediction = (values[:, 0] for values in ratings(5, n=70))
    order = np.argsort(truth)
    parts = [slice(0, 32), slice(32, 64), slice(64, 70)]
    for chosen in (slice(None), order):
        t, p = truth[chosen], prediction[chosen]
        # Keras weighs the last, smaller batch by its size.
        expected = sum((part.stop - part.start) * literal_ccc(t[part], p[part]) for part in parts) / 70
        assert ccc_batches(t, p) == pytest.approx(expected, abs=1e-12)
    # In the order of the labels, a batch has hardly any variance: so the mean is far lower for the same predictions.
    assert ccc(truth[order], prediction[order]) == pytest.approx(ccc(truth, prediction), abs=1e-12)
    assert ccc_batches(truth[order], prediction[order]) < ccc(truth, prediction) - 0.2


def test_moments_add_up():
    truth, prediction = ratings(6)
    parts = sum(moments(truth[part], prediction[part]) for part in (slice(0, 10), slice(10, 90), slice(90, None)))
    np.testing.assert_allclose(parts, moments(truth, prediction), rtol=1e-12)
    for dimension in range(3):
        expected = literal_ccc(truth[:, dimension], prediction[:, dimension])
        assert float(ccc_of(parts)[dimension]) == pytest.approx(expected, abs=1e-12)
        assert float(METRICS["ccc"].function("abc"[dimension], "abc")(parts)) == pytest.approx(expected, abs=1e-12)
    expected = np.mean([literal_ccc(t, p) for t, p in zip(truth.T, prediction.T, strict=True)])
    assert float(METRICS["ccc"].function("mean", "abc")(parts)) == pytest.approx(expected, abs=1e-12)


def test_softmax_against_scipy_and_without_overflow():
    from scipy.special import softmax as peer

    logits = np.random.default_rng(0).normal(0, 9, (20, 5)).astype("float32")
    np.testing.assert_allclose(softmax(logits), peer(logits.astype("float64"), axis=1), rtol=1e-12)
    assert softmax(logits).dtype == np.float64
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])
