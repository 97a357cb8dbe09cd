"""Chunks of 512 x 128 magnitudes (Guizzo et al. 2023, Sec. 3.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from common.contract import Part
from common.errors import UserError
from common.features.stft16 import MagnitudeStft
from papers.quaternion_at.config import QuaternionAtConfig

CHUNK = 501
"""Number of frames in 4 s."""

FRAMES, BINS = 512, 128
"""Frames that chunks are padded to, and bins that are kept of them."""


def features(config: QuaternionAtConfig) -> dict[str, MagnitudeStft]:
    """The extractors that a config needs: "stft", the magnitudes of whole utterances."""
    return {"stft": MagnitudeStft()}


def no_features(config: QuaternionAtConfig) -> dict:
    """No extractors, for the word recognition task, which reads its audio word by word."""
    return {}


def size(config: QuaternionAtConfig) -> tuple[int, int]:
    """Frames and bins of a network's input.

    Raises:
        UserError: `shrink` does not divide them so that VGG16 and RH-Emo can be applied.
    """
    if FRAMES % (8 * config.shrink) or BINS % (2 * config.shrink):
        raise UserError(f"shrink cannot be {config.shrink}: it does not divide {FRAMES} x {BINS} cells. Use 1, 2 or 4.")
    return FRAMES // config.shrink, BINS // config.shrink


def cut_chunks(magnitudes: np.ndarray, policy: str) -> list[np.ndarray]:
    """Cuts an utterance into chunks of 4 s, of which there is at least one.

    Args:
        magnitudes: shape (frames, bins).
        policy: "code", as the authors: time is reversed, and chunks are cut from the utterance's end on. What remains
            gives one more, overlapping chunk only if the utterance is longer than 8 s. So an utterance of 4 to 8 s
            gives its last 4 s. "all": chunks are cut from the utterance's start on, and the last one is zero-padded.

    Returns:
        Arrays of shape (501, bins).
    """
    if len(magnitudes) < CHUNK:
        magnitudes = np.pad(magnitudes, ((0, CHUNK - len(magnitudes)), (0, 0)))
    if policy == "all":
        whole = -(len(magnitudes) // -CHUNK) * CHUNK
        padded = np.pad(magnitudes, ((0, whole - len(magnitudes)), (0, 0)))
        return [padded[start : start + CHUNK] for start in range(0, whole, CHUNK)]
    backwards = magnitudes[::-1]
    starts = list(range(0, len(backwards) - CHUNK + 1, CHUNK))
    if len(backwards) > 2 * CHUNK and len(backwards) % CHUNK:
        starts.append(len(backwards) - CHUNK)
    return [backwards[start : start + CHUNK] for start in starts]


@dataclasses.dataclass(frozen=True)
class Scale:
    """Scales magnitudes to the network's range: (x - shift) / factor.

    Attributes:
        shift: 0 for "unit", the mean of the training chunks for "standard".
        factor: the largest magnitude of the training chunks, or their standard deviation.
    """

    shift: float
    factor: float

    @classmethod
    def fitted(cls, chunks: Iterable[np.ndarray], kind: str) -> Scale:
        """Computes shift and factor for all cells.

        Args:
            chunks: chunks of the training part, which are iterated over once.
            kind: "unit" or "standard".

        Raises:
            UserError: All magnitudes are 0.
        """
        count, total, squares, largest = 0, 0.0, 0.0, 0.0
        for chunk in chunks:
            count += chunk.size
            total += float(chunk.sum(dtype=np.float64))
            squares += float(np.square(chunk, dtype=np.float64).sum())
            largest = max(largest, float(chunk.max()))
        if largest <= 0:
            raise UserError("The training part is silent: all its magnitudes are 0.")
        if kind == "unit":
            return cls(0.0, largest)
        mean = total / count
        return cls(mean, float(np.sqrt(squares / count - mean**2)))

    def __call__(self, chunk: np.ndarray, frames: int = FRAMES) -> np.ndarray:
        """Scales a chunk, pads it with zeros to `frames` frames and drops its last bin."""
        scaled = (chunk[:, :BINS] - np.float32(self.shift)) / np.float32(self.factor)
        return np.pad(scaled, ((0, frames - len(scaled)), (0, 0)))


def average_cells(image: np.ndarray, size: int) -> np.ndarray:
    """Averages size x size cells; returns shape (frames / size, bins / size)."""
    if size == 1:
        return image
    frames, bins = image.shape
    return image.reshape(frames // size, size, bins // size, size).mean(axis=(1, 3))


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Prepared chunks of a part; an utterance has one or more.

    Attributes:
        images: shape (chunks, frames, bins, 1), float32.
        utterance: position of each chunk's utterance in the part, shape (chunks,).
        utterances: number of utterances of the part.
    """

    images: np.ndarray
    utterance: np.ndarray
    utterances: int

    def utterance_means(self, values: np.ndarray) -> np.ndarray:
        """Averages values over the chunks of each utterance; shape (chunks, n) becomes (utterances, n)."""
        sums = np.zeros((self.utterances, values.shape[1]))
        np.add.at(sums, self.utterance, values)
        return sums / np.bincount(self.utterance, minlength=self.utterances)[:, None]


def raw_chunks(part: Part, config: QuaternionAtConfig) -> list[list[np.ndarray]]:
    """Cuts each utterance of a part into chunks."""
    return [cut_chunks(magnitudes, config.chunks) for magnitudes in part.each("stft")]


def fitted_scale(raw: list[list[np.ndarray]], config: QuaternionAtConfig) -> Scale:
    """Computes the scale from the raw chunks of a training part."""
    return Scale.fitted((chunk for chunks in raw for chunk in chunks), config.scaling)


def prepare_chunks(raw: list[list[np.ndarray]], scale: Scale, config: QuaternionAtConfig) -> Chunks:
    """Scales and pads raw chunks, and averages their cells, so that a network can read them."""
    frames, bins = size(config)
    utterance = np.repeat(np.arange(len(raw)), [len(chunks) for chunks in raw])
    images = np.empty((len(utterance), frames, bins, 1), np.float32)
    for number, chunk in enumerate(chunk for chunks in raw for chunk in chunks):
        images[number, :, :, 0] = average_cells(scale(chunk), config.shrink)
    return Chunks(images, utterance, len(raw))
