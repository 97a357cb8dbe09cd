"""Spectrogram whose rows are frequency bands, spaced evenly in Hz or in mel.

Rana et al. 2019 (Sec. IV-B): Hamming windows of 25 ms every 10 ms, 128 rows. A row is the mean of the magnitudes under
a triangle that reaches from the centre of the row below to the centre of the row above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from common.features.spectrogram import magnitudes


@dataclass(frozen=True)
class BandSpectrogram:
    """Extractor of spectrograms in bands, shape (frames, rows), float32, the lowest band first.

    Attributes:
        sample_rate: Hz; the signal must have it.
        frame_ms: frame length.
        hop_ms: distance of frames.
        dft_length: samples of the zero-padded DFT.
        rows: how many bands.
        top_hz: where the highest band ends; the lowest begins at 0 Hz.
        scale: in what the bands are equally wide; "mel" is 1127 ln(1 + f / 700).
        log: natural logarithm of the means, or the means themselves.
        floor: added to a mean before the logarithm; a full-scale sine's magnitude is 1, so 1e-5 is -100 dB.
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
            raise ValueError("frame and hop must be at least one sample, rows at least 1, floor above 0.")
        if self.frame_samples > self.dft_length:
            raise ValueError(f"dft_length {self.dft_length} is shorter than a frame of {self.frame_samples} samples.")
        if not 0 < self.top_hz <= self.sample_rate / 2:
            raise ValueError(f"top_hz {self.top_hz:g} must be above 0 and at most half of {self.sample_rate} Hz.")
        if (self._weights().sum(axis=0) == 0).any():
            raise ValueError(f"dft_length {self.dft_length} leaves bands without a frequency; take a longer one.")

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""
        return round(self.sample_rate * self.frame_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.sample_rate * self.hop_ms / 1000)

    def centres(self) -> np.ndarray:
        """Centre of each band in Hz, shape (rows,)."""
        return self._edges()[1:-1]

    def _edges(self) -> np.ndarray:
        if self.scale == "linear":
            return np.linspace(0.0, self.top_hz, self.rows + 2)
        mel = np.linspace(0.0, 1127.0 * np.log1p(self.top_hz / 700.0), self.rows + 2)
        return 700.0 * np.expm1(mel / 1127.0)

    def _weights(self) -> np.ndarray:
        """Triangles of height 1, shape (dft_length // 2 + 1, rows)."""
        edges = self._edges()
        frequency = np.arange(self.dft_length // 2 + 1)[:, None] * (self.sample_rate / self.dft_length)
        rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
        return np.maximum(0.0, np.minimum(rising, falling))

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Bands of one utterance.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,); a last frame that is not full is dropped, a signal
                shorter than one frame is zero-padded to one.

        Returns:
            shape (frames, rows), float32; frames = 1 + (samples - frame) // hop.
        """
        weights = self._weights()
        weights = (weights / weights.sum(axis=0)).astype(np.float32)
        means = magnitudes(signal, self.frame_samples, self.hop_samples, self.dft_length).astype(np.float32) @ weights
        return np.log(means + np.float32(self.floor)) if self.log else means
