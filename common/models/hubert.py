"""HuBERT (Hsu et al. 2021); base has 94,371,712 parameters, large 315,438,720."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from common.models.speech_config import SpeechConfig


@dataclass(frozen=True)
class HubertConfig(SpeechConfig):
    """Sizes and dropout of a HuBERT; the network is Hugging Face's HubertModel, which is that of wav2vec 2.0."""

    family: ClassVar[str] = "hubert"
    title: ClassVar[str] = "HuBERT"
    prefix: ClassVar[str] = "hubert."
    fixed: ClassVar[tuple[str, ...]] = ()
