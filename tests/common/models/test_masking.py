import numpy as np
import pytest

from common.models.masking import mask_indices


def test_masked_share_is_pretrainings():
    """0.8 of 500 frames in spans of 10: 40 starts out of 491; expected share by the hypergeometric law, about 55 %."""
    masks = mask_indices(np.full(400, 500), 0.8, 10, seed=1)
    starts = 491
    covered = [min(frame, starts - 1) - max(frame - 9, 0) + 1 for frame in range(500)]
    missed = [np.prod([(starts - c - k) / (starts - k) for k in range(40)]) for c in covered]
    assert masks.mean() == pytest.approx(1 - np.mean(missed), abs=0.005)
    assert 0.53 < masks.mean() < 0.58


def test_number_of_spans_is_right_in_the_mean():
    masks = mask_indices(np.full(4000, 100), 0.25, 10, seed=3, overlap=False)  # 2.5 spans: two or three
    assert set(masks.sum(axis=1)) == {20, 30}
    assert masks.mean() == pytest.approx(0.25, abs=0.005)
    # Spans that keep apart start anywhere equally likely: first and last frame are masked alike.
    assert masks[:, 0].mean() == pytest.approx(masks[:, -1].mean(), abs=0.03)
    np.testing.assert_array_equal(masks, mask_indices(np.full(4000, 100), 0.25, 10, seed=3, overlap=False))
    assert (masks != mask_indices(np.full(4000, 100), 0.25, 10, seed=4, overlap=False)).any()


def test_masks_of_edge_cases():
    masks = mask_indices(np.array([100, 30, 10, 9, 0]), 0.05, 10, seed=0)
    assert masks.shape == (5, 100)
    assert masks[0].sum() >= 11  # at least two spans, at different starts
    assert masks[1, 30:].sum() == 0 and masks[1].sum() >= 11
    assert masks[2, :10].all() and masks[2].sum() == 10  # only one span fits
    assert not masks[3:].any()
    assert not mask_indices(np.array([50]), 0.0, 10, seed=0).any()
    assert mask_indices(np.array([50]), 1.0, 1, seed=0).all()
    assert mask_indices(np.array([40]), 1.0, 10, seed=0, overlap=False).all()
    assert mask_indices(np.array([], int), 0.5, 10, seed=0).shape == (0, 0)
    for wrong in ((1.1, 10), (-0.1, 10), (0.5, 0)):
        with pytest.raises(ValueError):
            mask_indices(np.array([50]), *wrong, seed=0)
