"""A part, batch by batch (apart from `data.py`, which is imported before the backend starts)."""

from __future__ import annotations

import keras
import numpy as np

from common.contract import Part
from papers.dimensional_mtl.data import Preparation


class Batches(keras.utils.PyDataset):
    """A part, batch by batch. Low-level descriptors are read from the cache when their turn comes and padded in front.

    What is small (functionals, words, labels) is made at once; what is not (10039 x 3411 x 34 numbers are 4.7 GB) never
    lies in memory as a whole.

    Args:
        preparation: what turns the part into input.
        part: utterances.
        batch_size: utterances a batch.
        targets: (utterances, 3); None: to predict.
        seed: shuffles, anew for each epoch; None: file order.
        workers: threads that prepare batches ahead, if more than one.
    """

    def __init__(
        self,
        preparation: Preparation,
        part: Part,
        batch_size: int,
        targets: np.ndarray | None = None,
        seed: int | None = None,
        workers: int = 1,
    ):
        super().__init__(workers=workers, max_queue_size=4)
        config = preparation.config
        self.preparation = preparation
        self.batch_size = batch_size
        self.targets = targets
        self.order = np.arange(len(part))
        self.generator = None if seed is None else np.random.default_rng(seed)
        self.whole: dict[str, np.ndarray] = {}
        self.source, self.utterances = None, ()
        if config.uses_audio and config.level == "hsf":
            self.whole["acoustic"] = preparation.functionals(part)
        elif config.uses_audio:
            self.source, self.utterances = part.features["acoustic"], tuple(part.table["utterance"])
        if config.uses_words:
            self.whole["text"] = preparation.words(part)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = {name: array[rows] for name, array in self.whole.items()}
        if self.source is not None:
            inputs["acoustic"] = self._frames(rows)
        return (inputs,) if self.targets is None else (inputs, self.targets[rows])

    def _frames(self, rows: np.ndarray) -> np.ndarray:
        padded = np.zeros((len(rows), *self.preparation.acoustic_shape), np.float32)
        for target, row in zip(padded, rows, strict=True):
            found = self.preparation.frames(self.source[self.utterances[row]])
            target[len(target) - len(found) :] = found
        return padded

    def on_epoch_begin(self):
        """Shuffles."""
        if self.generator is not None:
            self.order = self.generator.permutation(len(self.order))
