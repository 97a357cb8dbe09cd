"""The extractor of GMP-ATL: the waveform."""

from __future__ import annotations

from common.features.waveform import Waveform
from papers.gmp_atl.config import GmpConfig


def features(config: GmpConfig) -> dict[str, Waveform]:
    """The extractors that a config needs."""
    return {"waveform": Waveform(normalise=config.normalise, narrowband=config.narrowband)}
