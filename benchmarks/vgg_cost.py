"""What a training step costs at the paper's full width: real VGG16, quaternion VGG16 with RH-Emo, and anti-transfer.

Section 3.2.3 of Guizzo et al. (2023) says that quaternion networks save 80.5 % of training time and 53.7 % of memory;
those are GPU figures, these are of this machine, beside them. Each network trains in a process of its own, on random
magnitudes: one step that is not counted, then two. Seconds are of the processor (all threads), which another load
stretches less than the clock's; the networks take turns, so that it meets all. Memory is what the process fills at most
beyond what it held before the network was built: 4 to 7 GiB for a real one. All of it is minutes on one core.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure
from common.backend import start_backend
from common.machine import resident_bytes

BATCH = 20
"""The paper's batch (Sec. 3.1)."""
STEPS, TURNS = 2, 2
KINDS = {
    "real VGG16": ("real", "none"),
    "quaternion VGG16": ("quat", "none"),
    "real VGG16 with anti-transfer at layer 2": ("real", "S"),
}


def measure(kind: str) -> None:
    """Trains one network for some steps and prints what they took."""
    start_backend()
    import keras

    from common.contract import Context
    from common.models.anti_transfer import BatchesWithSignatures
    from common.models.signature_cache import cached_signatures
    from papers.quaternion_at import model as networks
    from papers.quaternion_at.data import size
    from papers.quaternion_at.experiments import config_of

    network, method = KINDS[kind]
    config = config_of(network, method, at_layers="2")
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
        if method != "none":  # as in a fit: the fixed network's Gram matrices are computed once, before the first epoch
            signature = networks.signature_of(networks.build_extractor(config, "speakers", Context()), 2, config)
            signatures = cached_signatures(Path(name), signature, x, batch_size=BATCH)
            trained = networks.with_anti_transfer(vgg, 2, config, signatures)
            inputs, _ = BatchesWithSignatures(x, y, [signatures], BATCH, seed=0)[0]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile(keras.optimizers.Adam(config.learning_rate), loss, jit_compile=False)
        seconds = []
        for _ in range(1 + STEPS):
            started = time.process_time()
            trained.train_on_batch(inputs, y)
            seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds[1:], "bytes": peak - before, "parameters": vgg.count_params()}))


def main() -> list[Figure]:
    """Seconds and memory of each network, and what is saved or added, beside what the paper says."""
    from papers.quaternion_at.experiments import PAPER
    from ser.results.reported import read_cells

    runs: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for _ in range(TURNS):
        for kind, own in runs.items():
            command = [sys.executable, "-m", "benchmarks.vgg_cost", kind]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            own.append(json.loads(found.splitlines()[-1]))
    figures = []
    for kind, own in runs.items():
        title = f"{kind}, {own[0]['parameters']:,} parameters, batch {BATCH}"
        seconds = [one for run in own for one in run["seconds"]]
        figures.append(figure(f"{title}: processor time a training step", seconds, "s"))
        figures.append(figure(f"{title}: memory", [run["bytes"] / 2**30 for run in own], "GiB"))
    reported = {cell.cell: cell.value for cell in read_cells(PAPER.reported)}

    def ratios(kind: str, what: str) -> list[float]:
        """Of each turn: this network over the real one."""
        return [
            statistics.median(np.atleast_1d(one[what])) / statistics.median(np.atleast_1d(real[what]))
            for one, real in zip(runs[kind], runs["real VGG16"], strict=True)
        ]

    for what, name in (("seconds", "time"), ("bytes", "memory")):
        saved = [100 * (1 - ratio) for ratio in ratios("quaternion VGG16", what)]
        said = reported[f"resources/{name}"]
        figures.append(figure(f"quaternion against real: {name} saved (reported: {said:g} %)", saved, "%"))
    at = "real VGG16 with anti-transfer at layer 2"
    said = reported["resources/at-time"]
    figures.append(figure(f"{at} against none: time a step (quoted: {said:g} x)", ratios(at, "seconds"), "x"))
    added, said = [100 * (ratio - 1) for ratio in ratios(at, "bytes")], reported["resources/at-memory"]
    figures.append(figure(f"{at} against none: memory added (quoted: up to {said:g} %)", added, "%"))
    return figures


if __name__ == "__main__":
    measure(sys.argv[1])
