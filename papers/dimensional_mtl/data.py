"""Acoustic features and words as the networks take them; statistics and vocabulary of the training part only."""

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
"""Low-level descriptors of each feature set (Table 1)."""


def features(config: DimensionalConfig) -> dict:
    """The extractors that a config needs: low-level descriptors, of which the functionals are made here; no words."""
    if not config.uses_audio:
        return {}
    return {"acoustic": PaaShortTerm() if config.acoustic == "paa" else GemapsLLD()}


def labels(part: Part, config: DimensionalConfig) -> np.ndarray:
    """Valence, arousal and dominance, clipped and scaled to [-1, 1] by the labels' range, not by their extremes.

    Returns:
        float32, shape (utterances, 3).

    Raises:
        UserError: an utterance without one of them.
    """
    values = part.table[list(DIMENSIONS)].to_numpy("float64")
    missing = int(np.isnan(values).any(axis=1).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(part)} utterances lack valence, arousal or dominance, which this paper learns. "
            "Choose a corpus that has all three, for example iemocap."
        )
    values = np.clip(values, config.lowest, config.highest)
    return (2 * (values - config.lowest) / (config.highest - config.lowest) - 1).astype(np.float32)


def to_label_scale(outputs: np.ndarray, config: DimensionalConfig) -> np.ndarray:
    """A network's outputs on the labels' own scale; the inverse of `labels`, but for the clipping."""
    return (np.asarray(outputs, np.float64) + 1) / 2 * (config.highest - config.lowest) + config.lowest


@dataclass(frozen=True)
class Preparation:
    """What turns a part into a network's input.

    Attributes:
        config: settings.
        normalisation: of each acoustic feature over the training part; of no feature for text alone.
        vocabulary: words of the training part; None for acoustics.
    """

    config: DimensionalConfig
    normalisation: Normalisation
    vocabulary: Vocabulary | None

    @classmethod
    def fitted(cls, config: DimensionalConfig, train: Part) -> Preparation:
        """Statistics and vocabulary of the training part."""
        normalisation = _fitted_normalisation(config, train) if config.uses_audio else Normalisation.identity(0)
        vocabulary = Vocabulary.fit(texts(train)) if config.uses_words else None
        return cls(config, normalisation, vocabulary)

    @property
    def acoustic_shape(self) -> tuple[int, int]:
        """(steps, features) of the acoustic input: functionals are one step, and a CNN reads them as a sequence."""
        width = len(self.normalisation.mean)
        if self.config.level == "lld":
            return self.config.frames, width
        return (width, 1) if self.config.acoustic_network == "cnn" else (1, width)

    def frames(self, features: np.ndarray) -> np.ndarray:
        """Low-level descriptors of one utterance, standardised; (frames, features) of the last `frames` frames."""
        return self.normalisation(features[-self.config.frames :])

    def functionals(self, part: Part) -> np.ndarray:
        """Standardised mean and deviation of every descriptor, (utterances, *acoustic_shape)."""
        values = self.normalisation(_functionals(self.config, part))
        return values.reshape(len(part), *self.acoustic_shape)

    def words(self, part: Part) -> np.ndarray:
        """Word ids, int32, (utterances, text_length), zeros at the start; all zeros for an utterance without words."""
        return self.vocabulary.sequences(texts(part), self.config.text_length)


def texts(part: Part) -> list[str]:
    """The part's transcripts; one that is missing has no words.

    Raises:
        UserError: no utterance has a transcript.
    """
    found = part.table["text"]
    if len(found) and found.isna().all():
        raise UserError(
            "This network reads words, and no utterance has a transcript. Take an acoustic row (Table 3), "
            "or a corpus with transcripts."
        )
    return ["" if pd.isna(text) else text for text in found]


def _functionals(config: DimensionalConfig, part: Part) -> np.ndarray:
    """Mean and deviation of every descriptor, (utterances, 2 * features); zeros for audio without a whole frame."""
    values = np.zeros((len(part), 2 * LLDS[config.acoustic]), np.float32)
    for row, frames in zip(values, part.each("acoustic"), strict=True):
        if len(frames):
            row[:] = functionals(frames, drop_zeros=config.functionals == "nonzero")
    return values


def _fitted_normalisation(config: DimensionalConfig, train: Part) -> Normalisation:
    """Mean and deviation of each acoustic feature over the training part, if they are wanted."""
    if config.standardisation == "none":
        return Normalisation.identity(LLDS[config.acoustic] * (2 if config.level == "hsf" else 1))
    try:
        return Normalisation.fitted([_functionals(config, train)] if config.level == "hsf" else train.each("acoustic"))
    except ValueError:
        raise UserError("No training utterance is as long as one frame; there is nothing to learn from.") from None
