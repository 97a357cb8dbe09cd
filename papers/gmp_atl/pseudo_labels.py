"""Frame-level pseudo-labels: mini-batch k-means over frames that lie in a file, never in memory as a whole (Sec. 3.1).

scikit-learn's `MiniBatchKMeans.fit` wants float32 frames in one array: 3.9 GB for the 1.26 million frames of IEMOCAP's
four emotions. So its steps are driven from here, by `partial_fit` on frames drawn from a memory-mapped file of float16:
starts, draws, and the rule that ends it are those of `fit`, and the settings are HuBERT's (fairseq,
examples/hubert/simple_kmeans): k-means++, batches of 10,000, at most 100 passes, the best of 20 starts, no tolerance,
100 steps without improvement end it, no reassignment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError

PATIENCE = 100
"""Steps without a better smoothed inertia that end the fit (HuBERT's max_no_improvement)."""

CHUNK = 5_000
"""Frames that are labelled at once."""


def write_frames(file: Path, arrays: Iterable[np.ndarray], frames: int, width: int) -> np.memmap:
    """Writes frames to a file, utterance by utterance, and gives it memory-mapped.

    Half precision is enough: it moves a frame by 1/2048 of its length at most, centres are much farther apart.

    Args:
        file: made anew.
        arrays: shape (frames of an utterance, width) each.
        frames: of all together.
        width: of a frame.

    Returns:
        shape (frames, width), float16, read-only.
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
    """Some frames, in the order of the file, float32."""
    return np.asarray(frames[np.sort(rows)], np.float32)


def fit_codebook(
    frames: np.ndarray, clusters: int, seed: int, *, batch: int = 10_000, starts: int = 20, passes: float = 100
) -> np.ndarray:
    """Mini-batch k-means as `MiniBatchKMeans(init="k-means++", tol=0, reassignment_ratio=0).fit` does it.

    Args:
        frames: shape (frames, width), may be memory-mapped; of the training part only.
        clusters: how many.
        seed: of all draws.
        batch: frames a step, drawn with replacement.
        starts: k-means++ starts on a sample of frames; the one that fits a second sample best is kept. 0: frames drawn
            at random are the centres to begin with.
        passes: the steps together see at most so many times as many frames as there are.

    Returns:
        Centres, shape (clusters, width), float32.

    Raises:
        UserError: fewer frames than clusters.
    """
    from threadpoolctl import threadpool_limits

    if len(frames) < clusters:
        raise UserError(
            f"{clusters} clusters need as many frames; the training part has {len(frames)}. "
            "Choose fewer with --set clusters=..."
        )
    batch = min(batch, len(frames))
    # Threads gain nothing on small steps, and on a busy machine they wait for each other.
    with threadpool_limits(None if batch * clusters > 100_000 else 1):
        return _fit(frames, clusters, seed, batch, starts, max(1, int(passes * len(frames)) // batch))


def _fit(frames: np.ndarray, clusters: int, seed: int, batch: int, starts: int, steps: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin_min

    generator = np.random.RandomState(seed)
    sample = min(3 * batch if 3 * batch >= clusters else 3 * clusters, len(frames))
    best, lowest = _take(frames, generator.choice(len(frames), clusters, replace=False)), np.inf
    held = _take(frames, generator.randint(0, len(frames), sample))
    for _ in range(starts):
        drawn = _take(frames, generator.choice(len(frames), sample, replace=False))
        centres, _ = kmeans_plusplus(drawn, clusters, random_state=generator)
        if starts == 1:
            best = centres
            break
        inertia = float(np.square(pairwise_distances_argmin_min(held, centres)[1]).sum())
        if inertia < lowest:
            best, lowest = centres, inertia
    held = drawn = None  # 90 MB each
    machine = MiniBatchKMeans(
        clusters, init=best, n_init=1, batch_size=batch, tol=0.0, reassignment_ratio=0.0, random_state=seed
    )
    rate = min(1.0, 2.0 * batch / (len(frames) + 1))
    smoothed = lowest = None
    waited = 0
    for _ in range(steps):
        machine.partial_fit(_take(frames, generator.randint(0, len(frames), batch)))
        smoothed = machine.inertia_ if smoothed is None else (1 - rate) * smoothed + rate * machine.inertia_
        if lowest is None or smoothed < lowest:
            lowest, waited = smoothed, 0
        else:
            waited += 1
            if waited >= PATIENCE:
                break
    return machine.cluster_centers_.astype(np.float32)


def assign(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number of the nearest centre of each frame, shape (frames,), uint16."""
    norms = np.square(centres).sum(axis=1)
    labels = np.empty(len(frames), np.uint16)
    for start in range(0, len(frames), CHUNK):
        part = np.asarray(frames[start : start + CHUNK], np.float32)
        # |x - c|^2 without |x|^2, which is the same for all centres.
        labels[start : start + CHUNK] = (norms - 2.0 * part @ centres.T).argmin(axis=1)
    return labels


def save_labels(file: Path, utterances: list[str], lengths: list[int], labels: dict[int, np.ndarray]) -> None:
    """Writes the labels of all frames of all utterances, by number of clusters."""
    sets = {f"labels-{clusters}": values for clusters, values in labels.items()}
    np.savez(file, utterances=np.array(utterances), lengths=np.array(lengths), **sets)


def read_labels(file: Path) -> dict[str, np.ndarray]:
    """Labels of each utterance, shape (frames, label sets), uint16; label sets from few to many clusters as saved."""
    with np.load(file, allow_pickle=False) as stored:
        sets = [stored[name] for name in stored.files if name.startswith("labels-")]
        ends = np.cumsum(stored["lengths"])
        return dict(zip(stored["utterances"].tolist(), _cut(np.stack(sets, axis=1), ends), strict=True))


def _cut(labels: np.ndarray, ends: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for end in ends:
        yield labels[start:end]
        start = end
