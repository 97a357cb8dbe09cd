"""The networks' input: normalised spectrograms of a fixed size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from common.contract import Part
from common.errors import UserError
from common.features.bands import BandSpectrogram
from common.features.shards import ShardedFeatures, announce
from common.normalisation import Normalisation
from papers.mtl_aae.config import AaeConfig

MEMORY_BYTES = 2 << 30
"""Spectrograms of a part that are kept in memory; those that do not fit are read from the cache each time."""

NORMALISATION_UTTERANCES = 2000
"""The normalisation is fitted on at most this many utterances, spread evenly over the part; 128 means need no more."""


def features(config: AaeConfig) -> dict[str, BandSpectrogram]:
    """The extractor that a config needs (Sec. IV-B).

    Raises:
        UserError: The settings of the spectrogram contradict each other.
    """
    names = ("sample_rate", "frame_ms", "hop_ms", "dft_length", "rows", "top_hz", "scale", "log")
    try:
        return {"spectrogram": BandSpectrogram(**{name: getattr(config, name) for name in names})}
    except ValueError as error:
        raise UserError(f"The spectrogram cannot be made: {error}") from None


class SpectrogramImages:
    """The spectrograms of a part, cut or padded to a fixed width and normalised when they are asked for.

    Args:
        part: utterances with their features.
        config: settings.
        normalisation: None: fitted on this part, as `config.normalisation` says.
    """

    def __init__(self, part: Part, config: AaeConfig, normalisation: Normalisation | None = None):
        self.utterances = tuple(part.table["utterance"])
        self.features = part.features["spectrogram"]
        self.config = config
        # The operating system keeps what was read of memory-mapped features.
        self._free_bytes = 0 if isinstance(self.features, ShardedFeatures) else MEMORY_BYTES
        self._in_memory: dict[int, np.ndarray] = {}
        self._lengths: dict[int, int] = {}
        self.normalisation = normalisation or self._fit_normalisation()

    def __len__(self) -> int:
        return len(self.utterances)

    def _fit_normalisation(self) -> Normalisation:
        if self.config.normalisation == "none":
            return Normalisation.identity(self.config.rows)
        sample = np.linspace(0, len(self) - 1, min(len(self), NORMALISATION_UTTERANCES)).astype(int)
        spectrograms = (self._read(index) for index in np.unique(sample))
        return Normalisation.fitted(spectrograms, pooled=self.config.normalisation == "corpus")

    def _read(self, index: int) -> np.ndarray:
        """A whole spectrogram as it was extracted, shape (frames, rows)."""
        if index in self._in_memory:
            return self._in_memory[index]
        values = np.asarray(self.features[self.utterances[index]])
        self._lengths[index] = len(values)
        if values.nbytes <= self._free_bytes:
            self._in_memory[index] = values
            self._free_bytes -= values.nbytes
        return values

    def take(
        self, indices: Iterable[int], generator: np.random.Generator | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The images of some utterances.

        Args:
            indices: positions of the utterances in the part.
            generator: draws where a long utterance is cut, if `crop` is "random"; None: the centre is cut out.
            out: zeros of the result's shape and type, which receive the images; None: a new array.

        Returns:
            float32, shape (utterances, rows, frames, 1); short utterances are padded at the end with 0.
        """
        indices = list(indices)
        if out is None:
            out = np.zeros((len(indices), self.config.rows, self.config.frames, 1), np.float32)
        # Cut first, since an auxiliary utterance has five times as many frames.
        cuts = [self._cut(self._read(index), generator) for index in indices]
        announce(cuts)
        mean, deviation = self.normalisation.mean[:, None], self.normalisation.deviation[:, None]
        for image, cut in zip(out, cuts, strict=True):
            speech = image[:, : len(cut), 0]
            speech[:] = cut.T
            # In place, which takes two thirds of the time of `Normalisation.__call__`.
            speech -= mean
            speech /= deviation
        return out

    def _cut(self, whole: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        """The frames of a spectrogram that an image shows; arguments as in `take`."""
        excess, first = len(whole) - self.config.frames, 0
        if excess > 0 and (generator is None or self.config.crop == "centre"):
            first = excess // 2
        elif excess > 0 and self.config.crop == "random":
            first = int(generator.integers(excess + 1))
        return whole[first : first + self.config.frames]

    def frames(self, indices: Iterable[int]) -> np.ndarray:
        """How many frames of the images of some utterances are speech, int32; the others are padding."""
        for index in indices:
            if index not in self._lengths:
                self._read(index)
        return np.array([min(self._lengths[index], self.config.frames) for index in indices], np.int32)
