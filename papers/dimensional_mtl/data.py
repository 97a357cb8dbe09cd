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
            "Choose a corpus that has all three (iemocap, msp_improv or demo)."
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
        mean: of each acoustic feature over the training part, shape (features,); empty for text.
        deviation: likewise, positive.
        vocabulary: words of the training part; None for acoustics.
    """

    config: DimensionalConfig
    mean: np.ndarray
    deviation: np.ndarray
    vocabulary: Vocabulary | None

    @classmethod
    def fitted(cls, config: DimensionalConfig, train: Part) -> Preparation:
        """Statistics and vocabulary of the training part."""
        mean, deviation = _statistics(config, train) if config.uses_audio else (np.zeros(0), np.ones(0))
        vocabulary = Vocabulary.fit(texts(train)) if config.uses_words else None
        return cls(config, mean.astype(np.float32), deviation.astype(np.float32), vocabulary)

    @property
    def acoustic_shape(self) -> tuple[int, int]:
        """(steps, features) of the acoustic input: functionals are one step, and a CNN reads them as a sequence."""
        if self.config.level == "lld":
            return self.config.frames, len(self.mean)
        return (len(self.mean), 1) if self.config.acoustic_network == "cnn" else (1, len(self.mean))

    def frames(self, features: np.ndarray) -> np.ndarray:
        """Low-level descriptors of one utterance, standardised; (frames, features) of the last `frames` frames."""
        return (features[-self.config.frames :] - self.mean) / self.deviation

    def functionals(self, part: Part) -> np.ndarray:
        """Standardised mean and deviation of every descriptor, (utterances, *acoustic_shape)."""
        values = (_functionals(self.config, part) - self.mean) / self.deviation
        return values.reshape(len(part), *self.acoustic_shape)

    def words(self, part: Part) -> np.ndarray:
        """Word numbers, zeros in front, int32, (utterances, text_length); all zeros for an utterance without words."""
        return self.vocabulary.sequences(texts(part), self.config.text_length).numbers


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
    source = part.features["acoustic"]
    values = np.zeros((len(part), 2 * LLDS[config.acoustic]), np.float32)
    for row, utterance in zip(values, part.table["utterance"], strict=True):
        frames = source[utterance]
        if len(frames):
            row[:] = functionals(frames, drop_zeros=config.functionals == "nonzero")
    return values


def _statistics(config: DimensionalConfig, train: Part) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each acoustic feature over the training part, in one pass; (0, 1) if not wanted."""
    size = LLDS[config.acoustic] * (2 if config.level == "hsf" else 1)
    if config.standardisation == "none":
        return np.zeros(size), np.ones(size)
    count, total, squares = 0, np.zeros(size), np.zeros(size)
    source = train.features["acoustic"]
    whole = (
        [_functionals(config, train)] if config.level == "hsf" else map(source.__getitem__, train.table["utterance"])
    )
    for values in whole:
        values = np.asarray(values, np.float64)
        count += len(values)
        total += values.sum(axis=0)
        squares += np.square(values).sum(axis=0)
    if not count:
        raise UserError("No training utterance is as long as one frame; there is nothing to learn from.")
    mean = total / count
    variance = squares / count - np.square(mean)
    # What never changes carries nothing; it is left at 0 instead of being blown up by rounding.
    changes = variance > 1e-10 * np.maximum(np.square(mean), 1e-2)
    return mean, np.where(changes, np.sqrt(np.maximum(variance, 0)), 1.0)
