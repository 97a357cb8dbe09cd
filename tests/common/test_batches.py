"""Padded lengths: few shapes and little padding."""

import itertools

import numpy as np
import pytest

from common.batches import batches_by_length, batches_by_padded_length, pad, padded_length

LENGTHS = np.random.default_rng(5).lognormal(11, 0.6, 1000).astype(int)  # speech at 16 kHz: median 3.7 s


def test_there_are_few_padded_lengths_and_each_is_sufficient():
    series = {padded_length(length) for length in range(1, 500_000, 7)}
    # log(500000 / 400) / log(1.05) = 146.2: 147 lengths above the lowest.
    assert len(series) == 148 and min(series) == 400
    for length in (1, 400, 401, 420, 421, 441, 442, 16000, 123_457):
        assert padded_length(length) >= length
        assert length <= 400 or padded_length(length) <= 1.05 * length + 1
        assert padded_length(padded_length(length)) == padded_length(length)


def test_a_batch_has_one_padded_length():
    lengths = [padded_length(length) for length in LENGTHS]
    batches = batches_by_padded_length(lengths, 16)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert all(len({lengths[index] for index in batch}) == 1 and len(batch) <= 16 for batch in batches)


def test_batches_by_length_have_equal_sizes_and_similar_lengths():
    lengths = np.random.default_rng(0).integers(400, 160000, 500)
    for seed, size, parts in ((None, 8, 1), (7, 64, 8), (7, 64, 1)):
        found = batches_by_length(lengths, size, parts=parts, seed=seed)
        assert len(found) == -(-500 // size) * parts
        assert sorted(np.concatenate(found)) == list(range(500))
        assert {len(one) for one in found} <= {500 // len(found), 500 // len(found) + 1}
        ranges = sorted((lengths[one].min(), lengths[one].max()) for one in found)
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))
    assert lengths[batches_by_length(lengths, 8)[0][0]] == lengths.max()
    assert [list(batch) for batch in batches_by_length(np.array([5, 5, 5]), 2)] == [[0, 1], [2]]
    assert [len(one) for one in batches_by_length(np.array([5, 6]), 3, parts=3)] == [1, 1, 0]
    assert batches_by_length(np.array([], int), 8) == []
    shuffled = batches_by_length(np.full(64, 100), 8, seed=1)
    assert not np.array_equal(np.concatenate(shuffled), np.concatenate(batches_by_length(np.full(64, 100), 8, seed=2)))
    for size, parts in ((0, 1), (8, 0)):
        with pytest.raises(ValueError):
            batches_by_length(lengths, size, parts=parts)


def test_pad_appends_zeros():
    assert pad([np.array([1, 2]), np.array([3])], 3).tolist() == [[1, 2, 0], [3, 0, 0]]
    assert pad([np.ones((2, 3)), np.ones((1, 3))]).shape == (2, 2, 3)
