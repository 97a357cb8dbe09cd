"""Quaternion convolutions compared with real ones of the same shape, and epochs with anti-transfer and without.

The ratios are of processor time, which other load on the machine affects less than wall-clock time, and the repetitions
take turns, so that it affects both alike. Memory is what training adds in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure, in_own_process, worst
from common.backend import start_backend
from common.machine import peak_bytes, resident_bytes

BATCH = 20
"""The paper's batch (Sec. 3.1)."""
SHAPES = ((64, 64), (128, 32), (256, 16), (512, 8), (512, 4))
"""Channels and height (which equals width) of VGG16's blocks on a quaternion embedding of 64 x 64."""
WIDTH, DATAPOINTS = 0.5, 40


def ratios(first, second, repeats: int) -> list[float]:
    """Processor time (of all threads) of the second action divided by that of the first, which take turns."""
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
    """Forward pass and training step at the shapes of VGG16."""
    import keras

    from common.layers.quaternion import QuaternionConv2D

    figures = []
    for channels, size in SHAPES:
        x = np.random.default_rng(0).normal(size=(BATCH, size, size, channels)).astype(np.float32)
        actions = {"forward": [], "training step": []}
        for layer in (keras.layers.Conv2D, QuaternionConv2D):
            # Two layers, so that the second one also computes the gradient of its input, as inside a network.
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
            title = f"two quaternion convolutions compared with real ones, {channels} channels, {size} x {size}: {name}"
            figures.append(figure(title, ratios(*pair, 7), "times", 1.1, headline=False))
    return [*figures, worst("quaternion convolution compared with a real one, worst of ten shapes and passes", figures)]


def training_epoch(layer: int, kind: str, folder: Path, quaternion: bool = True):
    """A function that trains for one epoch.

    Args:
        layer: layer of the anti-transfer loss.
        kind: "plain" (no anti-transfer), "cached", or "live" (the extractor runs at each step).
        folder: for the cache.
        quaternion: quaternion or real VGG16.
    """
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
    """Bytes that training adds to the memory of a new process."""
    return in_own_process("benchmarks.quaternion", layer, kind, folder)


def measure_memory(layer: int, kind: str, folder: Path) -> int:
    """Trains in this process and returns what `memory` does."""
    start_backend()
    if kind == "cached":  # its import is not part of an epoch
        from common.models.signature_cache import SignatureFile  # noqa: F401
    before = resident_bytes()
    epoch = training_epoch(layer, kind, folder)
    for _ in range(3):
        epoch()
    return peak_bytes() - before


def main() -> list[Figure]:
    """All figures."""
    start_backend()
    figures, compared = convolutions(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layer, quaternion in ((2, True), (9, True), (13, True), (5, False)):
            kind = f"{'quaternion' if quaternion else 'real'} VGG16 at width {WIDTH}, anti-transfer at layer {layer}"
            epochs = {
                one: training_epoch(layer, one, folder, quaternion)
                for one in ("plain", "cached", "live")[: 2 + (layer == 9)]
            }
            for epoch in epochs.values():
                epoch()
            found = ratios(epochs["plain"], epochs["cached"], 5)
            compared.append(figure(f"{kind}: epoch compared with one without", found, "times", 1.15, headline=False))
            figures.append(compared[-1])
            if layer == 9:
                found = ratios(epochs["plain"], epochs["live"], 3)
                title = f"{kind}: the same if the extractor runs at each step"
                figures.append(figure(title, found, "times", headline=False))
        figures.append(worst("anti-transfer: an epoch compared with one without, worst of four networks", compared))
        for layer in (2, 13):
            used = {one: [memory(layer, one, folder) for _ in range(2)] for one in ("plain", "cached")}
            found = [b / a for a, b in zip(*used.values(), strict=True)]
            title = f"memory of training, anti-transfer at layer {layer} compared with none"
            figures.append(figure(title, found, "times", 1.2))
    return figures


if __name__ == "__main__":
    print(measure_memory(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
