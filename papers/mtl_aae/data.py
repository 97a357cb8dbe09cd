"""The networks' input: normalised spectrograms of a fixed size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from common.contract import Part
from common.errors import UserError
from common.features.bands import BandSpectrogram
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


def without_silence(spectrogram: np.ndarray, below_db: float, *, log: bool) -> np.ndarray:
    """Removes the silent frames at the start and at the end (Sec. IV-B, for LibriSpeech).

    The paper trims samples before the transform. Frames are 10 ms apart, so trimming frames gives nearly the same.

    Args:
        spectrogram: magnitudes or their natural logarithms, shape (frames, rows).
        below_db: a frame is silent if its energy is more than this below the energy of the loudest frame.
        log: True if the spectrogram holds logarithms.
    """
    energy = np.square(np.exp(spectrogram) if log else spectrogram).sum(axis=1, dtype=np.float64)
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-below_db / 10))
    return spectrogram[loud[0] : loud[-1] + 1]


class SpectrogramImages:
    """The normalised spectrograms of a part, cut or padded to a fixed width when they are asked for.

    Args:
        part: utterances with their features.
        config: settings.
        normalisation: None: fitted on this part, as `config.normalisation` says.
        trim_db: see `without_silence`; 0: nothing is trimmed.
    """

    def __init__(
        self, part: Part, config: AaeConfig, normalisation: Normalisation | None = None, *, trim_db: float = 0.0
    ):
        self.utterances = tuple(part.table["utterance"])
        self.features = part.features["spectrogram"]
        self.config = config
        self.trim_db = trim_db
        self._in_memory: dict[int, np.ndarray] = {}
        self._lengths: dict[int, int] = {}
        self._bytes = 0
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
        spectrogram = np.asarray(self.features[self.utterances[index]])
        return without_silence(spectrogram, self.trim_db, log=self.config.log) if self.trim_db else spectrogram

    def _normalised(self, index: int) -> np.ndarray:
        """A whole spectrogram, shape (rows, frames)."""
        if index in self._in_memory:
            return self._in_memory[index]
        values = np.ascontiguousarray(self.normalisation(self._read(index)).T, dtype=np.float32)
        self._lengths[index] = values.shape[1]
        if self._bytes + values.nbytes <= MEMORY_BYTES:
            self._in_memory[index] = values
            self._bytes += values.nbytes
        return values

    def take(self, indices: Iterable[int], generator: np.random.Generator | None = None) -> np.ndarray:
        """The images of some utterances.

        Args:
            indices: positions of the utterances in the part.
            generator: draws where a long utterance is cut, if `crop` is "random"; None: the centre is cut out.

        Returns:
            float32, shape (utterances, rows, frames, 1); short utterances are padded at the end with 0.
        """
        indices = list(indices)
        images = np.zeros((len(indices), self.config.rows, self.config.frames, 1), np.float32)
        for image, index in zip(images, indices, strict=True):
            values = self._normalised(index)
            excess = values.shape[1] - self.config.frames
            first = 0
            if excess > 0 and (generator is None or self.config.crop == "centre"):
                first = excess // 2
            elif excess > 0 and self.config.crop == "random":
                first = int(generator.integers(excess + 1))
            cut = values[:, first : first + self.config.frames]
            image[:, : cut.shape[1], 0] = cut
        return images

    def frames(self, indices: Iterable[int]) -> np.ndarray:
        """How many frames of the images of some utterances are speech, int32; the others are padding."""
        for index in indices:
            if index not in self._lengths:
                self._normalised(index)
        return np.array([min(self._lengths[index], self.config.frames) for index in indices], np.int32)
