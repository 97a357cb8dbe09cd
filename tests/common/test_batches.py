"""Batches by length: everything once, padding bounded, few shapes."""

import numpy as np
import pytest

from common.batches import by_length, by_rung, padded, rung

LENGTHS = np.random.default_rng(5).lognormal(11, 0.6, 1000).astype(int)  # speech at 16 kHz: median 3.7 s


@pytest.mark.parametrize("padding", [0.05, 0.2])
@pytest.mark.parametrize("seed", [None, 1])
def test_every_sequence_once_and_padding_bounded(padding, seed):
    batches = by_length(LENGTHS, 32, padding, None if seed is None else np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    for batch in batches:
        share = 1 - LENGTHS[batch].mean() / LENGTHS[batch].max()
        assert len(batch) <= 32 and share <= padding
    assert len(batches) <= {0.05: 60, 0.2: 40}[padding]  # 32 would all be full


def test_random_batches_of_the_same_size_would_be_mostly_padding():
    order = np.random.default_rng(0).permutation(1000)[:992].reshape(-1, 32)
    assert np.mean(1 - LENGTHS[order].mean(1) / LENGTHS[order].max(1)) > 0.5


def test_other_sequences_meet_in_each_epoch_and_the_same_with_the_same_seed():
    def met(seed):
        return {frozenset(batch.tolist()) for batch in by_length(LENGTHS, 32, 0.2, np.random.default_rng(seed))}

    assert met(1) == met(1) and len(met(1) & met(2)) < 3


def test_equal_lengths_are_mixed_and_fill_batches():
    batches = by_length([7] * 10, 4, 0.1, np.random.default_rng(0))
    assert sorted(map(len, batches)) == [2, 4, 4]
    assert sorted(np.concatenate(batches)) == list(range(10)) and batches[0].tolist() != [0, 1, 2, 3]


def test_without_padding_only_equal_lengths_share_a_batch():
    batches = by_length([3, 5, 3, 4], 8, 0.0)
    assert [batch.tolist() for batch in batches] == [[0, 2], [3], [1]]


def test_impossible_arguments():
    with pytest.raises(ValueError, match="size"):
        by_length([1], 0, 0.1)
    with pytest.raises(ValueError, match="padding"):
        by_length([1], 1, 1.0)


def test_a_ladder_has_few_rungs_that_hold_what_is_put_on_them():
    ladder = {rung(length) for length in range(1, 500_000, 7)}
    # log(500000 / 400) / log(1.05) = 146.2: 147 rungs above the lowest.
    assert len(ladder) == 148 and min(ladder) == 400
    for length in (1, 400, 401, 420, 421, 441, 442, 16000, 123_457):
        assert rung(length) >= length
        assert length <= 400 or rung(length) <= 1.05 * length + 1
        assert rung(rung(length)) == rung(length)


def test_a_rung_is_never_shared_with_another():
    rungs = [rung(length) for length in LENGTHS]
    batches = by_rung(rungs, 16)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert all(len({rungs[index] for index in batch}) == 1 and len(batch) <= 16 for batch in batches)


def test_padded_cuts_and_fills():
    result = padded([np.array([1, 2, 3]), np.array([4])], 2, -1)
    assert result.tolist() == [[1, 2], [4, -1]] and result.dtype == np.int64
