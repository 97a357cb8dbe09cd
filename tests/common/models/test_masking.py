import numpy as np
import pytest

from common.models.masking import span_mask


def masks(count, frames, probability, span):
    return np.array([span_mask(frames, probability, span, seed) for seed in range(count)])


def test_pretraining_masks_55_percent():
    """0.8 of 500 frames in spans of 10: 40 starts out of 491; expected share by the hypergeometric law, about 55 %."""
    drawn = masks(400, 500, 0.8, 10)
    starts = 491
    covered = [min(frame, starts - 1) - max(frame - 9, 0) + 1 for frame in range(500)]
    missed = [np.prod([(starts - c - k) / (starts - k) for k in range(40)]) for c in covered]
    assert drawn.mean() == pytest.approx(1 - np.mean(missed), abs=0.005)
    assert 0.53 < drawn.mean() < 0.58


def test_the_mean_number_of_spans_is_not_rounded():
    drawn = masks(4000, 35, 0.1, 1)  # 3.5 spans of one frame: three or four
    assert set(drawn.sum(axis=1)) == {3, 4}
    assert drawn.mean() == pytest.approx(0.1, abs=0.002)


def test_the_seed_decides():
    np.testing.assert_array_equal(span_mask(100, 0.25, 10, seed=3), span_mask(100, 0.25, 10, seed=3))
    assert (span_mask(100, 0.25, 10, seed=3) != span_mask(100, 0.25, 10, seed=4)).any()


def test_short_utterances_and_limits_of_the_probability():
    for seed in range(20):
        assert span_mask(100, 0.05, 10, seed).sum() >= 11  # at least two spans, with different starts
        assert span_mask(10, 0.05, 10, seed).all()  # only one span fits
        assert span_mask(9, 0.05, 10, seed).shape == (9,) and not span_mask(9, 0.05, 10, seed).any()
        assert not span_mask(50, 0.0, 10, seed).any()
        assert span_mask(50, 1.0, 1, seed).all()
    assert span_mask(0, 0.5, 10, seed=0).shape == (0,)


@pytest.mark.parametrize(("probability", "span"), [(1.1, 10), (-0.1, 10), (0.5, 0)])
def test_wrong_arguments(probability, span):
    with pytest.raises(ValueError, match=f"probability {probability}"):
        span_mask(50, probability, span, seed=0)
