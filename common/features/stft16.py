"""Magnitudes of a short-time Fourier transform with 16 ms Hamming windows, the input of RH-Emo.

Guizzo et al. (2023, Sec. 3.1) state the window and the overlap, and that the phase is dropped. Everything else follows
their public code: scipy.signal.stft with its defaults (half a window of zeros at both ends, padded to whole windows,
divided by the sum of the window), at 16 kHz. Recordings below 4 s are zero-padded at the end before the transform.
There is no logarithm and no power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class MagnitudeStft:
    """Extractor of magnitude spectrograms, shape (frames, bins), float32; 4 s are 501 frames of 129 bins.

    Attributes:
        sample_rate: of the signal, in Hz.
        window_samples: length of the window and of the DFT; 256 samples at 16 kHz are 16 ms.
        hop_samples: samples from the start of one window to the start of the next.
        least_samples: shorter signals are zero-padded to this length; 0: no padding.
    """

    name: ClassVar[str] = "stft16"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    window_samples: int = 256
    hop_samples: int = 128
    least_samples: int = 64000

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the magnitudes; a full-scale sine at the centre of a bin gives 0.5.

        Args:
            signal: float32 samples, shape (samples,).

        Returns:
            Shape (frames, window / 2 + 1), float32, in the order of time.
        """
        from scipy.fft import rfft
        from scipy.signal import get_window

        window, hop = self.window_samples, self.hop_samples
        if len(signal) < self.least_samples:
            signal = np.pad(signal, (0, self.least_samples - len(signal)))
        # Half a window of zeros at both ends, then zeros up to a whole number of hops and at least one window.
        signal = np.pad(signal, window // 2)
        signal = np.pad(signal, (0, -(len(signal) - window) % hop if len(signal) >= window else window - len(signal)))
        frames = np.lib.stride_tricks.sliding_window_view(signal, window)[::hop]
        weights = get_window("hamming", window).astype(np.float32)
        return np.abs(rfft(frames * (weights / weights.sum()), axis=1)).astype(np.float32, copy=False)
