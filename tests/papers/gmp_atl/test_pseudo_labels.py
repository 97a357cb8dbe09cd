"""Codebooks are as good as scikit-learn's, and labels are those of the nearest centres."""

import tracemalloc

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from common.errors import UserError
from papers.gmp_atl.pseudo_labels import assign, fit_codebook, read_labels, save_labels, write_frames


def blobs(count=6000, clusters=12, width=8, seed=0, spread=0.3):
    generator = np.random.default_rng(seed)
    centres = generator.normal(0, 4, (clusters, width))
    members = generator.integers(0, clusters, count)
    return (centres[members] + generator.normal(0, spread, (count, width))).astype(np.float32), centres, members


def inertia(frames, centres):
    return float(np.square(frames[:, None] - centres[None]).sum(-1).min(1).sum())


def test_well_separated_clusters_are_found_in_frames_from_a_file(tmp_path):
    frames, centres, members = blobs()
    stored = write_frames(tmp_path / "frames", np.split(frames, [10, 500, 4000]), len(frames), 8)
    assert isinstance(stored, np.memmap) and stored.dtype == np.float16
    np.testing.assert_allclose(stored, frames, rtol=1e-3, atol=1e-3)
    found = fit_codebook(stored, 12, seed=1, batch=500, starts=5, passes=20)
    distances = np.linalg.norm(found[:, None] - centres[None], axis=-1)
    assert sorted(distances.argmin(1)) == list(range(12)) and distances.min(1).max() < 0.1
    labels = assign(stored, found)
    assert labels.dtype == np.uint16
    # One label per cluster, and no label twice.
    pairs = set(zip(members.tolist(), labels.tolist(), strict=True))
    assert len(pairs) == 12


@pytest.mark.parametrize("clusters", [8, 40])
def test_codebooks_are_as_good_as_those_of_scikit_learn(clusters):
    """With the same settings on frames without clear clusters; random frames as centres are far worse."""
    generator = np.random.default_rng(3)
    frames = (generator.normal(size=(4000, 6)) @ generator.normal(size=(6, 6))).astype(np.float32)
    mine = fit_codebook(frames, clusters, seed=0, batch=400, starts=4, passes=30)
    own = MiniBatchKMeans(
        clusters, batch_size=400, n_init=4, max_iter=30, tol=0.0, max_no_improvement=100, reassignment_ratio=0.0,
        random_state=0,
    ).fit(frames)  # fmt: skip
    expected = inertia(frames, own.cluster_centers_)
    assert inertia(frames, mine) == pytest.approx(expected, rel=0.04)
    assert inertia(frames, frames[:clusters]) > 1.3 * expected


def test_labels_are_the_nearest_centres():
    frames, _, _ = blobs(700, spread=3.0)
    centres = np.random.default_rng(1).normal(0, 4, (30, 8)).astype(np.float32)
    brute = np.square(frames[:, None].astype(np.float64) - centres[None]).sum(-1).argmin(1)
    assert np.mean(assign(frames, centres) == brute) == 1.0


def test_codebooks_depend_on_the_seed_alone():
    frames, _, _ = blobs(800, spread=3.0)
    first, again, other = (fit_codebook(frames, 9, seed, batch=100, starts=2, passes=3) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_frames_are_never_all_in_memory(tmp_path):
    stored = write_frames(tmp_path / "f", (np.ones((1000, 64), np.float32) * k for k in range(30)), 30_000, 64)
    tracemalloc.start()
    fit_codebook(stored, 4, seed=0, batch=200, starts=1, passes=1)
    assign(stored, np.zeros((4, 64), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * 30_000 * 64 * 4


def test_too_few_frames_and_a_wrong_count_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"64 clusters need at least as many frames; the training part has 63.*--set clusters"
    ):
        fit_codebook(np.zeros((63, 2), np.float16), 64, seed=0)
    with pytest.raises(ValueError, match="9 frames were announced, 3 came"):
        write_frames(tmp_path / "f", [np.zeros((3, 2))], 9, 2)


def test_saved_labels_are_read_again(tmp_path):
    labels = {4: np.arange(5, dtype=np.uint16), 8: np.arange(10, 15, dtype=np.uint16)}
    save_labels(tmp_path / "labels.npz", ["b", "a"], [2, 3], labels)
    found = read_labels(tmp_path / "labels.npz")
    assert list(found) == ["b", "a"]
    assert found["b"].tolist() == [[0, 10], [1, 11]] and found["a"].tolist() == [[2, 12], [3, 13], [4, 14]]
