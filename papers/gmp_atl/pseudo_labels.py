"""Frame-level pseudo-labels: mini-batch k-means over frames in a file, which are never all in memory (Sec. 3.1).

scikit-learn's `MiniBatchKMeans.fit` needs all frames in one float32 array: 3.9 GB for the 1.26 million frames of
IEMOCAP's four emotions. This module therefore calls `partial_fit` on frames drawn from a memory-mapped float16 file.
Starts, draws and the stopping rule are those of `fit`. The settings are HuBERT's (fairseq,
examples/hubert/simple_kmeans): k-means++, batches of 10,000, at most 100 passes, the best of 20 starts, no tolerance,
at most 100 steps without improvement, no reassignment.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.errors import UserError

PATIENCE = 100
"""Steps without a lower smoothed inertia after which a fit stops (HuBERT's max_no_improvement)."""

CHUNK = 5_000
"""Frames that are labelled together."""


def write_frames(file: Path, arrays: Iterable[np.ndarray], frames: int, width: int) -> np.memmap:
    """Writes frames to a file, utterance by utterance, and returns it memory-mapped.

    Half precision is sufficient: it moves a frame by at most 1/2048 of its length; centres are much farther apart.

    Args:
        file: file to create.
        arrays: frames of each utterance, shape (frames of the utterance, width).
        frames: number of frames of all utterances.
        width: numbers per frame.

    Returns:
        Shape (frames, width), float16, read-only.

    Raises:
        ValueError: The arrays have more or fewer frames than announced.
    """
    stored = np.memmap(file, np.float16, "w+", shape=(frames, width))
    end = 0
    for array in arrays:
        stored[end : end + len(array)] = array
        end += len(array)
    if end != frames:
        raise ValueError(f"{frames} frames were announced, {end} came.")
    stored.flush()
    del stored
    return np.memmap(file, np.float16, "r", shape=(frames, width))


def _take(frames: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Reads some frames in the order of the file, float32."""
    return np.asarray(frames[np.sort(rows)], np.float32)


def fit_codebook(
    frames: np.ndarray, clusters: int, seed: int, *, batch: int = 10_000, starts: int = 20, passes: float = 100
) -> np.ndarray:
    """Fits mini-batch k-means, as `MiniBatchKMeans(init="k-means++", tol=0, reassignment_ratio=0).fit` does.

    Args:
        frames: frames of the training part, shape (frames, width); may be memory-mapped.
        clusters: number of clusters.
        seed: seeds all draws.
        batch: frames per step, drawn with replacement.
        starts: k-means++ starts on a sample of frames; the one that fits a second sample best is kept. 0: start from
            frames drawn at random.
        passes: limits the steps, which together draw at most `passes` times the number of frames.

    Returns:
        Centres, shape (clusters, width), float32.

    Raises:
        UserError: There are fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin_min
    from threadpoolctl import threadpool_limits

    if len(frames) < clusters:
        raise UserError(
            f"{clusters} clusters need at least as many frames; the training part has {len(frames)}. "
            "Choose fewer with --set clusters=..."
        )
    batch = min(batch, len(frames))
    # Several threads do not speed up small steps, and on a busy machine they wait for each other.
    with threadpool_limits(None if batch * clusters > 100_000 else 1):
        generator = np.random.RandomState(seed)
        sample = min(3 * batch if 3 * batch >= clusters else 3 * clusters, len(frames))
        best, lowest = _take(frames, generator.choice(len(frames), clusters, replace=False)), np.inf
        second = _take(frames, generator.randint(0, len(frames), sample))
        for _ in range(starts):
            drawn = _take(frames, generator.choice(len(frames), sample, replace=False))
            centres, _ = kmeans_plusplus(drawn, clusters, random_state=generator)
            inertia = float(np.square(pairwise_distances_argmin_min(second, centres)[1]).sum())
            if inertia < lowest:
                best, lowest = centres, inertia
        second = drawn = None  # 90 MB each
        kmeans = MiniBatchKMeans(
            clusters, init=best, n_init=1, batch_size=batch, tol=0.0, reassignment_ratio=0.0, random_state=seed
        )
        rate = min(1.0, 2.0 * batch / (len(frames) + 1))
        smoothed, lowest, waited = None, np.inf, 0
        for _ in range(max(1, int(passes * len(frames)) // batch)):
            kmeans.partial_fit(_take(frames, generator.randint(0, len(frames), batch)))
            smoothed = kmeans.inertia_ if smoothed is None else (1 - rate) * smoothed + rate * kmeans.inertia_
            waited = 0 if smoothed < lowest else waited + 1
            lowest = min(lowest, smoothed)
            if waited >= PATIENCE:
                break
    return kmeans.cluster_centers_.astype(np.float32)


def assign(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns the number of the centre nearest to each frame, uint16, shape (frames,)."""
    norms = np.square(centres).sum(axis=1)
    labels = np.empty(len(frames), np.uint16)
    for start in range(0, len(frames), CHUNK):
        block = np.asarray(frames[start : start + CHUNK], np.float32)
        # The squared distance without the term |x|^2, which is the same for all centres.
        labels[start : start + CHUNK] = (norms - 2.0 * block @ centres.T).argmin(axis=1)
    return labels


def save_labels(file: Path, utterances: list[str], lengths: list[int], labels: dict[int, np.ndarray]) -> None:
    """Writes the labels of all frames, by number of clusters, with the utterances and their numbers of frames."""
    sets = {f"labels-{clusters}": values for clusters, values in labels.items()}
    np.savez(file, utterances=np.array(utterances), lengths=np.array(lengths), **sets)


def read_labels(file: Path) -> dict[str, np.ndarray]:
    """Reads the labels of each utterance, uint16, shape (frames, label sets), label sets in the order of saving."""
    with np.load(file, allow_pickle=False) as stored:
        sets = [stored[name] for name in stored.files if name.startswith("labels-")]
        cuts = np.cumsum(stored["lengths"])[:-1]
        return dict(zip(stored["utterances"].tolist(), np.split(np.stack(sets, axis=1), cuts), strict=True))
