"""High-level statistical functions (HSF): mean and standard deviation of low-level descriptors over an utterance."""

from __future__ import annotations

import numpy as np


def functionals(descriptors: np.ndarray, *, drop_zeros: bool = False) -> np.ndarray:
    """Computes each column's mean and standard deviation over time (Atmaja and Akagi 2020, Sec. III.A, Table 1).

    The authors' public code differs from the paper: it pads all utterances with zeros to the longest one and then
    ignores every zero. This removes true zeros together with the padding: F0, jitter and shimmer of unvoiced frames,
    and chroma of absent notes. `drop_zeros` reproduces that code, for padded and for unpadded descriptors. The default
    follows the paper and expects unpadded descriptors.

    Args:
        descriptors: shape (frames, columns), at least one frame.
        drop_zeros: ignore zeros, like the authors' code; a column that is all zeros gives 0 and 0.

    Returns:
        Shape (2 * columns,), float32: all means, then all population standard deviations.

    Raises:
        ValueError: `descriptors` is not a matrix with at least one row.
    """
    values = np.asarray(descriptors, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"descriptors must have the shape (frames, columns), at least one frame; not {values.shape}.")
    counted = values != 0 if drop_zeros else np.ones(values.shape, bool)
    frames = np.maximum(counted.sum(axis=0), 1)
    mean = np.where(counted, values, 0.0).sum(axis=0) / frames
    deviation = np.where(counted, values - mean, 0.0)
    return np.concatenate([mean, np.sqrt((deviation**2).sum(axis=0) / frames)]).astype(np.float32)
