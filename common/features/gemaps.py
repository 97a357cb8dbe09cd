"""eGeMAPSv02 functionals through openSMILE (Eyben et al. 2016): 88 numbers an utterance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.features.smile import extract


@dataclass(frozen=True)
class GemapsFunctionals:
    """Extractor of the 88 eGeMAPSv02 functionals, shape (88,), float32.

    Attributes:
        sample_rate: Hz; openSMILE itself takes any, 16 kHz keeps corpora alike.
    """

    name: ClassVar[str] = "egemaps-functionals"
    version: ClassVar[int] = 1

    sample_rate: int = 16000

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Functionals of one utterance; samples in [-1, 1] (int16 samples would give F0 = 0)."""
        values = extract("eGeMAPSv02", "Functionals", signal, self.sample_rate)[0]
        # openSMILE leaves functionals of absent voicing undefined; 0 is what it writes for the others of that kind.
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
