"""The one way audio is read: float32 in [-1, 1], mono, at the rate you ask for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from common.errors import AudioError

SILENCE_PEAK = 1e-4
"""Below this peak (-80 dB of full scale) a file is called silent: no 16-bit recording of speech is that quiet."""


def duration(path: str | Path) -> float:
    """Length of an audio file in seconds from its header; NaN if the header cannot be read."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return math.nan
    return info.frames / info.samplerate


def read(path: str | Path, sample_rate: int, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Reads speech from a file of any rate, channel count and sample format that libsndfile knows.

    The format is taken from the content, never from the name (some corpora hold AIFF named .wav).
    Channels are averaged; another rate is resampled by soxr at high quality.

    Args:
        path: audio file.
        sample_rate: rate to return, in Hz.
        start: s into the file; None or NaN: from the beginning.
        end: s into the file; None or NaN: to the end.

    Returns:
        float32 samples in [-1, 1], shape (samples,).

    Raises:
        AudioError: missing, unreadable, empty, silent, or with samples that are not finite.
    """
    import soundfile

    start = None if start is None or math.isnan(start) else start
    end = None if end is None or math.isnan(end) else end
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            first = round((start or 0.0) * rate)
            file.seek(min(first, file.frames))
            frames = -1 if end is None else max(0, round(end * rate) - first)
            signal = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        if not Path(path).exists():
            raise AudioError(f"{path}: the audio file does not exist.") from error
        raise AudioError(f"{path}: not readable as audio ({error}).") from error
    if not len(signal):
        raise AudioError(f"{path}: the audio is empty.")
    if not np.isfinite(signal).all():
        raise AudioError(f"{path}: the audio holds samples that are not finite numbers.")
    signal = signal.mean(axis=1) if signal.shape[1] > 1 else signal[:, 0]
    if rate != sample_rate:
        import soxr

        signal = soxr.resample(signal, rate, sample_rate, quality="HQ")
    if not len(signal) or np.abs(signal).max() < SILENCE_PEAK:
        raise AudioError(f"{path}: the audio is silent (its peak is below -80 dB of full scale).")
    # Resampling a clipped recording may overshoot by a little; [-1, 1] is promised.
    return np.clip(signal, -1.0, 1.0).astype(np.float32, copy=False)
