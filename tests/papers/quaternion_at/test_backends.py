"""The same first steps under TensorFlow and under JAX: same weights, same batch, same losses and same weights.

RH-Emo's own step is compared in double precision: TensorFlow's fused batch normalisation rounds so that in single
precision its gradients may differ by parts in a thousand, and much more where they are small. With anti-transfer, which
is computed in single precision, RH-Emo is fixed here.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import ROOT

PROGRAM = """
import dataclasses, json, sys
import keras, numpy as np
from common.contract import Context
from papers.quaternion_at import model
from papers.quaternion_at.experiments import config_of

results = {}
generator = np.random.default_rng(0)

def fill(network):
    network.set_weights([
        np.abs(generator.normal(1, 0.1, w.shape)) if "norm" in v.path else generator.normal(0, 0.3, w.shape)
        for v, w in zip(network.weights, network.get_weights())
    ])

for network, method, variant in (("real", "none", "paper"), ("real", "S", "paper"), ("quat", "none", "paper"),
                                 ("quat", "W", "paper"), ("quat", "S", "authors")):
    precision = "float64" if network == "quat" and method == "none" else "float32"
    keras.config.set_floatx(precision)
    keras.config.set_dtype_policy(precision)
    config = dataclasses.replace(
        config_of(network, method), width=0.001, shrink=2, dropout=0.0, at_variant=variant, rhemo_training="trainable"
    )
    vgg, encoder = model.build_vgg(config, 3), model.build_encoder(config, Context())
    fill(vgg)
    if encoder is not None:
        encoder.trainable = method == "none"
    training = model.chained(encoder, vgg)
    if method != "none":
        extractor = model.build_extractor(config, config.tasks[0], Context())
        fill(extractor)
        signature = model.signature_of(extractor, 3, config)
        training = model.with_anti_transfer(vgg, 3, config, signature, encoder=encoder)
    images = np.abs(generator.normal(size=(4, 256, 64, 1))).astype("float32")
    training.compile(keras.optimizers.SGD(0.002), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.array([0, 1, 2, 0])
    first = float(training.train_on_batch(images, labels))
    after = [float(np.abs(w).sum()) for w in vgg.get_weights()]
    after += [] if encoder is None else [float(np.abs(w).sum()) for w in encoder.get_weights()]
    training.reset_metrics()
    second = float(training.train_on_batch(images, labels))
    results[f"{network} {method} {variant}"] = {"first": first, "second": second, "after": after}
print(json.dumps({"results": results, "tensorflow imported": "tensorflow" in sys.modules}))
"""


def step(backend):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_one_step_is_the_same_under_tensorflow_and_jax():
    pytest.importorskip("jax")
    tensorflow, jax = step("tensorflow"), step("jax")
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert set(tensorflow["results"]) == {
        "real none paper", "real S paper", "quat none paper", "quat W paper", "quat S authors",
    }  # fmt: skip
    for row, expected in tensorflow["results"].items():
        found = jax["results"][row]
        assert abs(expected["first"] - expected["second"]) > 5e-3
        np.testing.assert_allclose(found["first"], expected["first"], rtol=1e-5, err_msg=row)
        np.testing.assert_allclose(found["after"], expected["after"], rtol=1e-4, atol=1e-6, err_msg=row)
        np.testing.assert_allclose(found["second"], expected["second"], rtol=1e-4, err_msg=row)
