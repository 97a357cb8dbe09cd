"""The same step under TensorFlow and under JAX: same weights, same batch, same loss and same weights after it."""

import sys

import keras
import numpy as np
import pytest

from common.contract import override
from common.training import jit_compile
from papers.mtap.experiments import PAPER
from papers.mtap.model import build_loss, build_model
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)


def two_steps():
    results = {}
    for experiment in PAPER.experiments:
        if experiment.table != "1" or experiment.corpus != "emodb":
            continue
        config = override(experiment.config, {**PAPER.scaled, "frames": 24, "bins": 16})
        model = build_model(config, 3)
        generator = np.random.default_rng(0)
        weights = [
            np.abs(generator.normal(1, 0.1, w.shape)) if "norm" in w.path else generator.normal(0, 0.2, w.shape)
            for w in model.weights
        ]
        model.set_weights(weights)
        images = generator.normal(size=(6, 24, 16, 1)).astype("float32")
        labels = np.array([0, 1, 2, 0, 1, 2])
        model.compile(keras.optimizers.SGD(0.05), build_loss(config), jit_compile=jit_compile())
        losses = [float(model.train_on_batch(images, labels)) for _ in range(2)]
        after = [float(np.abs(w).sum()) for w in model.get_weights()]
        results[config.loss] = losses + after
    return {"results": results, "tensorflow imported": "tensorflow" in sys.modules}


def test_one_step_is_the_same_under_tensorflow_and_jax(eager, under_jax):
    tensorflow, jax = two_steps(), under_jax(two_steps)
    assert tensorflow["tensorflow imported"] and not jax["tensorflow imported"]
    assert set(tensorflow["results"]) == {"softmax", "focal", "arcface", "apfl"}
    for loss, expected in tensorflow["results"].items():
        assert expected[0] != expected[1]
        np.testing.assert_allclose(jax["results"][loss], expected, rtol=2e-4, err_msg=loss)
