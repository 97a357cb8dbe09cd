"""Samples as they are, for networks that take waveforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import AudioError
from common.features.hubert import refuse_narrowband


@dataclass(frozen=True)
class Waveform:
    """Extractor of the samples themselves, float32, shape (samples,).

    They are kept in float32: half precision would add noise at -66 dB, and the cache of IEMOCAP's four emotions (7 h)
    is 1.6 GB as it is.

    Attributes:
        sample_rate: Hz.
        normalise: to mean 0 and variance 1 over the utterance, as Hugging Face's Wav2Vec2FeatureExtractor does with
            do_normalize (the variance is raised by 1e-7 before its root).
        shortest: samples that the network needs for one frame; HuBERT and wav2vec 2.0 need 400.
        narrowband: take audio without anything above 4 kHz, too. Reading resamples a recording of 8 kHz without a
            word, but a network that was trained on the whole band has never heard such a thing: False refuses it.
    """

    name: ClassVar[str] = "waveform"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    normalise: bool = True
    shortest: int = 400
    narrowband: bool = True

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """The utterance's samples.

        Args:
            signal: float32 samples in [-1, 1], shape (samples,).

        Raises:
            AudioError: fewer samples than one frame needs, or without anything above 4 kHz where that is refused.
        """
        if len(signal) < self.shortest:
            raise AudioError(
                f"The utterance has {len(signal)} samples at {self.sample_rate} Hz; one frame of the network needs "
                f"{self.shortest}."
            )
        if not self.narrowband:
            refuse_narrowband(signal)
        if not self.normalise:
            return signal
        exact = signal.astype(np.float64)
        return ((exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)).astype(np.float32)
