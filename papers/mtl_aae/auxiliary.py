"""Auxiliary utterances, which have no emotion labels: which are used, how they are kept, which are held out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from common.contract import Part
from common.features.bands import BandSpectrogram
from papers.mtl_aae.config import AaeConfig
from papers.mtl_aae.data import features


@dataclass(frozen=True)
class TrimmedBands(BandSpectrogram):
    """Extractor of band spectrograms without the silence at both ends, kept in shards.

    Attributes:
        trim_db: see `without_silence`; 0: nothing is trimmed.
        storage: type of the values. Of logarithms between -16 and 16, float16 rounds off at most 0.004, which is
            0.034 dB.
    """

    name: ClassVar[str] = "bands-trimmed"
    version: ClassVar[int] = 1
    sharded: ClassVar[bool] = True

    trim_db: float = 40.0
    storage: Literal["float16", "float32"] = "float16"

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the bands of one utterance, shape (frames, rows); arguments as in `BandSpectrogram`."""
        spectrogram = super().__call__(signal)
        if self.trim_db:
            spectrogram = without_silence(spectrogram, self.trim_db, log=self.log)
        return spectrogram.astype(self.storage)


def auxiliary_features(config: AaeConfig) -> dict[str, TrimmedBands]:
    """The extractor for auxiliary utterances; arguments and errors as in `papers.mtl_aae.data.features`."""
    (plain,) = features(config).values()
    settings = {item.name: getattr(plain, item.name) for item in dataclasses.fields(plain)}
    return {"spectrogram": TrimmedBands(**settings, trim_db=config.trim_db, storage=config.auxiliary_storage)}


def without_silence(spectrogram: np.ndarray, below_db: float, *, log: bool) -> np.ndarray:
    """Removes the silent frames at the start and at the end (Sec. IV-B, for LibriSpeech).

    The paper trims samples before the transform. Frames are 10 ms apart, so trimming frames gives nearly the same.

    Args:
        spectrogram: magnitudes or their natural logarithms, shape (frames, rows).
        below_db: a frame is silent if its energy is more than this below the energy of the loudest frame.
        log: True if the spectrogram holds logarithms.
    """
    energy = np.square(np.exp(spectrogram) if log else spectrogram).sum(axis=1, dtype=np.float64)
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-below_db / 10))
    return spectrogram[loud[0] : loud[-1] + 1]


def hold_out(part: Part, share: float) -> tuple[Part, Part | None]:
    """Splits auxiliary utterances into those to train on and a share, spread evenly, that measures the secondary tasks.

    The first utterance of each speaker is trained on, so that every speaker has a class.

    Returns:
        Utterances to train on, and those held out; None: there are none.
    """
    later = np.flatnonzero(part.table.groupby("speaker", dropna=False).cumcount() > 0)
    count = min(round(share * len(part)), len(later))
    if not count:
        return part, None
    chosen = np.zeros(len(part), bool)
    chosen[later[np.linspace(0, len(later) - 1, count).round().astype(int)]] = True
    split = (part.table[rows].reset_index(drop=True) for rows in (~chosen, chosen))
    train, held_out = (dataclasses.replace(part, table=table) for table in split)
    return train, held_out


def choose(config: AaeConfig, table: pd.DataFrame) -> pd.DataFrame:
    """The auxiliary utterances that a network needs, before their features are extracted; see `Paper.auxiliary`."""
    if not config.uses_auxiliary:
        return table.head(0)
    return select_speakers(table, config.auxiliary_speakers, config.auxiliary_seed)


def select_speakers(table: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """The utterances of a number of speakers, women and men in turn (Sec. IV-A, Fig. 3).

    The speakers of a smaller selection are always part of a larger one with the same seed.

    Args:
        table: utterance table.
        count: number of speakers; 0, or more than there are: all.
        seed: 0: in the order of their names; otherwise it draws the order.
    """
    speakers = table[["speaker", "gender"]].drop_duplicates("speaker").sort_values("speaker")
    if not count or count >= len(speakers):
        return table
    if seed:
        speakers = speakers.iloc[np.random.default_rng(seed).permutation(len(speakers))]
    turn = speakers.groupby(speakers["gender"].fillna("")).cumcount()
    chosen = speakers["speaker"].iloc[np.argsort(turn, kind="stable")].head(count)
    return table[table["speaker"].isin(chosen)].reset_index(drop=True)
