"""From recordings to chunks of 512 x 128 magnitudes (Guizzo et al. 2023, Sec. 3.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from common.contract import Part
from common.errors import UserError
from common.features.stft16 import MagnitudeStft
from papers.quaternion_at.config import QuaternionAtConfig

CHUNK = 501
"""Frames of 4 s."""

FRAMES, BINS = 512, 128
"""What chunks are padded, and their bins cut, to."""


def features(config: QuaternionAtConfig) -> dict[str, MagnitudeStft]:
    """What a part must carry: "stft", the magnitudes of whole utterances."""
    return {"stft": MagnitudeStft()}


def nothing(config: QuaternionAtConfig) -> dict:
    """Of a part whose audio is read word by word: no features."""
    return {}


def size(config: QuaternionAtConfig) -> tuple[int, int]:
    """Frames and bins of a network's input.

    Raises:
        UserError: `shrink` does not divide them.
    """
    if FRAMES % (8 * config.shrink) or BINS % (2 * config.shrink):
        raise UserError(f"shrink cannot be {config.shrink}: {FRAMES} x {BINS} cells must stay whole; take 1, 2 or 4.")
    return FRAMES // config.shrink, BINS // config.shrink


def cut(magnitudes: np.ndarray, policy: str) -> list[np.ndarray]:
    """Chunks of 4 s of an utterance.

    "code": as the authors', on time running backwards: whole chunks from the utterance's end; what is left gives one
    more chunk only beyond 8 s, which then begins where the utterance does and overlaps. So an utterance of 4 to 8 s
    gives its last 4 s. "all": from the beginning, forwards; the last chunk is zero-padded.

    Args:
        magnitudes: shape (frames, bins), time forwards.
        policy: "code" or "all".

    Returns:
        Arrays of shape (501, bins), at least one.
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
    """Magnitudes to the network's range: (x - shift) / factor.

    Attributes:
        shift: 0 for "unit", the training chunks' mean for "standard".
        factor: the training chunks' largest magnitude, or their standard deviation.
    """

    shift: float
    factor: float

    @classmethod
    def fitted(cls, chunks: Iterable[np.ndarray], kind: str) -> Scale:
        """From the chunks of the training part alone, one number for all cells; they are seen once.

        Raises:
            UserError: they are silent.
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
        """A chunk as the network sees it: scaled, then padded with zeros to `frames`, its last bin dropped."""
        scaled = (chunk[:, :BINS] - np.float32(self.shift)) / np.float32(self.factor)
        return np.pad(scaled, ((0, frames - len(scaled)), (0, 0)))


def shrunk(image: np.ndarray, by: int) -> np.ndarray:
    """Means of by x by cells; shape (frames / by, bins / by)."""
    if by == 1:
        return image
    frames, bins = image.shape
    return image.reshape(frames // by, by, bins // by, by).mean(axis=(1, 3))


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Chunks of a part, of which several may belong to one utterance.

    Attributes:
        images: shape (chunks, frames, bins, 1), float32.
        owner: number of each chunk's utterance in the part, shape (chunks,).
        utterances: of the part.
    """

    images: np.ndarray
    owner: np.ndarray
    utterances: int

    def vote(self, values: np.ndarray) -> np.ndarray:
        """Mean over each utterance's chunks; (chunks, n) to (utterances, n)."""
        sums = np.zeros((self.utterances, values.shape[1]))
        np.add.at(sums, self.owner, values)
        return sums / np.bincount(self.owner, minlength=self.utterances)[:, None]


def cut_part(part: Part, config: QuaternionAtConfig) -> list[list[np.ndarray]]:
    """The raw chunks of each utterance of a part."""
    return [cut(magnitudes, config.chunks) for magnitudes in part.each("stft")]


def fitted_scale(pieces: list[list[np.ndarray]], config: QuaternionAtConfig, kind: str | None = None) -> Scale:
    """The scale from a training part's chunks."""
    return Scale.fitted((chunk for own in pieces for chunk in own), kind or config.scaling)


def chunks(pieces: list[list[np.ndarray]], scale: Scale, config: QuaternionAtConfig) -> Chunks:
    """Chunks as the network sees them."""
    frames, bins = size(config)
    owner = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces])
    images = np.empty((len(owner), frames, bins, 1), np.float32)
    for number, chunk in enumerate(chunk for own in pieces for chunk in own):
        images[number, :, :, 0] = shrunk(scale(chunk), config.shrink)
    return Chunks(images, owner, len(pieces))
