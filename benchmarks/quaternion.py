"""Quaternion convolution against a real one of the same shape; an epoch with anti-transfer against one without.

Ratios are of processor time, which another load on the machine stretches less than the clock's, and of repetitions
that take turns, so that it meets both. Memory is what a process of its own fills beyond what it held before.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure, worst
from common.backend import start_backend
from common.machine import resident_bytes

BATCH = 20
"""The paper's batch (Sec. 3.1)."""
SHAPES = ((64, 64), (128, 32), (256, 16), (512, 8), (512, 4))
"""Channels and height (= width) of VGG16's blocks on a quaternion embedding of 64 x 64."""
WIDTH, DATAPOINTS = 0.5, 40


def ratios(first, second, repeats: int) -> list[float]:
    """Processor seconds, of all threads, of the second action over those of the first, in turns."""
    result = []
    for _ in range(repeats):
        seconds = []
        for action in (first, second):
            started = time.process_time()
            action()
            seconds.append(time.process_time() - started)
        result.append(seconds[1] / seconds[0])
    return result


def convolutions() -> list[Figure]:
    """Forward and a training step, kernel and input, at the shapes of VGG16."""
    import keras

    from common.layers.quaternion import QuaternionConv2D

    figures = []
    for channels, size in SHAPES:
        x = np.random.default_rng(0).normal(size=(BATCH, size, size, channels)).astype(np.float32)
        actions = {"forward": [], "training step": []}
        for layer in (keras.layers.Conv2D, QuaternionConv2D):
            # Two, so that the second also has to hand a slope to its input, as inside a network.
            inputs = keras.Input(x.shape[1:])
            model = keras.Model(inputs, layer(channels, 3, padding="same")(layer(channels, 3, padding="same")(inputs)))
            model.compile(
                keras.optimizers.Adam(1e-4), lambda truth, answer: keras.ops.mean(answer**2), jit_compile=False
            )
            labels = np.zeros(BATCH, np.float32)
            for name, action in (
                ("forward", lambda model=model, x=x: model.predict_on_batch(x)),
                ("training step", lambda model=model, x=x, labels=labels: model.train_on_batch(x, labels)),
            ):
                action()
                actions[name].append(action)
        for name, pair in actions.items():
            title = f"two quaternion convolutions over real, {channels} channels, {size} x {size}: {name}"
            figures.append(figure(title, ratios(*pair, 7), "times", 1.1, headline=False))
    return [*figures, worst("quaternion convolution beside a real one, worst of ten shapes and passes", figures)]


def training(layer: int, kind: str, folder: Path, quaternion: bool = True):
    """A function that trains for one epoch: "plain", "cached" or "live" (the extractor runs at each step)."""
    import keras

    from common.models.anti_transfer import AntiTransferTraining, BatchesWithSignatures, signature_model
    from common.models.signature_cache import cached_signatures
    from common.models.vgg16 import feature_map, vgg16

    def network(seed: int):
        keras.utils.set_random_seed(seed)
        return vgg16(shape, 4, quaternion=quaternion, width=WIDTH, initializer="he")

    shape = (64, 64, 4 if quaternion else 1)
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(DATAPOINTS, *shape)).astype(np.float32), generator.integers(4, size=DATAPOINTS)
    model, signatures = network(1), []
    trained = model
    if kind != "plain":
        extractor = network(2)
        source = signature_model(extractor, feature_map(extractor, layer))
        if kind == "cached":
            source = cached_signatures(folder, source, x, batch_size=BATCH)
            signatures = [source]
            del extractor
        trained = AntiTransferTraining(model, [feature_map(model, layer)], [source])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(1e-5), loss, jit_compile=False)
    data = BatchesWithSignatures(x, y, signatures, BATCH, seed=0)
    batches = [data[number] for number in range(len(data))] if kind != "cached" else None

    def epoch():
        for number in range(len(data)):
            inputs, labels = data[number] if batches is None else batches[number]
            trained.train_on_batch(inputs if kind == "cached" else inputs[0], labels)

    return epoch


def memory(layer: int, kind: str, folder: Path) -> float:
    """Bytes that training fills, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.quaternion", str(layer), kind, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(layer: int, kind: str, folder: Path) -> None:
    """Prints what `memory` returns."""
    start_backend()
    if kind == "cached":  # what was computed once before is no part of an epoch
        from common.models.signature_cache import SignatureFile  # noqa: F401
    before = resident_bytes()
    epoch = training(layer, kind, folder)
    for _ in range(3):
        epoch()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def main() -> list[Figure]:
    """All figures."""
    start_backend()
    figures, beside = convolutions(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layer, quaternion in ((2, True), (9, True), (13, True), (5, False)):
            kind = f"{'quaternion' if quaternion else 'real'} VGG16 at width {WIDTH}, anti-transfer at layer {layer}"
            epochs = {
                one: training(layer, one, folder, quaternion) for one in ("plain", "cached", "live")[: 2 + (layer == 9)]
            }
            for epoch in epochs.values():
                epoch()
            found = ratios(epochs["plain"], epochs["cached"], 5)
            beside.append(figure(f"{kind}: epoch beside one without", found, "times", 1.15, headline=False))
            figures.append(beside[-1])
            if layer == 9:
                found = ratios(epochs["plain"], epochs["live"], 3)
                title = f"{kind}: the same, extractor run at each step"
                figures.append(figure(title, found, "times", headline=False))
        figures.append(worst("anti-transfer: an epoch beside one without, worst of four networks", beside))
        for layer in (2, 13):
            used = {one: [memory(layer, one, folder) for _ in range(2)] for one in ("plain", "cached")}
            found = [b / a for a, b in zip(*used.values(), strict=True)]
            title = f"memory of training, anti-transfer at layer {layer} beside without"
            figures.append(figure(title, found, "times", 1.2))
    return figures


if __name__ == "__main__":
    measure_memory(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
