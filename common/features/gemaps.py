"""eGeMAPS by openSMILE (Eyben et al. 2016): 88 functionals per utterance, or 23 low-level descriptors per frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from common.errors import AudioError
from common.features.smile import extract

LLD_COLUMNS = (
    *("Loudness", "alphaRatio", "hammarbergIndex", "slope0-500", "slope500-1500", "spectralFlux"),
    *("mfcc1", "mfcc2", "mfcc3", "mfcc4"),
    *("F0semitoneFrom27.5Hz", "jitterLocal", "shimmerLocaldB", "HNRdBACF", "logRelF0-H1-H2", "logRelF0-H1-A3"),
    *("F1frequency", "F1bandwidth", "F1amplitudeLogRelF0"),
    *("F2frequency", "F2amplitudeLogRelF0", "F3frequency", "F3amplitudeLogRelF0"),
)
"""openSMILE's names of the 23 descriptors, without the suffix for their smoothing (_sma3, _sma3nz)."""


@dataclass(frozen=True)
class GemapsFunctionals:
    """Extractor of the 88 eGeMAPSv02 functionals, shape (88,), float32.

    Attributes:
        sample_rate: of the signal, in Hz. openSMILE accepts any; 16 kHz makes corpora comparable.
    """

    name: ClassVar[str] = "egemaps-functionals"
    version: ClassVar[int] = 1

    sample_rate: int = 16000

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the functionals of one utterance.

        Args:
            signal: samples in [-1, 1], shape (samples,); int16 samples would give F0 = 0.
        """
        values = extract("eGeMAPSv02", "Functionals", signal, self.sample_rate)[0]
        # Without voiced frames, openSMILE writes 0 for most functionals of voicing, but NaN for some.
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class GemapsLLD:
    """Extractor of the 23 eGeMAPSv01 low-level descriptors, shape (frames, 23), float32, one frame every 10 ms.

    Atmaja and Akagi 2020 (Sec. III.A, Table 1) call them the 23 descriptors of GeMAPS. Of openSMILE's sets, GeMAPSv01b
    has 18 and eGeMAPSv02 has 25; only eGeMAPSv01a and v01b have these 23. openSMILE fixes the frames of the set (20 ms,
    and 60 ms for descriptors of voicing), which differ from the 25 ms that the paper states.

    Attributes:
        sample_rate: of the signal, in Hz. openSMILE accepts any; 16 kHz makes corpora comparable.
        feature_set: "eGeMAPSv01b", or "eGeMAPSv01a", whose descriptors of voicing have other values.
    """

    name: ClassVar[str] = "egemaps-lld"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    feature_set: Literal["eGeMAPSv01b", "eGeMAPSv01a"] = "eGeMAPSv01b"

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the descriptors of one utterance.

        Args:
            signal: samples in [-1, 1], shape (samples,); int16 samples would give F0 = 0.

        Returns:
            Shape (frames, 23), columns as in `LLD_COLUMNS`.

        Raises:
            AudioError: The signal is shorter than openSMILE's longest frame.
        """
        values = extract(self.feature_set, "LowLevelDescriptors", signal, self.sample_rate)
        if np.isnan(values).all():
            raise AudioError(
                f"The utterance has {len(signal)} samples at {self.sample_rate} Hz, less than one frame of 60 ms, "
                "so it has no eGeMAPS descriptors."
            )
        return values
