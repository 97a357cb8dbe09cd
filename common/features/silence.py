"""The share of silent frames of an utterance, a feature of the authors' scripts that the paper does not mention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class SilentShare:
    """Extractor of the share of silent frames, shape (1,), float32.

    Atmaja and Akagi 2020 publish no code for it. Other public scripts of theirs read the same file ("feat_ws_3") from
    the folder of their paper at Speech Prosody 2020, The effect of silence feature in dimensional speech emotion
    recognition, whose definition is used here: a frame is silent if its RMS is below a factor, 0.3, times the median
    RMS of the utterance. The frames are not given; here they are those of the descriptors, 25 ms every 10 ms.

    Attributes:
        sample_rate: of the signal, in Hz.
        frame_ms: frame length.
        hop_ms: time from the start of one frame to the start of the next.
        factor: of the median RMS, below which a frame is silent.
    """

    name: ClassVar[str] = "silent-share"
    version: ClassVar[int] = 1

    sample_rate: int = 16000
    frame_ms: float = 25.0
    hop_ms: float = 10.0
    factor: float = 0.3

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the share of one utterance; 0 if it is shorter than a frame.

        Args:
            signal: samples, shape (samples,).
        """
        frame, hop = (int(self.sample_rate * ms / 1000) for ms in (self.frame_ms, self.hop_ms))
        if len(signal) < frame:
            return np.zeros(1, np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(np.asarray(signal, np.float64), frame)[::hop]
        rms = np.sqrt(np.square(frames).mean(axis=1))
        return np.array([np.mean(rms < self.factor * np.median(rms))], np.float32)
