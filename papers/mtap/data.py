"""Spectrograms as the network takes them: fixed length, normalised with statistics of the training part only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.experiments import Part
from common.features.spectrogram import Spectrogram, fix_length
from papers.mtap.config import MtapConfig


def features(config: MtapConfig) -> dict[str, Spectrogram]:
    """The extractors that a config needs (Sec. 5.2.1)."""
    spectrogram = Spectrogram(
        frame_ms=config.frame_ms, hop_ms=config.hop_ms, dft_length=config.dft_length, bins=config.bins
    )
    return {"spectrogram": spectrogram}


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of spectrogram bins; padding is added after it, so padding reads as the mean.

    Attributes:
        mean: shape (bins,).
        deviation: shape (bins,), positive.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fitted(cls, spectrograms: list[np.ndarray], kind: str) -> Normalisation:
        """Statistics over all frames of the training part.

        Args:
            spectrograms: training utterances, each (frames, bins).
            kind: "bin", "corpus" or "none" (see `MtapConfig.normalisation`).
        """
        bins = spectrograms[0].shape[1]
        if kind == "none":
            return cls(np.zeros(bins, np.float32), np.ones(bins, np.float32))
        frames = sum(len(s) for s in spectrograms)
        mean = sum(s.sum(0, dtype=np.float64) for s in spectrograms) / frames
        if kind == "corpus":
            mean = np.full(bins, mean.mean())
        variance = sum(np.square(s - mean.astype(np.float32)).sum(0, dtype=np.float64) for s in spectrograms) / frames
        if kind == "corpus":
            variance = np.full(bins, variance.mean())
        # A bin that never changes carries nothing; it is left at 0 instead of being blown up.
        deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def images(self, spectrograms: list[np.ndarray], frames: int) -> np.ndarray:
        """Normalised spectrograms of equal length, shape (utterances, frames, bins, 1), float32."""
        images = np.zeros((len(spectrograms), frames, len(self.mean), 1), np.float32)
        for image, spectrogram in zip(images, spectrograms, strict=True):
            image[..., 0] = fix_length((spectrogram[:] - self.mean) / self.deviation, frames)
        return images


def spectrograms(part: Part) -> list[np.ndarray]:
    """The part's spectrograms, in its order, each (frames, bins)."""
    source = part.features["spectrogram"]
    return [source[utterance] for utterance in part.table["utterance"]]
