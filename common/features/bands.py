"""Spectrograms in frequency bands that are evenly spaced in Hz or in mel.

Rana et al. 2019 (Sec. IV-B): Hamming windows of 25 ms every 10 ms, 128 bands. A band's value is the mean of the
magnitudes, weighted by a triangle from the centre of the band below to the centre of the band above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from common.features.spectrogram import Framing, magnitudes


@dataclass(frozen=True)
class BandSpectrogram(Framing):
    """Extractor of band spectrograms, shape (frames, rows), float32, the lowest band first.

    Attributes:
        sample_rate: of the signal, in Hz.
        frame_ms: frame length.
        hop_ms: time from the start of one frame to the start of the next.
        dft_length: length of the zero-padded DFT, in samples.
        rows: number of bands.
        top_hz: upper end of the highest band; the lowest band begins at 0 Hz.
        scale: the scale on which all bands have the same width; "mel" is 1127 ln(1 + f / 700).
        log: take the natural logarithm of the means.
        floor: added to a mean before the logarithm; a full-scale sine has the magnitude 1, so 1e-5 is -100 dB.
    """

    name: ClassVar[str] = "bands"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    frame_ms: float = 25.0
    hop_ms: float = 10.0
    dft_length: int = 1024
    rows: int = 128
    top_hz: float = 8000.0
    scale: Literal["linear", "mel"] = "linear"
    log: bool = True
    floor: float = 1e-5

    def __post_init__(self):
        if min(self.frame_samples, self.hop_samples, self.rows) < 1 or not self.floor > 0:
            raise ValueError("Frame and hop must be at least one sample, rows at least 1, and floor above 0.")
        if self.frame_samples > self.dft_length:
            raise ValueError(f"dft_length {self.dft_length} is shorter than a frame of {self.frame_samples} samples.")
        if not 0 < self.top_hz <= self.sample_rate / 2:
            raise ValueError(f"top_hz {self.top_hz:g} must be above 0 and at most half of {self.sample_rate} Hz.")
        if (self._weights().sum(axis=0) == 0).any():
            raise ValueError(f"dft_length {self.dft_length} leaves bands without a DFT bin; choose a longer one.")

    def edges(self) -> np.ndarray:
        """Ends of the triangles in Hz, shape (rows + 2,); the centres of the bands are all but the first and last."""
        if self.scale == "linear":
            return np.linspace(0.0, self.top_hz, self.rows + 2)
        mel = np.linspace(0.0, 1127.0 * np.log1p(self.top_hz / 700.0), self.rows + 2)
        return 700.0 * np.expm1(mel / 1127.0)

    def _weights(self) -> np.ndarray:
        """Triangular weights with a peak of 1, shape (dft_length // 2 + 1, rows)."""
        edges = self.edges()
        frequency = np.arange(self.dft_length // 2 + 1)[:, None] * (self.sample_rate / self.dft_length)
        rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
        return np.maximum(0.0, np.minimum(rising, falling))

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the bands of one utterance.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,); see `magnitudes` for its last frame.

        Returns:
            Shape (frames, rows), float32; frames = 1 + (samples - frame) // hop.
        """
        weights = self._weights()
        weights = (weights / weights.sum(axis=0)).astype(np.float32)
        means = magnitudes(signal, self.frame_samples, self.hop_samples, self.dft_length).astype(np.float32) @ weights
        return np.log(means + np.float32(self.floor)) if self.log else means
