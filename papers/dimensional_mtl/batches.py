"""Batches of a part; a module of its own, because `data.py` is imported before the backend is started."""

from __future__ import annotations

import keras
import numpy as np

from common.contract import Part
from papers.dimensional_mtl.data import Preprocessor


class Batches(keras.utils.PyDataset):
    """Batches of a part, as Keras trains on them and predicts from them.

    Functionals, words and labels are small and are prepared at once. Low-level descriptors (10039 x 3411 x 34 numbers
    are 4.7 GB) are read from the cache when their batch is needed, and padded with zeros in front.

    Args:
        preprocessor: makes the network's input.
        part: utterances.
        batch_size: utterances per batch; the last batch may be smaller.
        labels: shape (utterances, 3); None: batches have inputs only.
        seed: seed of the order, which changes with each epoch; None: file order.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        part: Part,
        batch_size: int,
        labels: np.ndarray | None = None,
        seed: int | None = None,
    ):
        super().__init__()
        config = preprocessor.config
        self.preprocessor = preprocessor
        self.batch_size = batch_size
        self.labels = labels
        self.order = np.arange(len(part))
        self.generator = None if seed is None else np.random.default_rng(seed)
        self.in_memory: dict[str, np.ndarray] = {}
        self.descriptors, self.utterances = None, tuple(part.table["utterance"])
        if config.uses_audio and config.level == "hsf":
            self.in_memory["acoustic"] = preprocessor.functionals(part)
        elif config.uses_audio:
            self.descriptors = part.features["acoustic"]
        if config.uses_words:
            self.in_memory["text"] = preprocessor.words(part)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index: int):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = {name: array[rows] for name, array in self.in_memory.items()}
        if self.descriptors is not None:
            inputs["acoustic"] = self._padded_descriptors(rows)
        return (inputs,) if self.labels is None else (inputs, self.labels[rows])

    def _padded_descriptors(self, rows: np.ndarray) -> np.ndarray:
        padded = np.zeros((len(rows), *self.preprocessor.acoustic_shape), np.float32)
        for utterance, row in zip(padded, rows, strict=True):
            utterance[:] = self.preprocessor.frames(self.descriptors[self.utterances[row]])
        return padded

    def on_epoch_begin(self):
        """Draws a new order, unless batches are in file order."""
        if self.generator is not None:
            self.order = self.generator.permutation(len(self.order))
