"""The same first step under TensorFlow and JAX, and on one device and two."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.corpus import COLUMNS
from common.training import data_parallel, predict_batch
from papers.gmp_atl import model
from papers.gmp_atl.stages import TrainingStages
from tests.helpers import ROOT
from tests.helpers.gmp_atl_data import reduced

TWO_DEVICES = "--xla_force_host_platform_device_count=2"
PROGRAM = "import json; from tests.papers.gmp_atl import test_backends; print(json.dumps(test_backends.one_step(1, 2)))"


class OneBatch(keras.utils.PyDataset):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, number):
        # Copies: under MirroredStrategy, TensorFlow shares the memory of arrays that happen to be aligned to 64 bytes,
        # and changes it in place.
        return keras.tree.map_structure(np.copy, self.batch)


def devices_of_a_stage(config):
    """The number of devices that share batches when a stage is made."""
    nobody = Part(pd.DataFrame(columns=list(COLUMNS)), {}, ("angry", "sad"))
    seen = []

    def make(folder):
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            seen.append(tf.distribute.get_strategy().num_replicas_in_sync)
        else:
            shared = keras.distribution.distribution()
            seen.append(1 if shared is None else shared.device_mesh.devices.size)
        return {"history": {}}

    with tempfile.TemporaryDirectory() as root:
        stages = TrainingStages(config, nobody, nobody, Context(), Artefacts(Path(root)))
        stages._artefact("stage1", [], make)
    return seen[0]


def drawn_weight(weight, generator):
    values = weight.numpy()
    if values.dtype.kind != "f":
        return values
    if "norm" in weight.path and "beta" not in weight.path:
        return generator.uniform(0.8, 1.2, values.shape)
    return generator.normal(0, 0.2, values.shape)


def one_step(*counts):
    """Loss, weights and predictions after one step, by number of devices and by stage."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    # One layer: the others are equal to it, and compiling them takes long.
    model.tiny = lambda layer, tiny=model.tiny: dataclasses.replace(tiny(layer), num_hidden_layers=1)
    config = reduced(clip_norm=0.0)
    generator = np.random.default_rng(0)
    lengths = np.array([2000, 1900, 2000, 1700], "int32")
    noise = generator.normal(size=(4, 2000))
    waveform = np.where(np.arange(2000) < lengths[:, None], noise, 0).astype("float32")
    inputs = {"waveform": waveform, "lengths": lengths}
    labels = {"emotion": np.array([0, 1, 2, 1]), "gender": np.array([0, 1, 1, 0])}
    # Both halves of the batch have as many masked frames, so that the mean of their means is the batch's.
    masked = {**inputs, "masked": np.tile(np.array([1, 0, 1, 1, 0, 0], "int32"), (4, 1))}
    names = ("clusters_3", "clusters_5", "clusters_6")
    pseudo_labels = {name: generator.integers(0, 3, (4, 6)) for name in names}
    steps = {
        "stage1": (inputs, labels),
        "stage2": (masked, pseudo_labels, dict.fromkeys(names, masked["masked"].astype("float32"))),
        "stage3": (inputs, {"emotion": labels["emotion"]}),
    }
    found = {"backend": backend, **{str(devices): {} for devices in counts}}
    for devices, stage in itertools.product(counts, steps):
        if devices > 1 and stage != "stage2":
            continue  # the one with most outputs and weights; compiling the others takes long
        if backend == "tensorflow":
            tf.config.run_functions_eagerly(devices == 1)  # tracing takes longer than a step
        with data_parallel(["cpu:0", "cpu:1"] if devices > 1 else None) as shared:
            assert shared == devices
            assert devices_of_a_stage(config) == devices
            encoder = model.build_hubert(config, stage=int(stage[-1]))
            classes = () if stage == "stage2" else (3,)
            network = getattr(model, f"build_{stage}")(config, encoder, *classes)
            draw = np.random.default_rng(1)
            network.set_weights([drawn_weight(weight, draw) for weight in network.weights])
            # Plain gradient descent: Adam's first step is the sign of a gradient, which rounding may turn.
            network.optimizer = keras.optimizers.SGD(0.05)
            loss = network.fit(OneBatch(steps[stage]), verbose=0).history["loss"][0]
            values = [float(loss)] + [float(np.abs(w).sum()) for w in network.get_weights() if w.dtype.kind == "f"]
            if devices == 1 or backend == "tensorflow":
                # JAX' virtual devices meet in a pool of as many threads as cores, and may wait there for ever.
                outputs = predict_batch(network, steps[stage][0])
                values += [float(np.abs(one).sum()) for _, one in sorted(outputs.items())]
            found[str(devices)][stage] = values
    return found


@pytest.fixture(scope="module")
def tensorflow():
    """In a process of its own, since two devices must be configured before TensorFlow starts."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def jax(under_jax):
    two = under_jax(one_step, 2, XLA_FLAGS=TWO_DEVICES, NPROC="8")  # threads for both devices
    return {**two, **under_jax(one_step, 1)}


def same(found, expected):
    for stage, values in found.items():
        np.testing.assert_allclose(values, expected[stage][: len(values)], rtol=3e-4, err_msg=stage)


def test_one_step_of_every_stage_is_the_same_under_tensorflow_and_jax(tensorflow, jax):
    assert (tensorflow["backend"], jax["backend"]) == ("tensorflow", "jax")
    assert set(jax["1"]) == {"stage1", "stage2", "stage3"}
    same(jax["1"], tensorflow["1"])


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_one_step_on_two_devices_is_that_on_one(backend, tensorflow, request):
    shared = request.getfixturevalue(backend)
    assert set(shared["2"]) == {"stage2"}
    same(shared["2"], tensorflow["1"])
