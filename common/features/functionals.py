"""High-level statistical functions (HSF): mean and standard deviation of low-level descriptors over an utterance."""

from __future__ import annotations

import numpy as np


def functionals(descriptors: np.ndarray, *, drop_zeros: bool = False) -> np.ndarray:
    """Mean and standard deviation over time of each column (Atmaja and Akagi 2020, Sec. III.A, Table 1).

    The paper's HSF are means and standard deviations of the descriptors. Its authors' public code zero-pads all
    utterances to the longest one, turns every zero into NaN and leaves NaN out, which takes true zeros out with the
    padding: F0, jitter and shimmer of unvoiced frames, chroma of absent notes. So `drop_zeros` gives their numbers with
    or without padding, and the default is what the paper says, on descriptors that were not padded.

    Args:
        descriptors: shape (frames, columns), at least one frame.
        drop_zeros: leave zeros out, as the authors' code; a column of zeros only then gives 0 and 0.

    Returns:
        shape (2 * columns,), float32: all means, then all standard deviations (of the population, `ddof` 0).
    """
    values = np.asarray(descriptors, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"descriptors have the shape (frames, columns) with a frame at least, not {values.shape}.")
    counted = values != 0 if drop_zeros else np.ones(values.shape, bool)
    frames = np.maximum(counted.sum(axis=0), 1)
    mean = np.where(counted, values, 0.0).sum(axis=0) / frames
    deviation = np.where(counted, values - mean, 0.0)
    return np.concatenate([mean, np.sqrt((deviation**2).sum(axis=0) / frames)]).astype(np.float32)
