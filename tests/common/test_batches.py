"""Padded lengths: few shapes and little padding."""

import numpy as np

from common.batches import batches_by_padded_length, padded_length

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
