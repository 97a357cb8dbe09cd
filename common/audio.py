"""Reads audio files as mono float32 samples in [-1, 1], at a given sample rate."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from common.errors import AudioError

SILENCE_PEAK = 1e-4
"""Audio with a peak below this (-80 dB of full scale) counts as silent; no 16-bit recording of speech is that quiet."""


def duration(path: str | Path) -> float:
    """Length of an audio file in seconds, read from its header; NaN if the header cannot be read."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError):
        return math.nan
    return info.frames / info.samplerate


def read(
    path: str | Path,
    sample_rate: int,
    start: float | None = None,
    end: float | None = None,
    *,
    content: bytes | None = None,
) -> np.ndarray:
    """Reads an audio file, or a span of it, in any format that libsndfile supports.

    The format is recognised by the content, not by the file name (some corpora contain AIFF files named .wav).
    Channels are averaged. A different sample rate is converted by soxr with high quality.

    Args:
        path: audio file.
        sample_rate: sample rate to return, in Hz.
        start: first second to read; None or NaN: from the beginning.
        end: second to read up to; None or NaN: to the end.
        content: the bytes of the file, if it was read already.

    Returns:
        float32 samples in [-1, 1], shape (samples,).

    Raises:
        AudioError: The file is missing, unreadable, empty or silent, or contains samples that are not finite.
    """
    import soundfile

    start = None if start is None or math.isnan(start) else start
    end = None if end is None or math.isnan(end) else end
    try:
        with soundfile.SoundFile(str(path) if content is None else io.BytesIO(content)) as file:
            rate = file.samplerate
            first = round((start or 0.0) * rate)
            file.seek(min(first, file.frames))
            frames = -1 if end is None else max(0, round(end * rate) - first)
            signal = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        if not Path(path).exists():
            raise AudioError(f"{path}: the audio file does not exist.") from error
        raise AudioError(f"{path}: not readable as audio ({error}).") from error
    return prepared(signal, rate, sample_rate, path)


def prepared(signal: np.ndarray, rate: int, sample_rate: int, name: str | Path) -> np.ndarray:
    """Samples as every extractor expects them: mono, at a sample rate, finite and not silent.

    Args:
        signal: samples, shape (samples,) or (samples, channels), which are averaged.
        rate: their sample rate, in Hz.
        sample_rate: sample rate to return, in Hz.
        name: of the audio, for error messages.

    Returns:
        float32 samples in [-1, 1], shape (samples,).

    Raises:
        AudioError: The audio is empty or silent, or contains samples that are not finite.
    """
    signal = np.asarray(signal, np.float32)
    signal = signal[:, None] if signal.ndim == 1 else signal
    if not len(signal):
        raise AudioError(f"{name}: the audio is empty.")
    if not np.isfinite(signal).all():
        raise AudioError(f"{name}: the audio contains samples that are not finite numbers.")
    signal = signal.mean(axis=1) if signal.shape[1] > 1 else signal[:, 0]
    if rate != sample_rate:
        import soxr

        signal = soxr.resample(signal, rate, sample_rate, quality="HQ")
    if not len(signal) or np.abs(signal).max() < SILENCE_PEAK:
        raise AudioError(f"{name}: the audio is silent (its peak is below -80 dB of full scale).")
    # Resampling a clipped recording may overshoot [-1, 1] a little.
    return np.clip(signal, -1.0, 1.0).astype(np.float32, copy=False)
