"""The 34 short-term features of pyAudioAnalysis (Giannakopoulos 2015), vectorised over frames.

Atmaja and Akagi 2020 (Sec. III.A, Table 1) use them with frames of 25 ms every 10 ms and without deltas. The package
(0.3.14) loops over frames, and over the bins of each frame. Here a block of frames shares one FFT, and filter banks and
chroma are matrix products. The results are the same: all peculiarities of the package are kept, and comments mark
them with "as in the package".
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from common.errors import AudioError

COLUMNS = (
    *("zcr", "energy", "energy_entropy", "spectral_centroid", "spectral_spread"),
    *("spectral_entropy", "spectral_flux", "spectral_rolloff"),
    *(f"mfcc_{number}" for number in range(1, 14)),
    *(f"chroma_{number}" for number in range(1, 13)),
    "chroma_std",
)
"""Names of the 34 columns, as in pyAudioAnalysis."""

EPSILON = sys.float_info.epsilon
SUB_BLOCKS = 10
BLOCK = 64
"""Frames that are computed together; few enough for their spectra to stay in a core's cache."""


@dataclass(frozen=True)
class PaaShortTerm:
    """Extractor of pyAudioAnalysis' short-term features, shape (frames, 34), float32.

    Attributes:
        sample_rate: of the signal, in Hz.
        frame_ms: frame length.
        hop_ms: time from the start of one frame to the start of the next.
        implementation: "vectorised", or "package" for pyAudioAnalysis itself (the same numbers, much slower).
    """

    name: ClassVar[str] = "paa"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    frame_ms: float = 25.0
    hop_ms: float = 10.0
    implementation: Literal["vectorised", "package"] = "vectorised"

    def __post_init__(self):
        if self.implementation not in ("vectorised", "package"):
            raise ValueError(f"implementation must be 'vectorised' or 'package', not {self.implementation!r}.")
        if self.hop_samples < 1:
            raise ValueError("The hop must be at least one sample.")
        bins = self.frame_samples // 2
        # In both of the following cases the package fails with an index out of range.
        if bins < 1 or _pitch_classes(self.sample_rate, bins).max() >= bins:
            raise ValueError(f"Frames of {self.frame_ms:g} ms are too short for chroma at {self.sample_rate} Hz.")
        if _mel_corners()[-1] * bins / self.sample_rate >= bins - 1:
            raise ValueError(f"A sample rate of {self.sample_rate} Hz is too low for the MFCC filters (up to 6.9 kHz).")

    @property
    def frame_samples(self) -> int:
        """Samples per frame, rounded down as in the package."""
        return int(self.sample_rate * self.frame_ms / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one frame to the start of the next, rounded down as in the package."""
        return int(self.sample_rate * self.hop_ms / 1000)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the features of one utterance.

        Args:
            signal: samples in [-1, 1], shape (samples,); an incomplete last frame is dropped.

        Returns:
            Shape (frames, 34), float32, columns as in `COLUMNS`; frames = 1 + (samples - frame) // hop.

        Raises:
            AudioError: The signal is shorter than one frame.
        """
        if len(signal) < self.frame_samples:
            raise AudioError(
                f"The utterance has {len(signal)} samples, less than one frame of {self.frame_ms:g} ms "
                f"({self.frame_samples} samples at {self.sample_rate} Hz), so it has no short-term features."
            )
        if self.implementation == "package":
            return self._package(signal)
        return self._vectorised(np.asarray(signal, np.float64)).astype(np.float32)

    def _package(self, signal: np.ndarray) -> np.ndarray:
        from pyAudioAnalysis import ShortTermFeatures

        # The package expects int16 values and divides them by 2^15.
        samples = np.asarray(signal, np.float64) * 2.0**15
        features, _ = ShortTermFeatures.feature_extraction(
            samples, self.sample_rate, self.frame_samples, self.hop_samples, deltas=False
        )
        return features.T.astype(np.float32)

    def _vectorised(self, signal: np.ndarray) -> np.ndarray:
        """The features in float64; shape (frames, 34)."""
        # As in the package, each utterance is scaled to mean 0 and a peak of 1.
        signal = signal - signal.mean()
        signal /= np.abs(signal).max() + 1e-10
        frame, hop = self.frame_samples, self.hop_samples
        frames = np.lib.stride_tricks.sliding_window_view(signal, frame)[::hop]
        features = np.empty((len(frames), len(COLUMNS)))
        features[:, 0] = _zero_crossings(signal, np.arange(len(frames)) * hop, frame)
        # Allocating these arrays anew for each block would take a third of the time.
        rows = min(BLOCK, len(frames))
        spectrum = np.empty((rows, frame // 2 + 1), np.complex128)
        squares = np.empty((rows, frame))
        scratch = np.empty((5, rows, frame // 2))
        previous = None
        for first in range(0, len(frames), BLOCK):
            block = frames[first : first + BLOCK]
            filled, count = features[first : first + BLOCK], len(block)
            np.multiply(block, block, out=squares[:count])
            energy = squares[:count].sum(axis=1)
            filled[:, 1] = energy / frame
            filled[:, 2] = _entropy(squares[:count], energy)
            # Unlike scipy's FFT, numpy's can write its result into an existing array.
            np.fft.rfft(block, axis=1, out=spectrum[:count])
            previous = self._fill_spectral(spectrum[:count], scratch[:, :count], filled, previous)
        return features

    def _fill_spectral(self, spectrum, scratch, features, previous):
        """Fills the spectral columns of a block of frames.

        Args:
            spectrum: complex spectra, shape (frames, frame_samples // 2 + 1).
            scratch: memory for intermediate results, shape (5, frames, frame_samples // 2).
            features: the block's features, shape (frames, 34); written.
            previous: normalised magnitudes of the frame before the block; None for the first block.

        Returns:
            Normalised magnitudes of the last frame, which the next block needs.
        """
        bins = self.frame_samples // 2
        magnitude, power, normalised, work, summed = scratch
        # As in the package: no window, no Nyquist bin, and divided by the number of bins.
        np.abs(spectrum[:, :bins], out=magnitude)
        magnitude /= bins
        total = magnitude.sum(axis=1)
        features[:, 3:5] = _centroid_and_spread(magnitude, self.sample_rate, normalised, work)
        np.multiply(magnitude, magnitude, out=power)
        power_sum = power.sum(axis=1)
        features[:, 5] = _entropy(power, power_sum)
        # As in the package: epsilon is added for each bin, and the first frame is compared with itself.
        np.divide(magnitude, (total + bins * EPSILON)[:, None], out=normalised)
        np.subtract(normalised[1:], normalised[:-1], out=work[1:])
        work[0] = 0.0 if previous is None else normalised[0] - previous
        features[:, 6] = np.einsum("fb,fb->f", work, work)
        # The first bin at which the cumulative power exceeds 90 %; 0 if there is none, as in the package.
        np.cumsum(power, axis=1, out=summed)
        summed += EPSILON
        features[:, 7] = (summed > 0.9 * power_sum[:, None]).argmax(axis=1) / bins
        features[:, 8:21] = _mfcc(magnitude, _mel_filters(self.sample_rate, bins))
        chroma = power @ _chroma_matrix(self.sample_rate, bins)
        chroma /= np.where(power_sum == 0, EPSILON, power_sum)[:, None]
        features[:, 21:33] = chroma
        features[:, 33] = chroma.std(axis=1)
        return normalised[-1].copy()


def _zero_crossings(signal: np.ndarray, starts: np.ndarray, frame: int) -> np.ndarray:
    """Sign changes per pair of samples in each frame; as in the package, a step to or from exact zero counts half."""
    sign = (signal > 0).view(np.int8) - (signal < 0).view(np.int8)
    summed = np.zeros(len(signal), np.int64)
    np.cumsum(np.abs(np.diff(sign)), out=summed[1:])
    return (summed[starts + frame - 1] - summed[starts]) / 2 / (frame - 1)


def _entropy(squares: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Entropy in bits over ten sub-blocks of each row.

    As in the package, samples beyond ten full sub-blocks are part of the total but of no sub-block.
    """
    length = squares.shape[1] // SUB_BLOCKS
    blocks = squares[:, : length * SUB_BLOCKS].reshape(len(squares), SUB_BLOCKS, length).sum(axis=2)
    shares = blocks / (total + EPSILON)[:, None]
    return -(shares * np.log2(shares + EPSILON)).sum(axis=1)


def _centroid_and_spread(magnitude: np.ndarray, sample_rate: int, weight: np.ndarray, work: np.ndarray) -> np.ndarray:
    """Spectral centroid and spread as fractions of half the sample rate, shape (frames, 2).

    `weight` and `work` are overwritten. As in the package, all steps but the last are in Hz and relative to the frame's
    peak: the spread of a constant frame is only the rounding error of these steps.
    """
    bins = magnitude.shape[1]
    # As in the package, bin k has the frequency of bin k + 1.
    frequency = np.arange(1, bins + 1) * (sample_rate / (2.0 * bins))
    peak = magnitude.max(axis=1)
    np.divide(magnitude, np.where(peak == 0, EPSILON, peak)[:, None], out=weight)
    total = weight.sum(axis=1) + EPSILON
    centroid = (weight @ frequency) / total
    np.subtract(frequency, centroid[:, None], out=work)
    work *= work
    spread = np.sqrt(np.einsum("fb,fb->f", work, weight) / total)
    return np.stack([centroid, spread], axis=1) / (sample_rate / 2.0)


def _mfcc(magnitude: np.ndarray, filters: np.ndarray) -> np.ndarray:
    from scipy.fft import dct

    return dct(np.log10(magnitude[:, : len(filters)] @ filters + EPSILON), type=2, norm="ortho", axis=1)[:, :13]


def _mel_corners() -> np.ndarray:
    """Corner frequencies of 13 linearly and 27 logarithmically spaced triangles, in Hz, shape (42,)."""
    linear = 133.33 + np.arange(13) * (200 / 3)
    return np.concatenate([linear, linear[-1] * 1.0711703 ** np.arange(1, 30)])


@functools.lru_cache(maxsize=16)
def _mel_filters(sample_rate: int, bins: int) -> np.ndarray:
    """Triangular filters, shape (bins up to the end of the highest filter, 40).

    As in the package, bin k has the frequency k / bins of the whole sample rate, although the last bin is at half of
    it. So the filters are at half of their nominal frequencies.
    """
    corners = _mel_corners()
    frequency = np.arange(bins) / bins * sample_rate
    filters = np.zeros((bins, len(corners) - 2))
    for number, (low, centre, high) in enumerate(zip(corners[:-2], corners[1:-1], corners[2:], strict=True)):
        height = 2.0 / (high - low)
        first, middle, last = (int(np.floor(corner * bins / sample_rate)) + 1 for corner in (low, centre, high))
        filters[first:middle, number] = height / (centre - low) * (frequency[first:middle] - low)
        filters[middle:last, number] = height / (high - centre) * (high - frequency[middle:last])
    return filters[:last]


def _pitch_classes(sample_rate: int, bins: int) -> np.ndarray:
    """Rounded number of semitones from 27.5 Hz to each bin, shape (bins,)."""
    frequency = np.arange(1, bins + 1) * sample_rate / (2 * bins)
    return np.round(12.0 * np.log2(frequency / 27.5)).astype(int)


@functools.lru_cache(maxsize=16)
def _chroma_matrix(sample_rate: int, bins: int) -> np.ndarray:
    """The matrix that maps a power spectrum to chroma, shape (bins, 12).

    As in the package, only the last of the bins with the same semitone counts. For semitone s, it is divided by the
    number of bins that have the same semitone as bin t, where t is the semitone of bin s.
    """
    semitones = _pitch_classes(sample_rate, bins)
    values, inverse, counts = np.unique(semitones, return_inverse=True, return_counts=True)
    counts_by_bin = counts[inverse]
    matrix = np.zeros((bins, 12))
    for semitone in values:
        last = np.flatnonzero(semitones == semitone)[-1]
        place = semitone % bins  # a negative semitone (below 27.5 Hz) counts from the end
        matrix[last, place % 12] += 1.0 / counts_by_bin[semitones[place]]
    return matrix
