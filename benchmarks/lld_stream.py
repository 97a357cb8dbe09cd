"""The low-level descriptors of IEMOCAP, streamed from the cache: peak memory, waiting for input, time of an epoch.

10,039 utterances with as many frames as IEMOCAP's (3411 the longest, 4.5 s on average) of 34 random numbers, as cache
entries; the fixed split trains on 6,296 of them. Each figure is taken in a process of its own, since a process's peak
memory is that of everything it ever did. On a CPU a step of the paper's LSTM takes many seconds, so one step stands for
an epoch; on a GPU whole epochs are run, and waiting is what they take beyond epochs whose batch is at hand.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure, timed

UTTERANCES, TRAINED, LONGEST, DESCRIPTORS = 10_039, 6_296, 3_411, 34
MEMORY_GIB, WAITING = 3.0, 5.0
"""Limits: GiB, and percent of a step."""

REPEATS = 3


def lengths() -> np.ndarray:
    """Frames of each utterance: log-normal with IEMOCAP's mean of 4.5 s, cut to 0.6 ... 34.1 s."""
    drawn = np.random.default_rng(0).lognormal(np.log(370), 0.62, UTTERANCES)
    drawn = np.clip(drawn, 58, LONGEST).astype(int)
    drawn[0] = LONGEST
    return drawn


def write_cache(folder: Path) -> None:
    """Entries as `common.features.store` writes them."""
    generator = np.random.default_rng(1)
    for number, frames in enumerate(lengths()):
        buffer = io.BytesIO()
        np.save(buffer, generator.standard_normal((frames, DESCRIPTORS), np.float32))
        body = buffer.getvalue()
        (folder / f"{number}.npy").write_bytes(body + hashlib.blake2b(body, digest_size=16).digest())


def training_part(folder: Path):
    """The utterances that are trained on, with random ratings."""
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
    """One network in this process: seconds a batch of input, seconds a step with it and without, peak memory."""
    import resource

    from common.backend import start_backend

    start_backend()
    import keras

    from common.training import jit_compile
    from papers.dimensional_mtl.batches import Batches
    from papers.dimensional_mtl.config import DimensionalConfig
    from papers.dimensional_mtl.data import Preparation, labels
    from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser

    part = training_part(folder)
    config = DimensionalConfig(modality="acoustic", level="lld", acoustic_network=network, batch_size=batch_size)
    started = time.perf_counter()
    preparation = Preparation.fitted(config, part)
    statistics_s = time.perf_counter() - started
    batches = Batches(preparation, part, batch_size, labels(part, config), seed=0)
    batches.on_epoch_begin()
    # What one batch costs to read, standardise and pad, with nothing else to do: the most that a step can wait.
    shown = min(len(batches), 3200 // batch_size)
    started = time.perf_counter()
    for number in range(shown):
        batches[number]
    input_s = (time.perf_counter() - started) / shown
    model = build_model(config, preparation.acoustic_shape)
    model.compile(build_optimiser(config), build_loss(config), jit_compile=jit_compile())
    on_gpu = bool(_gpus())
    steps = len(batches) if on_gpu else 1
    model.fit(first(batches, 2 if on_gpu else 1), epochs=1, verbose=0, shuffle=False)  # traces
    held_s = timed(lambda: model.fit(again(batches[0], steps), epochs=1, verbose=0, shuffle=False), 1)[0] / steps
    streamed_s = float("nan")
    if on_gpu:  # on a CPU the difference of two steps of seconds is noise
        streamed_s = timed(lambda: model.fit(first(batches, steps), epochs=1, verbose=0, shuffle=False), 1)[0] / steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "statistics_s": statistics_s,
        "input_s": input_s,
        "streamed_s": streamed_s,
        "held_s": held_s,
        "peak_gib": peak,
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
    """One batch in memory, again and again: steps that never wait."""
    return _dataset(steps, lambda index: batch)


def _dataset(steps: int, get):
    import keras

    class Given(keras.utils.PyDataset):
        def __len__(self):
            return steps

        def __getitem__(self, index):
            return get(index)

    return Given()


def main() -> list[Figure]:
    """Both networks of Table 3 at the paper's size."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cache(folder)
        for network in ("lstm", "cnn"):
            command = [sys.executable, "-m", "benchmarks.lld_stream", str(folder), network, "8"]
            # A CPU's step takes many seconds: once is enough there.
            found = [_run(command)]
            if found[0]["gpu"]:
                found += [_run(command) for _ in range(REPEATS - 1)]
            title = f"IEMOCAP-sized pAA LLD, {network.upper()}, batch 8, {'GPU' if found[0]['gpu'] else 'CPU'}"
            serial = [100 * one["input_s"] / (one["input_s"] + one["held_s"]) for one in found]
            figures += [
                figure(f"{title}: peak memory", [one["peak_gib"] for one in found], "GiB", MEMORY_GIB),
                figure(f"{title}: a batch from the cache", [1e3 * one["input_s"] for one in found], "ms"),
                figure(f"{title}: its share of a step if nothing is read ahead", serial, "%", nan_on_gpu(found)),
            ]
            if found[0]["gpu"]:
                waiting = [100 * max(0.0, 1 - one["held_s"] / one["streamed_s"]) for one in found]
                figures.append(figure(f"{title}: waiting for input, read ahead", waiting, "%", WAITING))
            per_step = "streamed_s" if found[0]["gpu"] else "held_s"
            epoch = [one["batches"] * one[per_step] / 60 for one in found]
            figures.append(figure(f"{title}: an epoch of {TRAINED} utterances", epoch, "min"))
        statistics = [one["statistics_s"] for one in found]
        figures.append(figure("IEMOCAP-sized pAA LLD: mean and deviation of the training part", statistics, "s"))
    return figures


def nan_on_gpu(found: list[dict]) -> float:
    """A GPU reads ahead while it computes, so there the limit is on what it waits for."""
    return float("nan") if found[0]["gpu"] else WAITING


def _run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
