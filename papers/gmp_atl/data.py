"""Waveforms in batches of similar length, with the labels that a stage trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from common.batches import batches_by_length, batches_by_padded_length, pad, padded_length
from common.contract import Part
from common.features.waveform import Waveform
from common.models.hubert import HubertConfig
from common.models.masking import span_mask
from papers.gmp_atl.config import GmpConfig

HOP = 320
"""Samples between the starts of two consecutive frames of HuBERT (20 ms)."""

frame_count = HubertConfig().frames
"""Function from numbers of samples to numbers of frames; it is the same for every HuBERT."""


def features(config: GmpConfig) -> dict[str, Waveform]:
    """The extractors that a config needs."""
    return {"waveform": Waveform(normalise=config.normalise, narrowband=config.narrowband)}


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
    """Training batches of one epoch.

    Args:
        config: batch size, crops, padding, masks.
        part: the utterances.
        lengths: number of samples of each utterance.
        labels: their labels.
        seed: with the epoch, seeds everything that is random.
        epoch: number of the epoch, from 0.
        devices: number of devices that share each batch; it is filled up to a multiple of them by repeating its own
            utterances.
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
        self.seed = (seed, epoch)
        # A multiple of the hop, so that the frames of a crop are frames of the utterance.
        self.longest = int(config.longest_s * 16000) // HOP * HOP
        self.lengths = np.minimum(lengths, self.longest)
        size = max(1, config.batch_size // config.accumulation)
        order = int(np.random.default_rng(self.seed).integers(2**31))
        # Padded lengths are often equal, so utterances of about the same length change their batch in each epoch.
        padded = np.array([padded_length(int(length)) for length in self.lengths])
        batches = batches_by_length(padded, size, padding=config.padding, seed=order)
        self.plan = _different_shapes_first([_filled(rows, devices) for rows in batches], self.lengths)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int):
        """Returns inputs and labels of a batch, and with pseudo-labels the weight of each frame."""
        rows = self.plan[number]
        generator = np.random.default_rng((*self.seed, number))
        waveforms = [waveform(self.part, row) for row in rows]
        starts = [
            int(generator.integers(0, (len(samples) - length) // HOP + 1)) * HOP if len(samples) > length else 0
            for samples, length in zip(waveforms, self.lengths[rows], strict=True)
        ]
        crops = [samples[start : start + self.longest] for samples, start in zip(waveforms, starts, strict=True)]
        length = max(padded_length(len(crop)) for crop in crops)
        inputs = _inputs(crops, length)
        if self.labels.frames is None:
            return inputs, {name: labels[rows] for name, labels in self.labels.utterances.items()}
        counts = [frame_count(len(crop)) for crop in crops]
        mask, weights = self._masks(counts, frame_count(length), generator)
        inputs["masked"] = mask.astype(np.int32)
        frames = [
            self.labels.frames[row][start // HOP :][:count]
            for row, start, count in zip(rows, starts, counts, strict=True)
        ]
        labels = pad(frames, mask.shape[1]).astype(np.int32)
        names = [output_name(clusters) for clusters in self.config.cluster_counts]
        return inputs, dict(zip(names, np.moveaxis(labels, -1, 0), strict=True)), dict.fromkeys(names, weights)

    def _masks(self, counts: list[int], frames: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which frames are masked, bool, and the weight of each frame's loss, float32; shape (batch, frames)."""
        valid = np.arange(frames) < np.array(counts)[:, None]
        mask = np.zeros((len(counts), frames), bool)
        for row, count in enumerate(counts):
            mask[row, :count] = masked_frames(self.config, count, generator)
        return mask, (mask if self.config.masked_only else valid).astype(np.float32)


def _filled(rows: np.ndarray, devices: int) -> np.ndarray:
    """A batch's rows, repeated from the first one on until their number is a multiple of `devices`."""
    return np.resize(rows, -(-len(rows) // devices) * devices)


def _different_shapes_first(plan: list[np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
    """Swaps batches so that the second one differs as much as possible in length from the first.

    Keras infers from the first two batches which dimensions vary; TensorFlow then refuses other shapes.
    """
    padded = [padded_length(int(lengths[rows].max())) for rows in plan]
    other = max(range(len(plan)), key=lambda k: (abs(frame_count(padded[k]) - frame_count(padded[0])), k == 1))
    if other > 1:
        plan[1], plan[other] = plan[other], plan[1]
    return plan


def masked_frames(config: GmpConfig, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draws the masked frames of an utterance, bool, shape (count,); a span is at most half of the utterance."""
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
        (rows, inputs) of each batch.
    """
    lengths = sample_counts(part)
    for rows in batches_by_padded_length([padded_length(int(length)) for length in lengths], size):
        waveforms = [waveform(part, row) for row in _filled(rows, devices)]
        yield rows, _inputs(waveforms, padded_length(int(lengths[rows[0]])))


def _inputs(waveforms: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Inputs of a network: waveforms that are padded to a length, and their numbers of samples."""
    return {"waveform": pad(list(waveforms), length), "lengths": np.array([len(one) for one in waveforms], np.int32)}
