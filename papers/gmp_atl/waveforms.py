"""Waveforms in batches of similar length, with the labels that a stage trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from common.batches import batches_by_length, batches_by_padded_length, pad, padded_length
from common.contract import Part
from common.models.hubert import HubertConfig
from common.models.masking import span_mask
from papers.gmp_atl.config import GmpConfig

HOP = 320
"""Samples between the starts of two consecutive frames of HuBERT (20 ms)."""

frame_count = HubertConfig().frames
"""Function from numbers of samples to numbers of frames; it is the same for every HuBERT."""


def waveform(part: Part, row: int) -> np.ndarray:
    """Waveform of one utterance, shape (samples,)."""
    return part.features["waveform"][part.table["utterance"].iat[row]]


def sample_counts(part: Part) -> np.ndarray:
    """Number of samples of each utterance, int64, shape (utterances,)."""
    return np.array([len(waveform(part, row)) for row in range(len(part))], np.int64)


@dataclass(frozen=True)
class StageLabels:
    """Labels that a stage trains on, in the order of the training part.

    Attributes:
        utterances: class numbers of the utterances, by the name of the output that predicts them.
        frames: pseudo-labels of each utterance's frames, shape (frames, label sets) each; None: a stage without them.
    """

    utterances: Mapping[str, np.ndarray]
    frames: Sequence[np.ndarray] | None = None


class Batches(keras.utils.PyDataset):
    """The parts of one epoch's training batches; the gradients of a batch's parts are accumulated.

    The weights make every utterance of an epoch count the same, whatever part it is in; with pseudo-labels, every frame
    that has a loss. The mean over an epoch's parts is then the mean over its utterances or frames.

    Args:
        config: batch size, crops, masks.
        part: the utterances.
        lengths: number of samples of each utterance.
        labels: their labels.
        seed: with the epoch, seeds everything that is random.
        epoch: number of the epoch, from 0.
        devices: number of devices that share each part; it is filled up to a multiple of them by repeating its own
            utterances, with weight 0.
    """

    def __init__(
        self,
        config: GmpConfig,
        part: Part,
        lengths: np.ndarray,
        labels: StageLabels,
        seed: int,
        epoch: int,
        devices: int = 1,
    ):
        super().__init__()
        self.config, self.part, self.labels = config, part, labels
        generator = np.random.default_rng((seed, epoch))
        # A multiple of the hop, so that the frames of a crop are frames of the utterance.
        longest = int(config.longest_s * 16000) // HOP * HOP
        self.lengths = np.minimum(lengths, longest)
        self.starts = HOP * generator.integers(0, (lengths - self.lengths) // HOP + 1)
        draw = augmented_frames if labels.frames is None else masked_frames
        self.masks = None
        if labels.frames is not None or config.augment_probability:
            self.masks = [draw(config, frame_count(int(length)), generator) for length in self.lengths]
        # Padded lengths are often equal, so utterances of about the same length change their batch in each epoch.
        padded = np.array([padded_length(int(length)) for length in self.lengths])
        order = int(generator.integers(2**31))
        parts = batches_by_length(padded, config.batch_size, parts=config.accumulation, seed=order)
        self.plan = _different_shapes_first([_filled(rows, devices) for rows in parts], padded)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int):
        """Returns inputs, labels and weights of a part: one weight per utterance or, with pseudo-labels, per frame."""
        rows, own = self.plan[number]
        crops = [waveform(self.part, row)[self.starts[row] :][: self.lengths[row]] for row in rows]
        length = max(padded_length(len(crop)) for crop in crops)
        inputs = _inputs(crops, length)
        if self.masks is not None:
            mask = pad([self.masks[row] for row in rows], frame_count(length))
            inputs["masked"] = mask.astype(np.int32)
        if self.labels.frames is None:
            labels = {name: labels[rows] for name, labels in self.labels.utterances.items()}
            weights = own * len(rows) * len(self.plan) / len(self.lengths)
            return inputs, labels, dict.fromkeys(labels, weights.astype(np.float32))
        # Keras divides by the number of frames, padding included.
        weights = own[:, None] * self._counted(rows, mask) * mask.size * len(self.plan) / self._all_counted
        frames = [self.labels.frames[row][self.starts[row] // HOP :][: len(self.masks[row])] for row in rows]
        labels = pad(frames, mask.shape[1]).astype(np.int32)
        names = [output_name(clusters) for clusters in self.config.cluster_counts]
        by_name = dict(zip(names, np.moveaxis(labels, -1, 0), strict=True))
        return inputs, by_name, dict.fromkeys(names, weights.astype(np.float32))

    def _counted(self, rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Which frames of a part have a loss, bool, shape (batch, frames)."""
        counts = np.array([len(self.masks[row]) for row in rows])
        return mask if self.config.masked_only else np.arange(mask.shape[1]) < counts[:, None]

    @property
    def _all_counted(self) -> int:
        """How many frames of the epoch have a loss."""
        return sum(int(mask.sum()) if self.config.masked_only else len(mask) for mask in self.masks)


