"""Features brought to mean 0 and standard deviation 1, with statistics of the training part alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Normalisation:
    """Subtracts a mean and divides by a standard deviation, feature by feature.

    What is padded with zeros after normalising is padded with the mean.

    Attributes:
        mean: float32, shape (features,).
        deviation: float32, positive, shape (features,).
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def identity(cls, features: int) -> Normalisation:
        """A normalisation that changes nothing."""
        return cls(np.zeros(features, np.float32), np.ones(features, np.float32))

    @classmethod
    def fitted(cls, arrays: Iterable[np.ndarray], *, pooled: bool = False) -> Normalisation:
        """Statistics over all rows of some arrays, in one pass and float64 (Chan et al. 1979).

        A feature that does not change keeps the deviation 1, so that rounding errors are not blown up.

        Args:
            arrays: for example the frames of each training utterance, shape (rows, features).
            pooled: one mean and one deviation for all features together.

        Raises:
            ValueError: There is not a single row.
        """
        count, mean, squares = 0, np.zeros(1), np.zeros(1)
        for array in arrays:
            rows = np.asarray(array, np.float64)
            if not len(rows):
                continue
            own = rows.mean(axis=0)
            shift = own - mean
            share = len(rows) / (count + len(rows))
            squares = squares + np.square(rows - own).sum(axis=0) + np.square(shift) * count * share
            mean = mean + shift * share
            count += len(rows)
        if not count:
            raise ValueError("There is not a single row to fit the normalisation on.")
        variance = squares / count
        if pooled:
            variance = np.full(len(mean), variance.mean() + mean.var())
            mean = np.full(len(mean), mean.mean())
        changes = variance > 1e-10 * np.maximum(np.square(mean), 1e-2)
        return cls(mean.astype(np.float32), np.where(changes, np.sqrt(variance), 1.0).astype(np.float32))

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """An array normalised, shape (..., features)."""
        return (array - self.mean) / self.deviation

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """What `from_arrays` needs, by names that start with the prefix."""
        return {f"{prefix}mean": self.mean, f"{prefix}deviation": self.deviation}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, np.ndarray], prefix: str = "") -> Normalisation:
        """The inverse of `arrays`."""
        return cls(stored[f"{prefix}mean"], stored[f"{prefix}deviation"])
