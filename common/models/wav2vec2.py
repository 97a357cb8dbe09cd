"""wav2vec 2.0 (Baevski et al. 2020); base has 94,371,712 parameters, large (lv60) 315,438,720."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from common.models.speech_config import SpeechConfig


@dataclass(frozen=True)
class Wav2Vec2Config(SpeechConfig):
    """Sizes and dropout of a wav2vec 2.0, without its quantiser; the network is Hugging Face's Wav2Vec2Model."""

    family: ClassVar[str] = "wav2vec2"
    title: ClassVar[str] = "wav2vec 2.0"
    prefix: ClassVar[str] = "wav2vec2."
