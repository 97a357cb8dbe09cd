import math

import numpy as np
import pytest

from common.normalisation import Normalisation


def test_by_hand():
    arrays = [np.full((4, 2), 1.0, np.float32), np.full((2, 2), 4.0, np.float32)]
    for array in arrays:
        array[:, 1] = 7
    # Feature 0: four rows of 1 and two of 4: mean 2, variance (4 * 1 + 2 * 4) / 6 = 2. Feature 1 never changes.
    fitted = Normalisation.fitted(arrays)
    np.testing.assert_allclose(fitted.mean, [2, 7])
    np.testing.assert_allclose(fitted.deviation, [math.sqrt(2), 1], rtol=1e-6)
    np.testing.assert_allclose(fitted(np.array([[2 + math.sqrt(2), 8]])), [[1, 1]], rtol=1e-6)
    # Pooled: mean (1 * 4 + 4 * 2 + 7 * 6) / 12 = 4.5, mean square (4 + 32 + 294) / 12 = 27.5.
    pooled = Normalisation.fitted(iter(arrays), pooled=True)
    np.testing.assert_allclose(pooled.mean, 4.5)
    np.testing.assert_allclose(pooled.deviation, math.sqrt(27.5 - 4.5**2), rtol=1e-6)
    np.testing.assert_array_equal(Normalisation.identity(2)(arrays[1]), arrays[1])


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_against_numpy_also_far_from_zero(offset):
    generator = np.random.default_rng(0)
    arrays = [generator.normal(offset, [1.0, 5.0], (rows, 2)) for rows in (3, 1, 400, 17, 0)]
    whole = np.concatenate(arrays)
    fitted = Normalisation.fitted(arrays)
    np.testing.assert_allclose(fitted.mean, whole.mean(0), rtol=1e-6)
    np.testing.assert_allclose(fitted.deviation, whole.std(0) if offset == 0 else [1.0, 1.0], rtol=1e-6)
    pooled = Normalisation.fitted(arrays[:4], pooled=True)
    np.testing.assert_allclose(pooled.mean, whole.mean(), rtol=1e-6)


def test_scikit_learn_agrees():
    from sklearn.preprocessing import StandardScaler

    rows = np.random.default_rng(1).gamma(2.0, 3.0, (500, 7)).astype(np.float32)
    fitted = Normalisation.fitted(np.array_split(rows, 9))
    np.testing.assert_allclose(fitted(rows), StandardScaler().fit_transform(rows), atol=2e-5)


def test_arrays_and_back():
    fitted = Normalisation.fitted([np.arange(6.0).reshape(3, 2)])
    again = Normalisation.from_arrays(fitted.arrays("text_"), "text_")
    np.testing.assert_array_equal(again.mean, fitted.mean)
    np.testing.assert_array_equal(again.deviation, fitted.deviation)
    assert set(fitted.arrays()) == {"mean", "deviation"} and again.mean.dtype == np.float32


def test_nothing_to_fit_on():
    with pytest.raises(ValueError, match="not a single row"):
        Normalisation.fitted([np.zeros((0, 3))])
