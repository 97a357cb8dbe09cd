"""The networks' input and labels; statistics and vocabulary are those of the training part alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.contract import Part
from common.errors import UserError
from common.features.functionals import functionals
from common.features.gemaps import GemapsLLD
from common.features.paa import PaaShortTerm
from common.features.words import Vocabulary
from common.normalisation import Normalisation
from papers.dimensional_mtl.config import DIMENSIONS, DimensionalConfig

LLDS = {"paa": 34, "gemaps": 23}
"""Number of low-level descriptors (LLD) of each feature set (Table 1)."""


def features(config: DimensionalConfig) -> dict:
    """The extractor of the low-level descriptors; functionals are computed from them. A text network needs none."""
    if not config.uses_audio:
        return {}
    return {"acoustic": PaaShortTerm() if config.acoustic == "paa" else GemapsLLD()}


def labels(part: Part, config: DimensionalConfig) -> np.ndarray:
    """Valence, arousal and dominance, clipped and scaled from [lowest, highest] of the config to [-1, 1].

    Returns:
        float32, shape (utterances, 3).

    Raises:
        UserError: An utterance lacks one of them.
    """
    values = part.table[list(DIMENSIONS)].to_numpy("float64")
    missing = int(np.isnan(values).any(axis=1).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(part)} utterances lack valence, arousal or dominance, which this paper predicts. "
            "Choose a corpus that has all three, for example iemocap."
        )
    values = np.clip(values, config.lowest, config.highest)
    return (2 * (values - config.lowest) / (config.highest - config.lowest) - 1).astype(np.float32)


def to_label_scale(outputs: np.ndarray, config: DimensionalConfig) -> np.ndarray:
    """A network's outputs on the corpus's own scale; the inverse of `labels`, except for the clipping."""
    return (np.asarray(outputs, np.float64) + 1) / 2 * (config.highest - config.lowest) + config.lowest


@dataclass(frozen=True)
class Preprocessor:
    """Makes the network's input from a part.

    Attributes:
        config: settings.
        normalisation: statistics of each acoustic feature over the training part; of no feature for a text network.
        vocabulary: words of the training part; None for an acoustic network.
    """

    config: DimensionalConfig
    normalisation: Normalisation
    vocabulary: Vocabulary | None

    @classmethod
    def fitted(cls, config: DimensionalConfig, train: Part) -> Preprocessor:
        """Takes statistics and vocabulary from the training part."""
        normalisation = _fit_normalisation(config, train) if config.uses_audio else Normalisation.identity(0)
        vocabulary = Vocabulary.fit(texts(train)) if config.uses_words else None
        return cls(config, normalisation, vocabulary)

    @property
    def acoustic_shape(self) -> tuple[int, int]:
        """(steps, features) of the acoustic input. Functionals are one step, but for a CNN they are a sequence."""
        width = len(self.normalisation.mean)
        if self.config.level == "lld":
            return self.config.frames, width
        return (width, 1) if self.config.acoustic_network == "cnn" else (1, width)

    def frames(self, features: np.ndarray) -> np.ndarray:
        """Standardised low-level descriptors of an utterance, at most its last `frames` frames, (frames, features)."""
        return self.normalisation(features[-self.config.frames :])

    def functionals(self, part: Part) -> np.ndarray:
        """Standardised functionals, shape (utterances, *acoustic_shape)."""
        values = self.normalisation(_functionals(self.config, part))
        return values.reshape(len(part), *self.acoustic_shape)

    def words(self, part: Part) -> np.ndarray:
        """Word numbers padded with zeros in front, int32, shape (utterances, text_length)."""
        return self.vocabulary.sequences(texts(part), self.config.text_length)


def texts(part: Part) -> list[str]:
    """The transcripts of a part; a missing one is empty.

    Raises:
        UserError: No utterance has a transcript.
    """
    transcripts = part.table["text"]
    if len(transcripts) and transcripts.isna().all():
        raise UserError(
            "This network needs words, but no utterance has a transcript. Choose an acoustic experiment (Table 3) or a "
            "corpus with transcripts."
        )
    return ["" if pd.isna(text) else text for text in transcripts]


def _functionals(config: DimensionalConfig, part: Part) -> np.ndarray:
    """Mean and deviation of every descriptor, (utterances, 2 * descriptors); zeros for audio without a whole frame."""
    values = np.zeros((len(part), 2 * LLDS[config.acoustic]), np.float32)
    for row, frames in zip(values, part.each("acoustic"), strict=True):
        if len(frames):
            row[:] = functionals(frames, drop_zeros=config.functionals == "nonzero")
    return values


def _fit_normalisation(config: DimensionalConfig, train: Part) -> Normalisation:
    """Mean and deviation of each acoustic feature over the training part."""
    if config.standardisation == "none":
        return Normalisation.identity(LLDS[config.acoustic] * (2 if config.level == "hsf" else 1))
    try:
        return Normalisation.fitted([_functionals(config, train)] if config.level == "hsf" else train.each("acoustic"))
    except ValueError:
        raise UserError("No training utterance is as long as one frame, so there is nothing to train on.") from None
