"""Spectrograms as the networks take them: pictures of a fixed width, normalised, and a step's mixture of utterances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from common.contract import Part
from common.errors import UserError
from common.features.bands import BandSpectrogram
from common.normalisation import Normalisation
from papers.mtl_aae.config import AaeConfig

HELD_BYTES = 2 << 30
"""Spectrograms of a part that are held in memory; of a larger part the rest is read anew each time."""

COUNTED = 2000
"""Utterances that normalisation is fitted on, at most, spread evenly over the part: enough for 128 means."""


def features(config: AaeConfig) -> dict[str, BandSpectrogram]:
    """The extractor that a config needs (Sec. IV-B).

    Raises:
        UserError: settings that do not go together.
    """
    try:
        spectrogram = BandSpectrogram(
            sample_rate=config.sample_rate,
            frame_ms=config.frame_ms,
            hop_ms=config.hop_ms,
            dft_length=config.dft_length,
            rows=config.rows,
            top_hz=config.top_hz,
            scale=config.scale,
            log=config.log,
        )
    except ValueError as error:
        raise UserError(f"The spectrogram cannot be made: {error}") from None
    return {"spectrogram": spectrogram}


def without_silence(spectrogram: np.ndarray, below_db: float, *, log: bool) -> np.ndarray:
    """A spectrogram without the silent frames at its start and end (Sec. IV-B, LibriSpeech).

    The paper trims samples before the transform; frames are 10 ms apart, so that trimming them comes to the same.

    Args:
        spectrogram: shape (frames, rows), natural logarithm of magnitudes, or magnitudes.
        below_db: a frame is silent if its energy is more than this below the loudest frame's.
        log: which of the two it holds.
    """
    energy = np.square(np.exp(spectrogram) if log else spectrogram).sum(axis=1, dtype=np.float64)
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-below_db / 10))
    return spectrogram[loud[0] : loud[-1] + 1]


def fitted_normalisation(spectrograms: Iterable[np.ndarray], kind: str, rows: int) -> Normalisation:
    """Statistics over all frames of some utterances.

    Args:
        spectrograms: shape (frames, rows) each.
        kind: "row", "corpus" or "none" (see `AaeConfig.normalisation`).
        rows: of a spectrogram.
    """
    return (
        Normalisation.identity(rows) if kind == "none" else Normalisation.fitted(spectrograms, pooled=kind == "corpus")
    )


class Pictures:
    """The normalised spectrograms of a part, cut or padded to a fixed width when they are asked for.

    Args:
        part: utterances with their features.
        config: settings.
        normalisation: None fits it on this part.
        kind: how to fit it.
        trim_db: see `without_silence`; 0 trims nothing.
    """

    def __init__(
        self,
        part: Part,
        config: AaeConfig,
        normalisation: Normalisation | None = None,
        *,
        kind: str = "row",
        trim_db: float = 0.0,
    ):
        self.utterances = tuple(part.table["utterance"])
        self.source = part.features["spectrogram"]
        self.config = config
        self.trim_db = trim_db
        self._held: dict[int, np.ndarray] = {}
        self._bytes = 0
        if normalisation is None:
            counted = np.unique(np.linspace(0, len(self) - 1, min(len(self), COUNTED)).astype(int))
            normalisation = fitted_normalisation((self._read(number) for number in counted), kind, config.rows)
        self.normalisation = normalisation

    def __len__(self) -> int:
        return len(self.utterances)

    def _read(self, number: int) -> np.ndarray:
        spectrogram = np.asarray(self.source[self.utterances[number]])
        return without_silence(spectrogram, self.trim_db, log=self.config.log) if self.trim_db else spectrogram

    def _spectrogram(self, number: int) -> np.ndarray:
        """Normalised, shape (rows, frames)."""
        if number in self._held:
            return self._held[number]
        values = self.normalisation(self._read(number))
        values = np.ascontiguousarray(values.T, dtype=np.float32)
        if self._bytes + values.nbytes <= HELD_BYTES:
            self._held[number] = values
            self._bytes += values.nbytes
        return values

    def take(self, numbers: Iterable[int], generator: np.random.Generator | None = None) -> np.ndarray:
        """Pictures of some utterances.

        Args:
            numbers: which, by their place in the part.
            generator: draws where a long utterance is cut, as `crop` says; None cuts out the centre.

        Returns:
            shape (utterances, rows, frames, 1), float32; short utterances are padded at the end with 0.
        """
        numbers = list(numbers)
        pictures = np.zeros((len(numbers), self.config.rows, self.config.frames, 1), np.float32)
        for picture, number in zip(pictures, numbers, strict=True):
            values = self._spectrogram(number)
            excess = values.shape[1] - self.config.frames
            first = 0
            if excess > 0 and (generator is None or self.config.crop == "centre"):
                first = excess // 2
            elif excess > 0 and self.config.crop == "random":
                first = int(generator.integers(excess + 1))
            cut = values[:, first : first + self.config.frames]
            picture[:, : cut.shape[1], 0] = cut
        return pictures


def some_speakers(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """The utterances of so many speakers, men and women in turn, in the order of their names (Sec. IV-A, Fig. 3).

    A smaller number is always part of a larger one.

    Args:
        table: utterance table.
        count: speakers; 0 or more than there are: all.
    """
    speakers = table[["speaker", "gender"]].drop_duplicates("speaker").sort_values("speaker")
    if not count or count >= len(speakers):
        return table
    turn = speakers.groupby(speakers["gender"].fillna("")).cumcount()
    chosen = speakers.assign(turn=turn).sort_values(["turn", "speaker"])["speaker"].head(count)
    return table[table["speaker"].isin(chosen)].reset_index(drop=True)


def numbered(values: pd.Series, names: tuple[str, ...]) -> np.ndarray:
    """Place of each value among the names, int32; -1 (see `papers.mtl_aae.phases.UNLABELLED`) if it is none."""
    return values.map({name: number for number, name in enumerate(names)}).fillna(-1).to_numpy("int32")


def stream(count: int, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless draws of `size` of `count` things, all of them once before any comes again."""
    waiting = np.zeros(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, generator.permutation(count)])
        yield waiting[:size]
        waiting = waiting[size:]


