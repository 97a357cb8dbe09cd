"""openSMILE without the crash that loading it after TensorFlow causes.

openSMILE's library corrupts the heap if it is loaded after TensorFlow ("malloc(): invalid size", abort). Loaded before
TensorFlow, both work. So a process that has already loaded TensorFlow sends its signals to a worker process that has
not.
"""

from __future__ import annotations

import functools
import sys
import warnings

import numpy as np


def extract(feature_set: str, level: str, signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Computes the features of one signal with openSMILE.

    Args:
        feature_set: name in `opensmile.FeatureSet`, for example "eGeMAPSv02".
        level: name in `opensmile.FeatureLevel`, for example "Functionals".
        signal: samples in [-1, 1], shape (samples,).
        sample_rate: of the signal, in Hz.

    Returns:
        float32, shape (rows, columns); one row of functionals, or one row per frame.
    """
    if "tensorflow" in sys.modules and not _smile.cache_info().currsize:
        return _worker().submit(_extract, feature_set, level, signal, sample_rate).result()
    return _extract(feature_set, level, signal, sample_rate)


def _extract(feature_set: str, level: str, signal: np.ndarray, sample_rate: int) -> np.ndarray:
    with warnings.catch_warnings():
        # A signal that is too short gives a row of NaN, for which the extractor raises an error.
        warnings.filterwarnings("ignore", message="Segment too short")
        return _smile(feature_set, level).process_signal(signal, sample_rate).to_numpy(np.float32)


@functools.cache
def _smile(feature_set: str, level: str):
    with warnings.catch_warnings():
        # The versions are those that the papers used.
        warnings.filterwarnings("ignore", message=".*is deprecated")
        import opensmile

        return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[level])


@functools.cache
def _worker():
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(max_workers=1)
