"""The same first step under TensorFlow and JAX, and on one device and two."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import ROOT

PROGRAM = """
import json, os, sys, tempfile
from pathlib import Path
import keras, numpy as np, pandas as pd

devices = int(sys.argv[1])
backend = keras.backend.backend()
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from common.contract import override
from common.artefacts import Artefacts
from common.corpus import COLUMNS
from common.contract import Context, Part
from common.training import data_parallel, predict_batch
from papers.gmp_atl import model
from papers.gmp_atl.config import SCALED, GmpConfig
from papers.gmp_atl.stages import TrainingStages


class One(keras.utils.PyDataset):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, number):
        # Copies: under MirroredStrategy, TensorFlow shares the memory of arrays that happen to be aligned to 64 bytes,
        # and changes it in place.
        return keras.tree.map_structure(np.copy, self.batch)


SMALL = {"clusters": "3,5,6", "lstm_units": 4, "projection": 6, "label_projection": 6, "layerdrop": 0.0,
         "hubert_dropout": 0.0, "clip_norm": 0.0}
config = override(GmpConfig(), {**SCALED, **SMALL})
generator = np.random.default_rng(0)
lengths = np.array([2000, 1900, 2000, 1700], "int32")
waveform = np.where(np.arange(2000) < lengths[:, None], generator.normal(size=(4, 2000)), 0).astype("float32")
inputs = {"waveform": waveform, "lengths": lengths}
labels = {"emotion": np.array([0, 1, 2, 1]), "gender": np.array([0, 1, 1, 0])}
masked = {**inputs, "masked": np.tile(np.array([1, 0, 1, 1, 0, 0], "int32"), (4, 1))}
names = ("clusters_3", "clusters_5", "clusters_6")
steps = {
    "stage1": (inputs, labels),
    "stage2": (masked, {n: generator.integers(0, 3, (4, 6)) for n in names},
               dict.fromkeys(names, masked["masked"].astype("float32"))),
    "stage3": (inputs, {"emotion": labels["emotion"]}),
}


def seen_by_a_stage():
    # Devices among which batches are shared once a stage is about to be made.
    nobody = Part(pd.DataFrame(columns=list(COLUMNS)), {}, ("angry", "sad"))
    seen = []

    def make(folder):
        if backend == "tensorflow":
            seen.append(tf.distribute.get_strategy().num_replicas_in_sync)
        else:
            shared = keras.distribution.distribution()
            seen.append(1 if shared is None else shared.device_mesh.devices.size)
        return {"history": {}}

    with tempfile.TemporaryDirectory() as root:
        stages = TrainingStages(config, nobody, nobody, Context(), Artefacts(Path(root)))
        stages._artefact("stage1", [], make)
    return seen[0]


results = {}
for stage, batch in steps.items():
    if devices > 1 and stage != "stage2":
        continue  # the one with most outputs and weights; compiling the others takes long
    with data_parallel(["cpu:0", "cpu:1"] if devices > 1 else None) as shared:
        assert shared == devices
        assert seen_by_a_stage() == devices
        encoder = model.build_hubert(config, masking=stage == "stage2")
        classes = () if stage == "stage2" else (3,)
        network = getattr(model, f"build_{stage}")(config, encoder, *classes)
        draw = np.random.default_rng(1)
        network.set_weights([
            w if w.dtype.kind != "f"
            else draw.uniform(0.8, 1.2, w.shape) if "norm" in v.path and "beta" not in v.path
            else draw.normal(0, 0.2, w.shape)
            for v, w in zip(network.weights, network.get_weights())
        ])
        # Plain gradient descent: Adam's first step is the sign of a gradient, which rounding may turn.
        network.optimizer = keras.optimizers.SGD(0.05)
        loss = network.fit(One(batch), verbose=0).history["loss"][0]
        results[stage] = [float(loss)] + [float(np.abs(w).sum()) for w in network.get_weights() if w.dtype.kind == "f"]
        if devices == 1 or backend == "tensorflow":
            # JAX' virtual devices meet in a pool of as many threads as cores, and may wait there for ever.
            results[stage] += [float(np.abs(one).sum()) for _, one in sorted(predict_batch(network, batch[0]).items())]
print(json.dumps({"results": results, "backend": keras.backend.backend()}))
"""


def step(backend, devices=1):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if devices > 1:
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
        environment["NPROC"] = "8"  # threads for both devices
    command = [sys.executable, "-c", PROGRAM, str(devices)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def tensorflow():
    return step("tensorflow")


def same(found, expected):
    for stage, values in found["results"].items():
        wanted = expected["results"][stage][: len(values)]
        np.testing.assert_allclose(values, wanted, rtol=3e-4, err_msg=stage)


def test_one_step_of_every_stage_is_the_same_under_tensorflow_and_jax(tensorflow):
    pytest.importorskip("jax")
    jax = step("jax")
    assert (tensorflow["backend"], jax["backend"]) == ("tensorflow", "jax")
    assert set(jax["results"]) == {"stage1", "stage2", "stage3"}
    same(jax, tensorflow)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_one_step_on_two_devices_is_that_on_one(backend, tensorflow):
    """Both shares of the batch have as many masked frames, so that the mean of their means is the batch's."""
    pytest.importorskip(backend)
    shared = step(backend, devices=2)
    assert set(shared["results"]) == {"stage2"}
    same(shared, tensorflow)
