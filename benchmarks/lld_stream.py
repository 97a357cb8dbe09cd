"""Low-level descriptors of IEMOCAP streamed from the cache: peak memory, waiting for input, time of an epoch.

The cache has 10,039 utterances with the lengths of IEMOCAP's (4.5 s on average, at most 3411 frames) and 34 random
numbers per frame; the fixed split trains on 6,296 of them. Each network runs in its own process. On a CPU, a step of
the paper's LSTM takes many seconds, so an epoch is extrapolated from one step. On a GPU, whole epochs are run; the time
spent waiting for input is what they take longer than epochs whose batch is in memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import NAN, Figure, cache_entry, figure, in_own_process, timed

UTTERANCES, TRAINED, LONGEST, DESCRIPTORS = 10_039, 6_296, 3_411, 34
MEMORY_GIB, WAITING = 3.0, 5.0
"""Limits of memory in GiB, and of waiting in percent of a step."""

REPEATS = 3


def lengths() -> np.ndarray:
    """Frames of each utterance: log-normal with IEMOCAP's mean of 4.5 s, cut to 0.6 ... 34.1 s."""
    drawn = np.random.default_rng(0).lognormal(np.log(370), 0.62, UTTERANCES)
    drawn = np.clip(drawn, 58, LONGEST).astype(int)
    drawn[0] = LONGEST
    return drawn


def write_cache(folder: Path) -> None:
    """Writes an entry for each utterance."""
    generator = np.random.default_rng(1)
    for number, frames in enumerate(lengths()):
        features = generator.standard_normal((frames, DESCRIPTORS), np.float32)
        (folder / f"{number}.npy").write_bytes(cache_entry(features))


def training_part(folder: Path):
    """The utterances of the training part, with random ratings."""
    import pandas as pd

    from common.contract import Part
    from common.corpus import COLUMNS
    from common.features.store import Features

    names = [str(number) for number in range(TRAINED)]
    table = pd.DataFrame({"utterance": names}).reindex(columns=list(COLUMNS))
    ratings = np.random.default_rng(2).uniform(1, 5, (TRAINED, 3))
    table[["valence", "arousal", "dominance"]] = ratings
    return Part(table, {"acoustic": Features({name: folder / f"{name}.npy" for name in names}, {})}, ())


def measure(folder: Path, network: str, batch_size: int) -> dict[str, float]:
    """Measures one network: seconds per batch of input, seconds per step with input and without, peak memory."""
    from common.backend import start_backend

    start_backend()
    import keras

    from common.machine import peak_bytes
    from common.training import jit_compile
    from papers.dimensional_mtl.batches import Batches
    from papers.dimensional_mtl.config import DimensionalConfig
    from papers.dimensional_mtl.data import Preprocessor, labels
    from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser

    part = training_part(folder)
    config = DimensionalConfig(modality="acoustic", level="lld", acoustic_network=network, batch_size=batch_size)
    started = time.perf_counter()
    preprocessor = Preprocessor.fitted(config, part)
    statistics_s = time.perf_counter() - started
    batches = Batches(preprocessor, part, batch_size, labels(part, config), seed=0)
    batches.on_epoch_begin()
    # Reading, standardising and padding a batch with nothing else to do is the longest that a step can wait.
    count = min(len(batches), 3200 // batch_size)
    started = time.perf_counter()
    for number in range(count):
        batches[number]
    input_s = (time.perf_counter() - started) / count
    model = build_model(config, preprocessor.acoustic_shape)
    model.compile(build_optimiser(config), build_loss(config), jit_compile=jit_compile())
    on_gpu = bool(_gpus())
    steps = len(batches) if on_gpu else 1
    model.fit(first(batches, 2 if on_gpu else 1), epochs=1, verbose=0, shuffle=False)  # traces the graph
    in_memory_s = timed(lambda: model.fit(again(batches[0], steps), epochs=1, verbose=0, shuffle=False), 1)[0] / steps
    streamed_s = NAN
    if on_gpu:  # on a CPU, the difference of two steps of seconds is noise
        streamed_s = timed(lambda: model.fit(first(batches, steps), epochs=1, verbose=0, shuffle=False), 1)[0] / steps
    return {
        "statistics_s": statistics_s,
        "input_s": input_s,
        "streamed_s": streamed_s,
        "in_memory_s": in_memory_s,
        "peak_gib": peak_bytes() / 2**30,
        "batches": len(batches),
        "gpu": on_gpu,
        "keras": keras.__version__,
    }


def _gpus() -> list:
    import keras

    if keras.backend.backend() != "tensorflow":
        return []
    import tensorflow as tf

    return tf.config.list_physical_devices("GPU")


def first(batches, steps: int):
    """The first batches of an epoch, read from the cache."""
    return _dataset(steps, batches.__getitem__)


def again(batch, steps: int):
    """The same batch in memory for every step, so that no step waits."""
    return _dataset(steps, lambda index: batch)


def _dataset(steps: int, get):
    import keras

    class Dataset(keras.utils.PyDataset):
        def __len__(self):
            return steps

        def __getitem__(self, index):
            return get(index)

    return Dataset()


def main() -> list[Figure]:
    """Both networks of Table 3 at the paper's size."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder)
        for network in ("lstm", "cnn"):
            command = ("benchmarks.lld_stream", folder, network, 8)
            # On a CPU, a step takes so many seconds that one run is enough.
            found = [in_own_process(*command)]
            on_gpu = found[0]["gpu"]
            if on_gpu:
                found += [in_own_process(*command) for _ in range(REPEATS - 1)]
            title = f"IEMOCAP-sized pAA LLD, {network.upper()}, batch 8, {'GPU' if on_gpu else 'CPU'}"
            # A GPU computes while input is prefetched, so the limit there is on what it waits for.
            limit = NAN if on_gpu else WAITING
            serial = [100 * one["input_s"] / (one["input_s"] + one["in_memory_s"]) for one in found]
            figures += [
                figure(f"{title}: peak memory", [one["peak_gib"] for one in found], "GiB", MEMORY_GIB),
                figure(f"{title}: a batch from the cache", [1e3 * one["input_s"] for one in found], "ms"),
                figure(f"{title}: its share of a step without prefetching", serial, "%", limit),
            ]
            if on_gpu:
                waiting = [100 * max(0.0, 1 - one["in_memory_s"] / one["streamed_s"]) for one in found]
                figures.append(figure(f"{title}: waiting for prefetched input", waiting, "%", WAITING))
            per_step = "streamed_s" if on_gpu else "in_memory_s"
            epoch = [one["batches"] * one[per_step] / 60 for one in found]
            figures.append(figure(f"{title}: an epoch of {TRAINED} utterances", epoch, "min"))
        statistics = [one["statistics_s"] for one in found]
        figures.append(figure("IEMOCAP-sized pAA LLD: mean and deviation of the training part", statistics, "s"))
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
