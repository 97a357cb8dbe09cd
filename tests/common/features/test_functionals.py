import warnings

import numpy as np
import pytest

from common.features.functionals import functionals


def authors_code(descriptors, frames):
    """The steps of the authors' code: pad with zeros, replace zeros by NaN, ignore NaN; all-zero columns give NaN."""
    padded = np.zeros((frames, descriptors.shape[1]))
    padded[frames - len(descriptors) :] = descriptors
    padded[padded == 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.concatenate([np.nanmean(padded, axis=0), np.nanstd(padded, axis=0)])


def descriptors(seed=0, frames=50):
    generator = np.random.default_rng(seed)
    values = generator.normal(3, 2, (frames, 7))
    values[generator.random(values.shape) < 0.3] = 0
    return values.astype(np.float32)


def test_mean_and_standard_deviation():
    values = descriptors()
    found = functionals(values)
    assert found.shape == (14,) and found.dtype == np.float32
    np.testing.assert_allclose(found, [*values.mean(axis=0, dtype=float), *values.std(axis=0, dtype=float)], rtol=1e-6)


@pytest.mark.parametrize("padding", [0, 1, 500])
def test_dropping_zeros_gives_the_authors_numbers_for_any_padding(padding):
    values = descriptors()
    expected = authors_code(values, len(values) + padding)
    np.testing.assert_allclose(functionals(values, drop_zeros=True), expected, rtol=1e-6)
    padded = np.pad(values, ((padding, 0), (0, 0)))
    np.testing.assert_allclose(functionals(padded, drop_zeros=True), expected, rtol=1e-6)


def test_by_hand():
    values = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    # Mean 4/3; squares 1, 16, 25 ninths: variance 42/27.
    np.testing.assert_allclose(functionals(values), [4 / 3, 0, np.sqrt(42 / 27), 0], rtol=1e-6)
    np.testing.assert_array_equal(functionals(values, drop_zeros=True), [2, 0, 1, 0])


def test_a_column_of_zeros_gives_zeros_where_the_authors_code_gives_nan():
    values = descriptors()
    values[:, 3] = 0
    assert np.isnan(authors_code(values, 60)[[3, 10]]).all()
    assert functionals(values, drop_zeros=True)[[3, 10]].tolist() == [0, 0]


def test_dropping_zeros_changes_nothing_if_there_are_none():
    values = np.abs(descriptors()) + 1
    np.testing.assert_array_equal(functionals(values, drop_zeros=True), functionals(values))


def test_one_frame_and_large_values():
    np.testing.assert_array_equal(functionals(np.array([[5.0, 0.0]])), [5, 0, 0, 0])
    # In float32 their variance would be 0.
    values = (1e6 + np.array([[0.0], [1.0]])).astype(np.float32)
    np.testing.assert_array_equal(functionals(values), [np.float32(1000000.5), 0.5])


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        functionals(np.zeros(shape))
