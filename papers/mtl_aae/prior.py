"""The prior p(z) of the latent code: draws of it, and how far a code is from it (Sec. III-A)."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops
from scipy.special import ndtr


def draw_prior(prior: str, shape, dtype, seed: keras.random.SeedGenerator):
    """Draws of a prior; `AaeConfig.prior` names the kinds."""
    if prior == "uniform":
        return keras.random.uniform(shape, dtype=dtype, seed=seed)
    drawn = keras.random.normal(shape, dtype=dtype, seed=seed)
    if prior == "rectified-normal":
        return ops.relu(drawn)
    return ops.abs(drawn) if prior == "half-normal" else drawn


def cumulative(prior: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities that a draw is below each value, and that it is at most each value.

    They differ only at 0 for the rectified normal distribution, which is 0 with a probability of one half.
    """
    at_most = {
        "normal": ndtr,
        "rectified-normal": lambda x: np.where(x < 0, 0.0, ndtr(x)),
        "half-normal": lambda x: np.where(x < 0, 0.0, 2 * ndtr(x) - 1),
        "uniform": lambda x: np.clip(x, 0.0, 1.0),
    }[prior](values)
    return np.where((values == 0) & (prior == "rectified-normal"), 0.0, at_most), at_most


def distance_to_prior(codes: np.ndarray, prior: str) -> float:
    """The Kolmogorov-Smirnov distance between the values of a code and the prior, averaged over the code's channels.

    It is the largest difference of the two cumulative distributions: 0 if they are equal, at most 1.

    Args:
        codes: shape (..., channels).
        prior: see `AaeConfig.prior`.
    """
    distances = []
    for channel in codes.reshape(-1, codes.shape[-1]).T.astype(np.float64):
        values, counts = np.unique(channel, return_counts=True)
        found = np.cumsum(counts) / len(channel)
        below, at_most = cumulative(prior, values)
        distances.append(max(np.abs(found - at_most).max(), np.abs(np.r_[0.0, found[:-1]] - below).max()))
    return float(np.mean(distances))
