"""openSMILE in a process in which it can live.

Its library corrupts the heap if it is loaded after TensorFlow's ("malloc(): invalid size", abort); loaded before it,
both live together. A process that already holds TensorFlow therefore hands its signals to a worker that does not.
"""

from __future__ import annotations

import functools
import sys
import warnings

import numpy as np


def extract(feature_set: str, level: str, signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Features of one signal as openSMILE computes them.

    Args:
        feature_set: name in `opensmile.FeatureSet`, for example "eGeMAPSv02".
        level: name in `opensmile.FeatureLevel`, for example "Functionals".
        signal: samples in [-1, 1], shape (samples,).
        sample_rate: Hz.

    Returns:
        float32, shape (rows, columns); one row of functionals, or one row a frame.
    """
    if "tensorflow" in sys.modules and not _smile.cache_info().currsize:
        return _worker().submit(_extract, feature_set, level, signal, sample_rate).result()
    return _extract(feature_set, level, signal, sample_rate)


def _extract(feature_set: str, level: str, signal: np.ndarray, sample_rate: int) -> np.ndarray:
    with warnings.catch_warnings():
        # A signal too short for a frame gives a row of NaN, which the extractor turns into an error of its own.
        warnings.filterwarnings("ignore", message="Segment too short")
        return _smile(feature_set, level).process_signal(signal, sample_rate).to_numpy(np.float32)


@functools.cache
def _smile(feature_set: str, level: str):
    with warnings.catch_warnings():
        # Papers fix the version of a set, however much a later one is preferred today.
        warnings.filterwarnings("ignore", message=".*is deprecated")
        import opensmile

        return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel[level])


@functools.cache
def _worker():
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(max_workers=1)
