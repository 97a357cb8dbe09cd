"""Magnitude of a short-time Fourier transform with 16 ms Hamming windows, as RH-Emo reads it.

Guizzo et al. (2023, Sec. 3.1) give window, overlap and that the phase is dropped. The rest is their public code's:
scipy.signal.stft with its defaults (half a window of zeros at both ends, padded to whole windows, divided by the
window's sum), at 16 kHz, a recording below 4 s zero-padded at its end before it is transformed; no logarithm, no power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class MagnitudeStft:
    """Extractor of magnitude spectrograms, shape (frames, bins), float32; 4 s are 501 frames of 129 bins.

    Attributes:
        sample_rate: Hz; the signal must have it.
        window_samples: window and DFT length; 256 at 16 kHz are 16 ms.
        hop_samples: from one window to the next.
        least_samples: shorter signals are zero-padded to this length; 0: never.
    """

    name: ClassVar[str] = "stft16"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    window_samples: int = 256
    hop_samples: int = 128
    least_samples: int = 64000

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Magnitudes, a full-scale sine on a bin reading one half.

        Args:
            signal: float32 samples, shape (samples,).

        Returns:
            shape (frames, window / 2 + 1), float32, time going forward.
        """
        from scipy.fft import rfft
        from scipy.signal import get_window

        window, hop = self.window_samples, self.hop_samples
        if len(signal) < self.least_samples:
            signal = np.pad(signal, (0, self.least_samples - len(signal)))
        # Half a window of silence at both ends, then up to a whole number of hops (and one window at least).
        signal = np.pad(signal, window // 2)
        signal = np.pad(signal, (0, -(len(signal) - window) % hop if len(signal) >= window else window - len(signal)))
        frames = np.lib.stride_tricks.sliding_window_view(signal, window)[::hop]
        weights = get_window("hamming", window).astype(np.float32)
        return np.abs(rfft(frames * (weights / weights.sum()), axis=1)).astype(np.float32, copy=False)
