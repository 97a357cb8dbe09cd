"""Log-magnitude spectrogram with a DFT longer than the frame.

The recipe of Satt, Rozenberg and Hoory (2017), which Wen et al. 2023 (Sec. 5.2.1) take over: Hamming frames of 40 ms
every 10 ms, DFT, 400 bins. At 16 kHz a frame has 640 samples; a DFT length of 1600 gives bins of 10 Hz, whose first 400
cover 0-4 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Spectrogram:
    """Extractor of log-magnitude spectrograms, shape (frames, bins), float32.

    Attributes:
        sample_rate: Hz; the signal must have it.
        frame_ms: frame length.
        hop_ms: distance of frames.
        dft_length: samples of the zero-padded DFT.
        bins: how many of its lowest bins are kept.
        floor: added to the magnitude before the logarithm, relative to a full-scale sine's magnitude, so that
            digital silence is finite: 1e-5 is -100 dB.
    """

    name: ClassVar[str] = "spectrogram"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    frame_ms: float = 40.0
    hop_ms: float = 10.0
    dft_length: int = 1600
    bins: int = 400
    floor: float = 1e-5

    def __post_init__(self):
        if min(self.frame_samples, self.hop_samples, self.bins) < 1 or not self.floor > 0:
            raise ValueError("frame and hop must be at least one sample, bins at least 1, floor above 0.")
        if self.frame_samples > self.dft_length or self.bins > self.dft_length // 2 + 1:
            raise ValueError(f"dft_length {self.dft_length} is too short for the frame or for {self.bins} bins.")

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""
        return round(self.sample_rate * self.frame_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.sample_rate * self.hop_ms / 1000)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Natural logarithm of the magnitude, a full-scale sine on a bin reading 0.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,); a last frame that is not full is dropped, a signal
                shorter than one frame is zero-padded to one.

        Returns:
            shape (frames, bins), float32; frames = 1 + (samples - frame) // hop.
        """
        magnitude = magnitudes(signal, self.frame_samples, self.hop_samples, self.dft_length)[:, : self.bins]
        return np.log(magnitude + np.float32(self.floor)).astype(np.float32, copy=False)


def magnitudes(signal: np.ndarray, frame: int, hop: int, dft_length: int) -> np.ndarray:
    """Magnitudes of a short-time Fourier transform in Hamming windows, a full-scale sine on a bin reading 1.

    Args:
        signal: float32 samples, shape (samples,); a last frame that is not full is dropped, a signal shorter than one
            frame is zero-padded to one.
        frame: samples of a frame.
        hop: samples from one frame to the next.
        dft_length: samples of the zero-padded DFT.

    Returns:
        shape (frames, dft_length // 2 + 1), float32; frames = 1 + (samples - frame) // hop.
    """
    from scipy.fft import rfft
    from scipy.signal import get_window

    if len(signal) < frame:
        signal = np.pad(signal, (0, frame - len(signal)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, frame)[::hop]
    window = get_window("hamming", frame, fftbins=False).astype(np.float32)
    # A sine of amplitude 1 has magnitude sum(window) / 2 in its bin.
    window *= 2.0 / window.sum()
    return np.abs(rfft(frames * window, n=dft_length, axis=1))


def fix_length(spectrogram: np.ndarray, frames: int, value: float = 0.0) -> np.ndarray:
    """Cuts head and tail alike, or pads the end, to a fixed number of frames (Wen et al. 2023, Sec. 5.2.1).

    Args:
        spectrogram: shape (time, bins).
        frames: frames to return.
        value: what padding holds.

    Returns:
        shape (frames, bins).
    """
    excess = len(spectrogram) - frames
    if excess >= 0:
        return spectrogram[excess // 2 : excess // 2 + frames]
    return np.pad(spectrogram, ((0, -excess), (0, 0)), constant_values=value)
