"""Losses and layers are equal on TensorFlow and JAX, and JAX does not import TensorFlow."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import json, sys
import numpy as np
import keras
from common import losses
from common.layers.cosine import CosineDense
from common.training import jit_compile

backend = keras.backend.backend()
generator = np.random.default_rng(0)
features = generator.normal(size=(8, 6)).astype("float32")
kernel = generator.normal(size=(6, 4)).astype("float32")
outputs = generator.uniform(-1, 1, (8, 4)).astype("float32")
edge = np.array([[1, 0, -1, 0], [1, -1, 0, 1]], "float32")
labels = np.arange(8) % 4

layer = CosineDense(4)
layer.build((None, 6))
layer.kernel.assign(kernel)
family = {
    "softmax": losses.softmax(), "focal": losses.focal(2.0), "arcface": losses.arcface(0.3),
    "apfl": losses.apfl(0.5, 0.5), "am_softmax": losses.am_softmax(),
}

def gradient(function, at):
    if backend == "jax":
        import jax
        return jax.grad(function)(at)
    import tensorflow as tf
    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at)

finite = {}
result = {"cosines": layer(features), "cosines of nothing": layer(np.zeros((1, 6), "float32"))}
for name, loss in family.items():
    result[name] = loss.call(labels, outputs)
    result[name + ", reduced"] = loss(labels, outputs)
    result[name + ", slope"] = gradient(lambda x: loss(labels, x), outputs)
    # At exactly +-1 the backends choose different subgradients, so only the losses are compared.
    result[name + ", edge"] = loss.call(labels[:2], edge)
    finite[name] = bool(np.isfinite(keras.ops.convert_to_numpy(gradient(lambda x: loss(labels[:2], x), edge))).all())
    result[name + ", slope through the head"] = gradient(lambda x: loss(labels, layer(x)), features)
result = {name: np.asarray(keras.ops.convert_to_numpy(value), float).ravel().tolist() for name, value in result.items()}
found = {"backend": backend, "tensorflow": "tensorflow" in sys.modules, "jit": jit_compile(), "finite": finite}
print(json.dumps({**found, "values": result}))
"""


def start(backend):
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_jax_and_tensorflow_agree():
    pytest.importorskip("jax")
    processes = {backend: start(backend) for backend in ("jax", "tensorflow")}
    found = {}
    for backend, process in processes.items():
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors[-2000:]
        found[backend] = json.loads(output.splitlines()[-1])
        assert found[backend]["backend"] == backend
    assert found["jax"]["tensorflow"] is False
    assert found["tensorflow"]["tensorflow"] is True
    assert (found["jax"]["jit"], found["tensorflow"]["jit"]) == ("auto", False)
    values = [found[backend]["values"] for backend in ("jax", "tensorflow")]
    assert len(values[0]) == 2 + 5 * 5
    assert values[0].keys() == values[1].keys()
    for name in values[0]:
        one, two = np.array(values[0][name]), np.array(values[1][name])
        assert np.isfinite(one).all(), name
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(values[0]["apfl, slope through the head"]).max() > 1e-3
    assert [all(found[backend]["finite"].values()) for backend in found] == [True, True]
