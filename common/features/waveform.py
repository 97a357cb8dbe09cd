"""Samples as features, for networks that take waveforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import AudioError

NARROWBAND_SHARE = 1e-6
"""If less than this share of the energy lies above 4.2 kHz, the audio counts as recorded at 8 kHz.

EMODB, LibriSpeech and TESS have 4e-4 or more in every file that was checked. Recordings of 8 kHz have 1e-14 after our
resampling, and 3e-8 if they were stored as 16-bit samples at 16 kHz."""


@dataclass(frozen=True)
class Waveform:
    """Extractor of the samples themselves, float32, shape (samples,).

    They are stored as float32: half precision would add noise at -66 dB, and the cache of IEMOCAP's four emotions (7 h)
    takes only 1.6 GB.

    Attributes:
        sample_rate: of the signal, in Hz.
        normalise: scale each utterance to mean 0 and variance 1, like Hugging Face's Wav2Vec2FeatureExtractor with
            do_normalize (which adds 1e-7 to the variance).
        shortest: samples that the network needs for one frame; HuBERT and wav2vec 2.0 need 400.
        narrowband: also accept audio without any content above 4 kHz. Recordings of 8 kHz are resampled when they are
            read, but a network that was trained on the full band has never seen such input. False: refuse it.
    """

    name: ClassVar[str] = "waveform"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    normalise: bool = True
    shortest: int = 400
    narrowband: bool = True

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Returns the samples of one utterance, normalised if `normalise` is set.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,).

        Raises:
            AudioError: The signal is shorter than one frame, or it is narrowband and that is refused.
        """
        if len(signal) < self.shortest:
            raise AudioError(
                f"The utterance has {len(signal)} samples at {self.sample_rate} Hz; one frame of the network needs "
                f"{self.shortest}."
            )
        if not self.narrowband and high_frequency_share(signal) < NARROWBAND_SHARE:
            raise AudioError(
                "The audio has nothing above 4 kHz, as if recorded at 8 kHz; the network was trained on the full band. "
                "Give the original recording, or set narrowband=true."
            )
        if not self.normalise:
            return signal
        exact = signal.astype(np.float64)
        return ((exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)).astype(np.float32)


def high_frequency_share(signal: np.ndarray) -> float:
    """Share of a 16 kHz signal's energy above 4.2 kHz, which is above the transition band of a resampler at 4 kHz."""
    from scipy.fft import rfft, rfftfreq

    power = np.abs(rfft(signal * np.hanning(len(signal)))) ** 2
    return float(power[rfftfreq(len(signal), 1 / 16000) > 4200].sum() / max(power.sum(), 1e-30))
