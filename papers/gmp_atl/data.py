"""Utterances as the three stages take them: waveforms in batches of similar length, with what is learnt of them."""

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
"""Samples from one of HuBERT's frames to the next (20 ms)."""

frame_count = HubertConfig().frames
"""Frames of so many samples; the front end is the same in every HuBERT."""


def features(config: GmpConfig) -> dict[str, Waveform]:
    """The extractors that a config needs."""
    return {"waveform": Waveform(normalise=config.normalise, narrowband=config.narrowband)}


def waveform(part: Part, row: int) -> np.ndarray:
    """Samples of an utterance, shape (samples,)."""
    return part.features["waveform"][part.table["utterance"].iat[row]]


def samples(part: Part) -> np.ndarray:
    """Samples of each utterance, shape (utterances,)."""
    return np.array([len(waveform(part, row)) for row in range(len(part))], np.int64)


@dataclass(frozen=True)
class Lesson:
    """What a stage learns of the utterances of a part, row by row.

    Attributes:
        labels: by output, one class number an utterance.
        frames: pseudo-labels of each utterance's frames, shape (frames, label sets) each; None: none are learnt.
    """

    labels: Mapping[str, np.ndarray]
    frames: Sequence[np.ndarray] | None = None


class Batches(keras.utils.PyDataset):
    """Batches of one epoch.

    Args:
        config: batch size, crops, padding, masks.
        part: the utterances.
        lengths: samples of each.
        lesson: what is learnt of them.
        seed: with the epoch, of everything drawn.
        epoch: counted from 0.
        devices: among which each batch is shared: it is filled up to a multiple of them with utterances of its own.
    """

    def __init__(
        self,
        config: GmpConfig,
        part: Part,
        lengths: np.ndarray,
        lesson: Lesson,
        seed: int,
        epoch: int,
        devices: int = 1,
    ):
        super().__init__()
        self.config, self.part, self.lesson = config, part, lesson
        self.seed = (seed, epoch)
        # Whole frames, so that a crop's frames are those of the utterance.
        self.longest = int(config.longest_s * 16000) // HOP * HOP
        self.lengths = np.minimum(lengths, self.longest)
        size = max(1, config.batch_size // config.accumulation)
        order = int(np.random.default_rng(self.seed).integers(2**31))
        # By padded_length, so that utterances of about the same length change places from epoch to epoch.
        heights = np.array([padded_length(int(length)) for length in self.lengths])
        cut = batches_by_length(heights, size, padding=config.padding, seed=order)
        self.plan = _varied_first([np.resize(rows, -(-len(rows) // devices) * devices) for rows in cut], self.lengths)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int):
        """Inputs, targets and weights of a batch."""
        rows = self.plan[number]
        generator = np.random.default_rng((*self.seed, number))
        whole = [waveform(self.part, row) for row in rows]
        starts = [int(generator.integers(0, (len(one) - cut) // HOP + 1)) * HOP if len(one) > cut else 0
                  for one, cut in zip(whole, self.lengths[rows], strict=True)]  # fmt: skip
        crops = [one[start : start + self.longest] for one, start in zip(whole, starts, strict=True)]
        length = max(padded_length(len(crop)) for crop in crops)
        inputs = _inputs(crops, length)
        if self.lesson.frames is None:
            return inputs, {name: labels[rows] for name, labels in self.lesson.labels.items()}
        counts = [frame_count(len(crop)) for crop in crops]
        mask, weights = self._masks(counts, frame_count(length), generator)
        inputs["masked"] = mask.astype(np.int32)
        frames = [
            self.lesson.frames[row][start // HOP :][:count]
            for row, start, count in zip(rows, starts, counts, strict=True)
        ]
        labels = pad(frames, mask.shape[1]).astype(np.int32)
        names = [output_name(clusters) for clusters in self.config.cluster_counts]
        targets = {name: labels[..., number] for number, name in enumerate(names)}
        return inputs, targets, dict.fromkeys(names, weights)

    def _masks(self, counts: list[int], frames: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which frames are masked, bool, and how much each frame's loss counts, float32; shape (batch, frames)."""
        valid = np.arange(frames) < np.array(counts)[:, None]
        mask = np.zeros((len(counts), frames), bool)
        for row, count in enumerate(counts):
            mask[row, :count] = masked_frames(self.config, count, generator)
        return mask, (mask if self.config.masked_only else valid).astype(np.float32)


def _varied_first(plan: list[np.ndarray], lengths: np.ndarray) -> list[np.ndarray]:
    """The batches with one second that differs most in length from the first.

    Keras tells from the first two batches which sides vary, and TensorFlow then refuses a batch of another shape.
    """
    height = [padded_length(int(lengths[rows].max())) for rows in plan]
    other = max(range(len(plan)), key=lambda k: (abs(frame_count(height[k]) - frame_count(height[0])), k == 1))
    if other > 1:
        plan[1], plan[other] = plan[other], plan[1]
    return plan


def masked_frames(config: GmpConfig, count: int, generator: np.random.Generator) -> np.ndarray:
    """Masked frames of one utterance, bool, shape (count,); an utterance shorter than two spans is masked by half."""
    span = min(config.mask_length, max(1, count // 2))
    seed = int(generator.integers(2**31))
    return span_mask(count, config.mask_probability, span, seed)


def output_name(clusters: int) -> str:
    """Name of the output that learns a label set."""
    return f"clusters_{clusters}"


def heard(part: Part, size: int, devices: int = 1) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Whole utterances in batches that a network hears, so that no result depends on who shares a batch.

    Args:
        part: the utterances.
        size: most of them in a batch.
        devices: the batch is filled up to a multiple of them with utterances of its own; what it is filled with comes
            behind those of the rows.

    Yields:
        (rows, inputs) of each batch.
    """
    lengths = samples(part)
    for rows in batches_by_padded_length([padded_length(int(length)) for length in lengths], size):
        filled = np.resize(rows, -(-len(rows) // devices) * devices)
        yield rows, _inputs([waveform(part, row) for row in filled], padded_length(int(lengths[rows[0]])))


def _inputs(waveforms: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    """What a network takes: padded samples, and how many count."""
    return {"waveform": pad(list(waveforms), length), "lengths": np.array([len(one) for one in waveforms], np.int32)}