def _filled(rows: np.ndarray, devices: int) -> tuple[np.ndarray, np.ndarray]:
    """A part's rows, repeated until their number is a multiple of `devices`, and 1 for each row, 0 for a repeated one.

    A part without utterances, which only a few utterances in many parts can leave, has the first of all with weight 0.
    """
    count = max(1, -(-len(rows) // devices)) * devices
    return np.resize(rows if len(rows) else [0], count), (np.arange(count) < len(rows)).astype(np.float32)


def _different_shapes_first(plan: list[tuple[np.ndarray, np.ndarray]], padded: np.ndarray) -> list:
    """Swaps parts so that the second one differs as much as possible in padded length from the first.

    Keras infers from the first two parts which dimensions vary; TensorFlow then refuses other shapes.
    """
    frames = [frame_count(int(padded[rows].max())) for rows, _ in plan]
    other = max(range(len(plan)), key=lambda k: (abs(frames[k] - frames[0]), k == 1))
    if other > 1:
        plan[1], plan[other] = plan[other], plan[1]
    return plan


def augmented_frames(config: GmpConfig, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws the frames of an utterance that stages 1 and 3 mask, bool, shape (count,), as SpecAugment."""
    return span_mask(count, config.augment_probability, config.augment_length, int(generator.integers(2**31)))


def masked_frames(config: GmpConfig, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws the frames of an utterance that stage 2 masks, bool, shape (count,); a span is at most half of them."""
    span = min(config.mask_length, max(1, count // 2))
    return span_mask(count, config.mask_probability, span, int(generator.integers(2**31)))


def output_name(clusters: int) -> str:
    """Name of the output that predicts the pseudo-labels of so many clusters."""
    return f"clusters_{clusters}"


def inference_batches(part: Part, size: int, devices: int = 1) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yields whole utterances in batches of equal padded length, so that no result depends on the others in a batch.

    Args:
        part: the utterances.
        size: utterances per batch at most.
        devices: number of devices that share each batch; it is filled up to a multiple of them by repeating its own
            utterances, which come after those of `rows`.

    Yields:
        (rows, inputs) of each batch; no frame is masked.
    """
    lengths = sample_counts(part)
    for rows in batches_by_padded_length([padded_length(int(length)) for length in lengths], size):
        waveforms = [waveform(part, row) for row in _filled(rows, devices)[0]]
        inputs = _inputs(waveforms, padded_length(int(lengths[rows[0]])))
        nothing = np.zeros((len(waveforms), frame_count(inputs["waveform"].shape[1])), np.int32)
        yield rows, {**inputs, "masked": nothing}


def _inputs(waveforms: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Inputs of a network: waveforms that are padded to a length, and their numbers of samples."""
    return {"waveform": pad(list(waveforms), length), "lengths": np.array([len(one) for one in waveforms], np.int32)}
