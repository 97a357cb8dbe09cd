"""Spectrograms whose DFT is longer than the frame.

This is the recipe of Satt, Rozenberg and Hoory (2017), which Wen et al. 2023 (Sec. 5.2.1) use: Hamming windows of 40 ms
every 10 ms, DFT, 400 bins. At 16 kHz a frame has 640 samples. A DFT length of 1600 gives bins of 10 Hz, the first 400
of which cover 0-4 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


class Framing:
    """Frame length and hop in samples, for an extractor with the fields `sample_rate`, `frame_ms` and `hop_ms`."""

    @property
    def frame_samples(self) -> int:
        """Samples per frame."""
        return round(self.sample_rate * self.frame_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one frame to the start of the next."""
        return round(self.sample_rate * self.hop_ms / 1000)


@dataclass(frozen=True)
class Spectrogram(Framing):
    """Extractor of spectrograms, shape (frames, bins), float32.

    Attributes:
        sample_rate: of the signal, in Hz.
        frame_ms: frame length.
        hop_ms: time from the start of one frame to the start of the next.
        dft_length: length of the zero-padded DFT, in samples.
        bins: how many of the lowest DFT bins are kept.
        floor: added to the magnitude before the logarithm, so that digital silence gives a finite value. It is relative
            to the magnitude of a full-scale sine: 1e-5 is -100 dB.
        log: natural logarithms of the magnitudes; false: the magnitudes.
    """

    name: ClassVar[str] = "spectrogram"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    frame_ms: float = 40.0
    hop_ms: float = 10.0
    dft_length: int = 1600
    bins: int = 400
    floor: float = 1e-5
    log: bool = True

    def __post_init__(self):
        if min(self.frame_samples, self.hop_samples, self.bins) < 1 or not self.floor > 0:
            raise ValueError("Frame and hop must be at least one sample, bins at least 1, and floor above 0.")
        if self.frame_samples > self.dft_length or self.bins > self.dft_length // 2 + 1:
            raise ValueError(f"dft_length {self.dft_length} is too short for the frame or for {self.bins} bins.")

    @property
    def silence(self) -> float:
        """The value of a bin in digital silence."""
        return float(np.log(np.float32(self.floor))) if self.log else 0.0

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the magnitudes or their logarithms; a full-scale sine at the centre of a bin gives 1, or 0.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,); see `magnitudes` for its last frame.

        Returns:
            Shape (frames, bins), float32; frames = 1 + (samples - frame) // hop.
        """
        magnitude = magnitudes(signal, self.frame_samples, self.hop_samples, self.dft_length)[:, : self.bins]
        if not self.log:
            return magnitude.astype(np.float32, copy=False)
        return np.log(magnitude + np.float32(self.floor)).astype(np.float32, copy=False)


def magnitudes(signal: np.ndarray, frame: int, hop: int, dft_length: int) -> np.ndarray:
    """Magnitudes of a short-time Fourier transform with Hamming windows.

    They are scaled so that a full-scale sine at the centre of a bin gives 1.

    Args:
        signal: float32 samples, shape (samples,). An incomplete last frame is dropped; a signal shorter than one frame
            is zero-padded to one frame.
        frame: samples per frame.
        hop: samples from the start of one frame to the start of the next.
        dft_length: length of the zero-padded DFT, in samples.

    Returns:
        Shape (frames, dft_length // 2 + 1), float32; frames = 1 + (samples - frame) // hop.
    """
    from scipy.fft import rfft
    from scipy.signal import get_window

    if len(signal) < frame:
        signal = np.pad(signal, (0, frame - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, frame)[::hop]
    window = get_window("hamming", frame, fftbins=False).astype(np.float32)
    # A sine of amplitude 1 has the magnitude sum(window) / 2 in its bin.
    window *= 2.0 / window.sum()
    return np.abs(rfft(frames * window, n=dft_length, axis=1))


def fix_length(
    spectrogram: np.ndarray, frames: int, value: float | np.ndarray = 0.0, trimming: str = "both"
) -> np.ndarray:
    """Cuts a spectrogram, or pads its end (Wen et al. 2023, Sec. 5.2.1).

    Args:
        spectrogram: shape (time, bins).
        frames: number of frames to return.
        value: value to pad with, or one per bin.
        trimming: where frames are cut: equally at "both" ends, at the "head" or at the "tail".

    Returns:
        Shape (frames, bins).
    """
    excess = len(spectrogram) - frames
    if excess >= 0:
        start = {"both": excess // 2, "tail": 0, "head": excess}[trimming]
        return spectrogram[start : start + frames]
    padded = np.empty((frames, spectrogram.shape[1]), spectrogram.dtype)
    padded[: len(spectrogram)], padded[len(spectrogram) :] = spectrogram, value
    return padded
