"""HuBERT's frames: the hidden states of one layer, for k-means and for frozen front ends."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from common.batches import batches_by_length, pad
from common.errors import AudioError

NARROW = 1e-6
"""Share of energy above 4.2 kHz below which audio is taken for upsampled. EMODB, LibriSpeech and TESS have 4e-4 and
more in every file looked at, 8 kHz recordings 1e-14 after our resampler and 3e-8 where 16 bits were written in
between."""

STEP = 8000
"""Batches are padded to multiples of so many samples (0.5 s): few shapes for a backend that compiles each."""

MOST = 16 * 16000
"""Samples in a batch, padding included, beyond a first utterance: what bounds memory."""


@dataclass(frozen=True)
class HubertFrames:
    """Extractor of a layer's hidden states, shape (frames, width), float32; one frame each 20 ms, 768 wide for base.

    An utterance's features do not depend on what it is batched with: the network normalises and attends within it.

    Attributes:
        checkpoint: Hugging Face folder.
        digest: of the checkpoint (`common.models.hubert_weights.digest`); it stands for the folder in the cache's keys.
        layer: hidden state in Hugging Face's numbering; -3 of base is the output of the tenth layer.
        normalise: mean 0 and variance 1 over an utterance first, as Hugging Face's configurations have it; fairseq's
            base model was trained without. It matters little: layer 0 takes scale and mean away.
        narrowband: take audio without anything above 4 kHz (recorded at 8 kHz). Reading resamples it to 16 kHz without
            a word, but HuBERT has seen only the whole band: such audio is refused unless this is set.
    """

    name: ClassVar[str] = "hubert"
    version: ClassVar[int] = 1
    sample_rate: ClassVar[int] = 16000
    in_process: ClassVar[bool] = True

    checkpoint: str = field(compare=False)
    digest: str
    layer: int = -3
    normalise: bool = True
    narrowband: bool = False

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Hidden states of one utterance.

        Args:
            signal: float32 samples in [-1, 1] at 16 kHz, shape (samples,).

        Raises:
            AudioError: shorter than one frame needs (400 samples), or without anything above 4 kHz.
        """
        return self.batch([signal])[0]

    def batch(self, signals: list[np.ndarray]) -> list[np.ndarray]:
        """Hidden states of several utterances, run together where they are of similar length."""
        network, config = _loaded(self.checkpoint, self.digest, self.layer)
        for signal in signals:
            self._check(signal, config.receptive_field)
        if self.normalise:
            from common.models.hubert import normalise

            signals = [normalise(signal) for signal in signals]
        lengths = np.array([len(signal) for signal in signals], np.int32)
        found: list[np.ndarray] = [None] * len(signals)  # type: ignore[list-item]
        for batch in _bounded(batches_by_length(lengths, len(signals)), lengths):
            padded = pad([signals[one] for one in batch], math.ceil(lengths[batch].max() / STEP) * STEP)
            states = network.predict_on_batch({"waveform": padded, "lengths": lengths[batch]})
            for one, rows in zip(batch, states, strict=True):
                found[one] = np.asarray(rows[: config.frames(int(lengths[one]))], np.float32)
        return found

    def _check(self, signal: np.ndarray, shortest: int) -> None:
        if len(signal) < shortest:
            raise AudioError(
                f"The audio has {len(signal)} samples at 16 kHz; HuBERT needs {shortest} for one frame. Leave it out."
            )
        if not self.narrowband:
            refuse_narrowband(signal)


def refuse_narrowband(signal: np.ndarray) -> None:
    """Raises AudioError where a 16 kHz signal has nothing above 4 kHz."""
    if high_share(signal) < NARROW:
        raise AudioError(
            "The audio has nothing above 4 kHz, as if recorded at 8 kHz; HuBERT was trained on the whole band. "
            "Give the original recording, or set narrowband."
        )


def high_share(signal: np.ndarray) -> float:
    """Share of a 16 kHz signal's energy that lies above 4.2 kHz; a resampler's transition band is below."""
    from scipy.fft import rfft, rfftfreq

    power = np.abs(rfft(signal * np.hanning(len(signal)))) ** 2
    return float(power[rfftfreq(len(signal), 1 / 16000) > 4200].sum() / max(power.sum(), 1e-30))


def _bounded(batches, lengths):
    """Cuts batches so that each holds at most `MOST` samples, or one utterance."""
    for batch in batches:
        size = max(1, MOST // int(lengths[batch].max()))
        for first in range(0, len(batch), size):
            yield batch[first : first + size]


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: str, digest: str, layer: int):  # the digest keeps a changed checkpoint from being mistaken
    from common.backend import start_backend

    start_backend()
    from common.models.hubert import truncate
    from common.models.hubert_weights import load, read_config

    return truncate(load(checkpoint, padding="exact"), layer), read_config(checkpoint)
