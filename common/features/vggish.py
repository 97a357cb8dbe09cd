"""VGGish features (Hershey et al. 2017), one vector per utterance; Google's log-mel front end in NumPy.

The front end uses the constants of AudioSet's `vggish_params` and agrees with the original to 1e-5. The original drops
what does not fill an example of 0.96 s, so that an utterance below 0.975 s would give no features at all. Here such an
utterance is zero-padded to one example.
"""

from __future__ import annotations

import functools
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from common.errors import UserError

SAMPLE_RATE = 16000
FRAME, HOP, DFT = 400, 160, 512
MEL_BANDS, MEL_LOW_HZ, MEL_HIGH_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.01
EXAMPLE_FRAMES = 96
SHORTEST = (EXAMPLE_FRAMES - 1) * HOP + FRAME
"""Samples needed for one example: 15,600, or 0.975 s."""

CONVOLUTION_BATCH = 4
"""Examples per call of the convolutions: few, so that feature maps stay in the CPU's cache (with 16, an example takes
twice as long)."""

DENSE_BATCH = 64
"""Examples per call of the dense layers, at most: many, because each call reads 67 million weights from memory."""


def mel_matrix() -> np.ndarray:
    """Weights from DFT bins to mel bands, shape (257, 64): triangles that are linear in mel, and 0 for the 0 Hz bin."""

    def mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    bins = mel(np.linspace(0.0, SAMPLE_RATE / 2, DFT // 2 + 1))[:, None]
    edges = np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MEL_BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    weights[0] = 0.0
    return weights


@functools.cache
def _window_and_mel():
    from scipy.sparse import csr_array

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    # A bin belongs to at most two bands, so a sparse product is faster than a dense one, and it starts no threads.
    return window, csr_array(mel_matrix().T)


def log_mel(signal: np.ndarray) -> np.ndarray:
    """Computes the log-mel spectrogram.

    Args:
        signal: samples in [-1, 1] at 16 kHz, shape (samples,), at least one frame (400).

    Returns:
        Shape (frames, 64), float64: float32 would lose 1e-5 in bands whose energy is close to `LOG_OFFSET`.
    """
    from scipy.fft import rfft

    window, mel = _window_and_mel()
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    magnitude = np.abs(rfft(frames * window, n=DFT, axis=1))
    return np.log((mel @ magnitude.T).T + LOG_OFFSET)


def examples(signal: np.ndarray) -> np.ndarray:
    """Cuts an utterance into the network's inputs: consecutive log-mel spectrograms of 0.96 s.

    An incomplete last example is dropped; an utterance shorter than one example is zero-padded to one.

    Args:
        signal: samples in [-1, 1] at 16 kHz, shape (samples,).

    Returns:
        Shape (examples, 96, 64), float32; at least one example.
    """
    if len(signal) < SHORTEST:
        signal = np.pad(signal, (0, SHORTEST - len(signal)))
    spectrogram = log_mel(signal)
    count = len(spectrogram) // EXAMPLE_FRAMES
    return spectrogram[: count * EXAMPLE_FRAMES].reshape(count, EXAMPLE_FRAMES, MEL_BANDS).astype(np.float32)


@dataclass(frozen=True)
class Pca:
    """AudioSet's post-processing of embeddings: PCA, clipping to [-2, 2], quantisation to eight bits.

    Attributes:
        vectors: eigenvectors, one per row, shape (128, 128).
        means: shape (128,).
    """

    vectors: np.ndarray
    means: np.ndarray

    @classmethod
    def read(cls, file: Path) -> Pca:
        """Reads `vggish_pca_params.npz`.

        Raises:
            UserError: The file cannot be read, or is not that file.
        """
        try:
            with np.load(file, allow_pickle=False) as stored:
                vectors, means = stored["pca_eigen_vectors"], stored["pca_means"].reshape(-1)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is not vggish_pca_params.npz ({error}).") from error
        if vectors.shape != (128, 128) or means.shape != (128,):
            raise UserError(
                f"{file}: expected eigenvectors (128, 128) and 128 means; found {vectors.shape}, {means.shape}."
            )
        return cls(vectors, means)

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns quantised embeddings, shape (examples, 128), uint8; fractions are cut off, as in the original."""
        projected = np.clip((embeddings - self.means) @ self.vectors.T, -2.0, 2.0)
        return ((projected + 2.0) * (255.0 / 4.0)).astype(np.uint8)


@dataclass(frozen=True)
class Vggish:
    """Extractor of VGGish embeddings pooled over an utterance's examples, shape (128,), float32.

    Attributes:
        checkpoint: folder of the SavedModel, or "random" or "random-tiny" for random weights from a fixed seed.
        digest: of the checkpoint (see `common.models.vggish.digest`); it represents the folder in the cache's keys.
        pooling: how an utterance's examples become one vector.
        pca: file of the PCA parameters; empty: raw embeddings, as the TF-Hub module returns them.
        pca_digest: of that file.
        sample_rate: of the signal, in Hz; the network supports no other.
    """

    name: ClassVar[str] = "vggish"
    version: ClassVar[int] = 1
    in_process: ClassVar[bool] = True

    checkpoint: str = field(default="random", compare=False)
    digest: str = "random"
    pooling: Literal["mean", "max"] = "mean"
    pca: str = field(default="", compare=False)
    pca_digest: str = ""
    sample_rate: int = SAMPLE_RATE

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the features of one utterance."""
        return self.batch([signal])[0]

    def batch(self, signals: list[np.ndarray]) -> list[np.ndarray]:
        """Computes the features of several utterances; their examples go through the network together."""
        by_utterance = [examples(signal) for signal in signals]
        embeddings = _embedder(self.checkpoint, self.digest)(np.concatenate(by_utterance))
        if self.pca:
            embeddings = _pca(self.pca, self.pca_digest)(embeddings).astype(np.float32)
        ends = np.cumsum([len(one) for one in by_utterance])[:-1]
        pool = {"mean": np.mean, "max": np.max}[self.pooling]
        return [pool(own, axis=0).astype(np.float32) for own in np.split(embeddings, ends)]


class Embedder:
    """Runs the network in two parts, convolutions and dense layers, each with the batch size that is fastest for it.

    Args:
        network: Keras model (see `common.models.vggish.vggish`).
    """

    def __init__(self, network):
        import keras

        inner = network.get_layer("flatten").output
        self.convolutions = keras.Model(network.input, inner)
        self.dense = keras.Model(inner, network.output)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Computes embeddings, shape (examples, 128), float32, of examples, shape (examples, 96, 64)."""
        maps = _predict_batches(self.convolutions, inputs[..., None], CONVOLUTION_BATCH, 4)
        return _predict_batches(self.dense, maps, DENSE_BATCH, 16)


def _predict_batches(model, inputs: np.ndarray, size: int, step: int) -> np.ndarray:
    """Predicts in batches; the last batch is padded to a multiple of `step`, so that few shapes are traced."""
    outputs = []
    for first in range(0, len(inputs), size):
        chunk = inputs[first : first + size]
        padding = [(0, -len(chunk) % step)] + [(0, 0)] * (inputs.ndim - 1)
        outputs.append(np.asarray(model.predict_on_batch(np.pad(chunk, padding)))[: len(chunk)])
    return np.concatenate(outputs)


@functools.lru_cache(maxsize=1)
def _embedder(checkpoint: str, digest: str) -> Embedder:
    """The network; `digest` is an argument so that a changed checkpoint is loaded again."""
    from common.backend import start_backend

    start_backend()
    from common.models.vggish import load_vggish, random_vggish

    if checkpoint in ("random", "random-tiny"):
        return Embedder(random_vggish(1.0 if checkpoint == "random" else 1 / 16))
    return Embedder(load_vggish(checkpoint))


@functools.lru_cache(maxsize=1)
def _pca(file: str, digest: str) -> Pca:
    """The PCA; `digest` is an argument so that a changed file is read again."""
    return Pca.read(Path(file))
