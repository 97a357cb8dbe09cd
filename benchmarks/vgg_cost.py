"""A training step at the paper's full width: real VGG16, quaternion VGG16 with RH-Emo, and anti-transfer.

Guizzo et al. (2023), Sec. 3.2.3, report that quaternion networks save 80.5 % of training time and 53.7 % of memory on a
GPU; here the same is measured on this machine. Each network trains on random magnitudes in its own process: one step
that is not counted, then one that is, in five turns. Seconds are processor time (of all threads), which other load on
the machine affects less than wall-clock time; the networks take turns, so that it affects all alike. Memory is the peak
of the process beyond what it used before the network was built: about 5 GiB for a real network. It varies between
turns, since operations may run at the same time, so the median of the turns counts.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure, in_own_process
from common.backend import start_backend
from common.machine import peak_bytes, resident_bytes

BATCH = 20
"""The paper's batch (Sec. 3.1)."""
STEPS, TURNS = 1, 5
MOST_MEMORY = 20
"""Per cent that anti-transfer may add to the memory of a training step."""
KINDS = {
    "real VGG16": ("real", "none"),
    "quaternion VGG16": ("quat", "none"),
    "real VGG16 with anti-transfer at layer 2": ("real", "S"),
}


def measure(kind: str) -> dict:
    """Trains one network for some steps; returns seconds, memory and number of parameters."""
    start_backend()
    import keras

    from common.contract import Context
    from common.models.anti_transfer import BatchesWithSignatures
    from papers.quaternion_at import model as networks
    from papers.quaternion_at.data import size
    from papers.quaternion_at.experiments import config_of
    from papers.quaternion_at.train import signatures_of

    network, method = KINDS[kind]
    random = {name: "random" for name in ("rhemo", "speakers") if getattr(config_of(network, method), name) == "newest"}
    config = dataclasses.replace(config_of(network, method, at_layers="2"), **random)
    generator = np.random.default_rng(0)
    x = generator.random((BATCH, *size(config), 1), np.float32)
    y = generator.integers(4, size=BATCH)
    before = resident_bytes()
    keras.utils.set_random_seed(0)
    vgg = networks.build_vgg(config, 4)
    encoder = networks.build_encoder(config, Context())
    trained = networks.chained(encoder, vgg)
    with tempfile.TemporaryDirectory() as name:
        inputs = x
        if method != "none":
            signatures = signatures_of(config, "speakers", 2, x, Path(name), Context())
            trained = networks.with_anti_transfer(vgg, 2, config, signatures)
            inputs, _ = BatchesWithSignatures(x, y, [signatures], BATCH, seed=0)[0]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile(keras.optimizers.Adam(config.learning_rate), loss, jit_compile=False)
        seconds = []
        for _ in range(1 + STEPS):
            started = time.process_time()
            trained.train_on_batch(inputs, y)
            seconds.append(time.process_time() - started)
    return {"seconds": seconds[1:], "bytes": peak_bytes() - before, "parameters": vgg.count_params()}


def main() -> list[Figure]:
    """Seconds and memory of each network, and what is saved or added, with the number that the paper reports."""
    from papers.quaternion_at.experiments import PAPER
    from ser.results.reported import read_cells

    runs: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for _ in range(TURNS):
        for kind, own in runs.items():
            own.append(in_own_process("benchmarks.vgg_cost", kind))
    figures = []
    for kind, own in runs.items():
        title = f"{kind}, {own[0]['parameters']:,} parameters, batch {BATCH}"
        seconds = [one for run in own for one in run["seconds"]]
        figures.append(figure(f"{title}: processor time of a training step", seconds, "s"))
        figures.append(figure(f"{title}: memory", [run["bytes"] / 2**30 for run in own], "GiB"))
    reported = {cell.cell: cell.value for cell in read_cells(PAPER.reported)}

    def ratios(kind: str, what: str) -> list[float]:
        """Of each turn, this network compared with the real one."""
        return [
            statistics.median(np.atleast_1d(one[what])) / statistics.median(np.atleast_1d(real[what]))
            for one, real in zip(runs[kind], runs["real VGG16"], strict=True)
        ]

    for what, name in (("seconds", "time"), ("bytes", "memory")):
        saved = [100 * (1 - ratio) for ratio in ratios("quaternion VGG16", what)]
        claim = reported[f"resources/{name}"]
        figures.append(figure(f"quaternion compared with real: {name} saved (reported: {claim:g} %)", saved, "%"))
    at = "real VGG16 with anti-transfer at layer 2"
    claim = reported["resources/at-time"]
    figures.append(figure(f"{at} compared with none: time of a step (quoted: {claim:g} x)", ratios(at, "seconds"), "x"))
    added, claim = [100 * (ratio - 1) for ratio in ratios(at, "bytes")], reported["resources/at-memory"]
    figures.append(
        figure(f"{at} compared with none: memory added (quoted: up to {claim:g} %)", added, "%", MOST_MEMORY)
    )
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
