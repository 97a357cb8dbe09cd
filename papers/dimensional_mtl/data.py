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
from common.features.silence import SilentShare
from common.features.words import Vocabulary
from common.normalisation import Normalisation
from papers.dimensional_mtl.config import DIMENSIONS, DimensionalConfig

LLDS = {"paa": 34, "gemaps": 23}
"""Number of low-level descriptors (LLD) of each feature set (Table 1)."""


def features(config: DimensionalConfig) -> dict:
    """The extractor of the low-level descriptors; functionals are computed from them. A text network needs none."""
    if not config.uses_audio:
        return {}
    found = {"acoustic": PaaShortTerm() if config.acoustic == "paa" else GemapsLLD(feature_set=config.gemaps_set)}
    return found | {"silence": SilentShare()} if _has_silence(config) else found


def _has_silence(config: DimensionalConfig) -> bool:
    return config.silence and config.level == "hsf"


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
            return (width, self.config.frames) if self._scrambled else (self.config.frames, width)
        return (width, 1) if self.config.acoustic_network == "cnn" else (1, width)

    @property
    def _scrambled(self) -> bool:
        return self.config.scrambled and self.config.acoustic_network == "cnn"

    def frames(self, descriptors: np.ndarray) -> np.ndarray:
        """The input from an utterance's low-level descriptors, padded or cut in front, shape `acoustic_shape`."""
        found = _descriptors(self.config, descriptors[-self.config.frames :])
        if self.config.standardisation == "padded":
            found = self.normalisation(_padded(self.config, found))
        else:
            found = _padded(self.config, self.normalisation(found))
        return found.reshape(self.acoustic_shape)

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


def _descriptors(config: DimensionalConfig, descriptors: np.ndarray) -> np.ndarray:
    """The low-level descriptors of an utterance as the network gets them, before standardisation."""
    return np.trunc(descriptors) if config.integers else descriptors


def _padded(config: DimensionalConfig, descriptors: np.ndarray) -> np.ndarray:
    """The last `frames` frames of an utterance, with zeros in front of shorter ones, shape (frames, descriptors)."""
    kept = descriptors[-config.frames :]
    padded = np.zeros((config.frames, descriptors.shape[1]), np.float32)
    padded[len(padded) - len(kept) :] = kept
    return padded


def _functionals(config: DimensionalConfig, part: Part) -> np.ndarray:
    """Mean and deviation of every descriptor, and with `silence` the share of silent frames of each utterance.

    Returns:
        Shape (utterances, 2 * descriptors), or one column more; zeros for audio without a whole frame.
    """
    values = np.zeros((len(part), 2 * LLDS[config.acoustic]), np.float32)
    for row, frames in zip(values, part.each("acoustic"), strict=True):
        if len(frames):
            row[:] = functionals(frames, drop_zeros=config.functionals == "nonzero")
    if _has_silence(config):
        values = np.hstack([values, np.array(list(part.each("silence")), np.float32).reshape(len(part), 1)])
    return values


def _fit_normalisation(config: DimensionalConfig, train: Part) -> Normalisation:
    """Mean and deviation of each acoustic feature over the training part."""
    if config.standardisation == "none":
        width = LLDS[config.acoustic] if config.level == "lld" else 2 * LLDS[config.acoustic] + _has_silence(config)
        return Normalisation.identity(width)
    if config.level == "hsf":
        arrays = [_functionals(config, train)]
    else:
        arrays = (_descriptors(config, one) for one in train.each("acoustic"))
        if config.standardisation == "padded":
            arrays = (_padded(config, one) for one in arrays)
    try:
        return Normalisation.fitted(arrays)
    except ValueError:
        raise UserError("No training utterance is as long as one frame, so there is nothing to train on.") from None