def batches(
    labelled: Pictures,
    labels: Mapping[str, np.ndarray],
    auxiliary: Pictures | None,
    auxiliary_labels: Mapping[str, np.ndarray],
    generator: np.random.Generator,
) -> Iterator[dict[str, np.ndarray]]:
    """Endless batches of one size: labelled utterances, and auxiliary ones after them.

    Args:
        labelled: utterances with all labels.
        labels: their class numbers by task.
        auxiliary: utterances without the primary label; None: there are none.
        auxiliary_labels: their class numbers by task, -1 for the primary one.
        generator: of order and crops.

    Yields:
        "picture" (batch, rows, frames, 1) and class numbers by task (batch,), int32.
    """
    config = labelled.config
    own = stream(len(labelled), min(config.batch_size, len(labelled)), generator)
    size = auxiliary_rows(config)
    others = stream(len(auxiliary), size, generator) if auxiliary is not None else None
    while True:
        chosen = next(own)
        batch = {task: numbers[chosen] for task, numbers in labels.items()}
        if others is not None:
            more = next(others)
            batch = {task: np.concatenate([batch[task], auxiliary_labels[task][more]]) for task in labels}
            batch["picture"] = np.concatenate([labelled.take(chosen, generator), auxiliary.take(more, generator)])
        else:
            batch["picture"] = labelled.take(chosen, generator)
        yield batch


def auxiliary_rows(config: AaeConfig) -> int:
    """Auxiliary utterances of a step beside `batch_size` labelled ones."""
    return round(config.batch_size * config.auxiliary_share / (1 - config.auxiliary_share))


def ahead(batches: Iterator) -> Iterator:
    """The same batches, the next one being made while one is used."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as maker:
        waiting = maker.submit(next, batches)
        while True:
            batch = waiting.result()
            waiting = maker.submit(next, batches)
            yield batch
