"""Reading auxiliary spectrograms, beside a training step of the adversarial autoencoder at the paper's size.

The store is synthetic: 1,024 utterances as long as LibriSpeech's (2 to 16 s, 12.3 s on average), 1 of 55 of the 56,307
that the paper trains on, so it is 0.3 GB instead of 17. Half of a batch, 32 utterances, comes from it. Four times are
measured in turn: that half, read as it is stored now; the same utterances as they were stored before (whole, float32,
one file each, checked and trimmed at every use); a training step on this machine; and how long training waits for a
batch of 64 if a step takes as long as is estimated for a GPU. "From disk" means that the operating system was told to
forget the shards.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Figure, cache_entry, figure, timed
from common.backend import start_backend

UTTERANCES = 1024
SHORTEST, LONGEST, MEAN = 200, 1600, 1230
"""Frames of an utterance; durations of LibriSpeech's utterances have a long tail to short ones."""
BATCHES = 20
GPU_STEP_MS = 6.6
"""Estimated from the operations of a step; no GPU was measured."""
BEFORE = 128
"""Utterances that are stored as before as well."""
LIMIT = 5.0
"""Percent of a training step."""


def main() -> list[Figure]:
    """Milliseconds, and shares of a step."""
    start_backend()
    from common.contract import Part
    from common.features.shards import SHARD, ShardedFeatures, read_shards, write_shard
    from common.features.store import Features
    from common.normalisation import Normalisation
    from papers.mtl_aae.auxiliary import without_silence
    from papers.mtl_aae.batches import TrainingData, batches, prefetch
    from papers.mtl_aae.config import AaeConfig
    from papers.mtl_aae.data import SpectrogramImages

    config, generator = AaeConfig(alpha=0.4), np.random.default_rng(0)
    lengths = np.clip(generator.triangular(SHORTEST, LONGEST, LONGEST + 1, UTTERANCES), SHORTEST, LONGEST).astype(int)
    lengths = np.minimum(LONGEST, np.round(lengths * MEAN / lengths.mean()).astype(int))
    names = [f"u{number}" for number in range(UTTERANCES)]
    plain = Normalisation.identity(config.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {}
        for first in range(0, UTTERANCES, SHARD):
            arrays = [generator.normal(-6, 2, (n, config.rows)).astype(np.float16) for n in lengths[first:][:SHARD]]
            write_shard(folder, names[first : first + SHARD], arrays)
            for one, array in list(zip(names[first:], arrays, strict=False))[: max(0, BEFORE - first)]:
                paths[one] = folder / f"{one}.entry"
                paths[one].write_bytes(cache_entry(array.astype(np.float32)))
        stored = ShardedFeatures(read_shards(folder, set(names), 1), {})
        mapped = {id(file): file for file in map(_file, stored.values())}.values()
        table = pd.DataFrame({"utterance": names})
        auxiliary = SpectrogramImages(Part(table, {"spectrogram": stored}, ()), config, plain)
        old = Features(paths, {})
        own = {one: stored[one][:400].astype(np.float32) for one in names[:256]}
        labelled = SpectrogramImages(Part(table.head(256), {"spectrogram": own}, ()), config, plain)
        classes = {"emotion": 4, "gender": 2, "speaker": 510}
        labels = {task: generator.integers(0, count, UTTERANCES).astype("int32") for task, count in classes.items()}
        data = TrainingData(
            classes, labelled, {task: one[:256] for task, one in labels.items()}, auxiliary, labels, None, {}, own, {}
        )
        step = _step(config, classes)
        stream = batches(data, generator)
        batch = next(stream)
        for _ in range(2):
            step(batch)

        def drawn(count):
            return generator.choice(count, config.auxiliary_batch_size, replace=False)

        def before():
            for index in drawn(len(paths)):
                spectrogram = without_silence(old[names[index]], config.trim_db, log=True)
                np.ascontiguousarray(plain(spectrogram).T)

        found: dict[str, list[float]] = {"disk": [], "memory": [], "before": [], "step": []}
        for _ in range(BATCHES):
            _forget(folder, mapped)
            found["disk"] += timed(lambda: auxiliary.take(drawn(UTTERANCES), generator), 1)
            indices = drawn(UTTERANCES)
            auxiliary.take(indices, generator)
            found["memory"] += timed(lambda indices=indices: auxiliary.take(indices, generator), 1)
            found["before"] += timed(before, 1)
            found["step"] += timed(lambda: step(batch), 1)
        waits = _waits(prefetch(stream))
    milliseconds = {name: [1e3 * one for one in values] for name, values in found.items()}
    shares = {
        name: [100 * a / b for a, b in zip(milliseconds[name], milliseconds["step"], strict=True)]
        for name in ("memory", "disk", "before")
    }
    step_title = "a training step on this machine"
    return [
        figure("adversarial autoencoder: a training step at the paper's size", milliseconds["step"], "ms"),
        figure("32 auxiliary utterances, read before", milliseconds["memory"], "ms"),
        figure("32 auxiliary utterances, from disk", milliseconds["disk"], "ms"),
        figure("32 auxiliary utterances, stored whole in float32, one file each", milliseconds["before"], "ms"),
        figure(f"reading auxiliary utterances, share of {step_title}", shares["memory"], "%", LIMIT),
        figure(f"the same from disk, share of {step_title}", shares["disk"], "%", LIMIT),
        figure(f"the same as stored before, share of {step_title}", shares["before"], "%", headline=False),
        figure(
            f"waiting for a batch beside a step of {GPU_STEP_MS} ms, as estimated for a GPU",
            [100 * one / GPU_STEP_MS for one in waits],
            "%",
            LIMIT,
        ),
    ]


def _step(config, classes):
    import keras

    from papers.mtl_aae.model import build_model
    from papers.mtl_aae.phases import Phases

    keras.utils.set_random_seed(0)
    compiled = Phases(config, build_model(config, classes), tuple(classes)).step
    return lambda batch: [float(value) for value in compiled(batch).values()]


def _waits(stream, steps: int = 200) -> list[float]:
    """Milliseconds that each of some steps waits for its batch, the first ones left out."""
    found = []
    with contextlib.closing(stream):
        for _ in range(steps):
            started = time.perf_counter()
            next(stream)
            found.append(1e3 * (time.perf_counter() - started))
            time.sleep(GPU_STEP_MS / 1e3)  # a GPU computes without this process
    return found[10:]


def _file(array: np.ndarray) -> mmap.mmap:
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def _forget(folder: Path, mapped: Collection[mmap.mmap]) -> None:
    """Tells the operating system that the shards will not be needed, so that they are read from disk again."""
    for file in folder.glob("*.npy"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for file in mapped:
        file.madvise(mmap.MADV_DONTNEED)  # otherwise what this process has used stays
